-- Series: summaries as they come, hours and days.
-- With TimescaleDB the summaries are a compressed hypertable; without it they are partitioned by
-- day, and the store makes and drops partitions. Hours and days are the same tables on both.

CREATE TABLE summary_form (
    transformer_id int NOT NULL,
    start_at timestamptz NOT NULL,
    site_id bigint NOT NULL,
    length_s int NOT NULL,
    ia_mean_a real NOT NULL,
    ib_mean_a real NOT NULL,
    ic_mean_a real NOT NULL,
    in_mean_a real NOT NULL,
    ia_max_a real NOT NULL,
    ib_max_a real NOT NULL,
    ic_max_a real NOT NULL,
    in_max_a real NOT NULL,
    va_min_v real,
    vb_min_v real,
    vc_min_v real,
    va_mean_v real,
    vb_mean_v real,
    vc_mean_v real,
    va_max_v real,
    vb_max_v real,
    vc_max_v real,
    vuf_percent real,
    pvur_percent real,
    ea_import_kwh real NOT NULL,
    eb_import_kwh real NOT NULL,
    ec_import_kwh real NOT NULL,
    ea_export_kwh real NOT NULL,
    eb_export_kwh real NOT NULL,
    ec_export_kwh real NOT NULL,
    load_mean_percent real,
    load_max_percent real,
    hotspot_c real,
    losses_avoided_wh int,
    losses_method smallint NOT NULL,
    homes int NOT NULL,
    homes_alive int NOT NULL,
    homes_fresh int NOT NULL,
    homes_quarantined int NOT NULL,
    rs485_percent real,
    lora_percent real,
    udp_percent real,
    confirmed smallint NOT NULL,
    refused smallint NOT NULL,
    failed smallint NOT NULL,
    expired smallint NOT NULL,
    disagreed smallint NOT NULL,
    autonomous smallint NOT NULL,
    complete_percent smallint NOT NULL,
    mode smallint NOT NULL,
    historical boolean NOT NULL,     -- it waited at the site
    received_at timestamptz NOT NULL
);

DO $$
BEGIN
    IF current_setting('pbal.timescale', true) = 'auto'
       AND EXISTS (SELECT 1 FROM pg_available_extensions WHERE name = 'timescaledb') THEN
        CREATE EXTENSION IF NOT EXISTS timescaledb;
        CREATE TABLE summary (LIKE summary_form, PRIMARY KEY (transformer_id, start_at));
        PERFORM create_hypertable('summary', by_range('start_at', INTERVAL '1 day'));
        ALTER TABLE summary SET (timescaledb.compress,
            timescaledb.compress_segmentby = 'transformer_id',
            timescaledb.compress_orderby = 'start_at');
        PERFORM add_compression_policy('summary', INTERVAL '3 days');
    ELSE
        CREATE TABLE summary (LIKE summary_form, PRIMARY KEY (transformer_id, start_at))
            PARTITION BY RANGE (start_at);
    END IF;
END $$;
DROP TABLE summary_form;

-- Hours and days of a transformer. Means are weighted by the seconds that were sampled
-- (length_s * complete_percent / 100), energies and counts are sums, percentages of homes the least.
CREATE TABLE summary_hourly (
    transformer_id int NOT NULL,
    start_at timestamptz NOT NULL,
    sampled_s real NOT NULL,
    windows int NOT NULL,
    ia_mean_a real, ib_mean_a real, ic_mean_a real, in_mean_a real,
    ia_max_a real, ib_max_a real, ic_max_a real, in_max_a real,
    va_min_v real, vb_min_v real, vc_min_v real,
    va_mean_v real, vb_mean_v real, vc_mean_v real,
    va_max_v real, vb_max_v real, vc_max_v real,
    vuf_mean_percent real, vuf_max_percent real,
    pvur_mean_percent real, pvur_max_percent real,
    ea_import_kwh real, eb_import_kwh real, ec_import_kwh real,
    ea_export_kwh real, eb_export_kwh real, ec_export_kwh real,
    load_mean_percent real, load_max_percent real,
    hotspot_max_c real,
    losses_avoided_wh real,
    homes_max int, homes_fresh_min int, homes_quarantined_max int,
    rs485_min_percent real, lora_min_percent real, udp_min_percent real,
    confirmed int, refused int, failed int, expired int, disagreed int, autonomous int,
    PRIMARY KEY (transformer_id, start_at)
);
CREATE INDEX summary_hourly_at ON summary_hourly (start_at);

CREATE TABLE summary_daily (LIKE summary_hourly INCLUDING ALL);

-- Hours whose summaries changed since they were last summed up; written with the summaries.
CREATE TABLE summary_due (
    transformer_id int NOT NULL,
    start_at timestamptz NOT NULL,
    PRIMARY KEY (transformer_id, start_at)
);
