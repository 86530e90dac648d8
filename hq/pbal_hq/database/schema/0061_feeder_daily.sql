-- Days of feeders: what the page of trends adds up, days times feeders in the place of days times
-- transformers. Sums and counts are kept, of which means are made; the role of sums keeps the rows
-- (pbal_hq.store.feeders). They are by feeder and by no higher area: a feeder lies within one area
-- of each level, now and after it moved, and whoever may see an area may see whole feeders.
CREATE TABLE feeder_daily (
    start_at timestamptz NOT NULL,
    feeder_id int NOT NULL,
    sampled_s double precision NOT NULL,
    energy_kwh double precision, fed_in_kwh double precision, saved_wh double precision,
    neutral_sum_a double precision, neutral_known int NOT NULL,  -- of as many transformers
    unbalance_sum_percent double precision, unbalance_known int NOT NULL,
    neutral_max_a real, load_max_percent real, hotspot_max_c real, min_v real, max_v real,
    moved bigint, not_moved bigint,
    PRIMARY KEY (start_at, feeder_id)
);

-- Days that are not right in it any more. Nobody waits for another here: a change only adds rows,
-- and whoever sums up takes those that are there. Until then the page adds up such a day itself.
CREATE TABLE feeder_due (
    start_at timestamptz NOT NULL,
    feeder_id int NOT NULL
);
CREATE INDEX feeder_due_day ON feeder_due (start_at, feeder_id);

-- By triggers: programs that do not know these tables change days, too. (Nobody changes of which
-- transformer or day a row of days is.)
CREATE FUNCTION feeder_due_of_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feeder_due (start_at, feeder_id) SELECT DISTINCT m.start_at, t.feeder_id
        FROM made m JOIN transformer t ON t.id = m.transformer_id;
    RETURN NULL;
END $$;
CREATE TRIGGER feeder_due_made AFTER INSERT ON summary_daily REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION feeder_due_of_days();
CREATE TRIGGER feeder_due_changed AFTER UPDATE ON summary_daily REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION feeder_due_of_days();
CREATE TRIGGER feeder_due_deleted AFTER DELETE ON summary_daily REFERENCING OLD TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION feeder_due_of_days();

-- A transformer takes its past with it. The last days too where it has none yet: they may be being
-- summed up just now, by where it stood.
CREATE FUNCTION feeder_due_of_a_transformer() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    feeders int[] := ARRAY[OLD.feeder_id];
BEGIN
    IF TG_OP = 'UPDATE' THEN
        feeders := feeders || NEW.feeder_id;
    END IF;
    INSERT INTO feeder_due (start_at, feeder_id) SELECT d.at, f FROM unnest(feeders) f,
        (SELECT start_at FROM summary_daily WHERE transformer_id = OLD.id
            UNION SELECT date_trunc('day', now(), 'UTC') - n * interval '1 day'
            FROM generate_series(0, 1) n) d (at);
    RETURN NULL;
END $$;
CREATE TRIGGER feeder_due_moved AFTER UPDATE OF feeder_id ON transformer FOR EACH ROW
    WHEN (OLD.feeder_id <> NEW.feeder_id) EXECUTE FUNCTION feeder_due_of_a_transformer();
CREATE TRIGGER feeder_due_deleted AFTER DELETE ON transformer FOR EACH ROW
    EXECUTE FUNCTION feeder_due_of_a_transformer();

-- What is there already: all days of all feeders, which the role of sums then works off.
INSERT INTO feeder_due (start_at, feeder_id) SELECT d.at, f.feeder_id
    FROM (SELECT DISTINCT feeder_id FROM transformer) f,
    (SELECT date_trunc('day', min(start_at), 'UTC') AS first, max(start_at) AS last
        FROM summary_daily) s,
    generate_series(s.first, s.last, interval '24 hours') d (at);
