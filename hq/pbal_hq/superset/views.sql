-- What Superset may read: figures of transformers by area, in views of their own; nothing of users,
-- sessions, tokens, the audit log, what people wrote, or which home an alarm is about. As the owner
-- of the database, and again after each upgrade of HQ:
--   pbal-hq superset views | sudo -u postgres psql -d pbal_hq
BEGIN;
-- @READER

DROP SCHEMA IF EXISTS figures CASCADE;
CREATE SCHEMA figures;

-- Where a transformer is. Every view has these columns; rows are limited by `feeder_id`.
CREATE VIEW figures.place AS
SELECT t.id AS transformer_id, t.code AS transformer, t.rated_kva, f.id AS feeder_id,
    f.code AS feeder, v.code AS division, d.code AS district, s.code AS state
FROM transformer t
JOIN area f ON f.id = t.feeder_id JOIN area v ON v.id = f.parent_id
JOIN area d ON d.id = v.parent_id JOIN area s ON s.id = d.parent_id;

-- Which role in Superset sees which feeders: "pbal KL/EKM" those of that district.
CREATE VIEW figures.scope AS
SELECT 'pbal ' || p.path AS role, w.area_id AS feeder_id
FROM (
    SELECT w.area_id, string_agg(a.code, '/' ORDER BY area_level(a.level)) AS path
    FROM area_within w JOIN area a ON a.id = w.ancestor_id GROUP BY w.area_id
) p
JOIN area_within w ON w.ancestor_id = p.area_id
JOIN area f ON f.id = w.area_id AND f.level = 'feeder';

CREATE VIEW figures.hours AS
SELECT p.*, h.start_at AS at, h.sampled_s, h.in_mean_a, h.in_max_a, h.load_mean_percent,
    h.load_max_percent, h.vuf_max_percent, h.hotspot_max_c, h.homes_max, h.homes_fresh_min,
    h.homes_quarantined_max, h.losses_avoided_wh / 1000 AS saved_kwh, h.confirmed AS moved,
    h.refused + h.failed + h.expired + h.disagreed AS not_moved
FROM summary_hourly h JOIN figures.place p USING (transformer_id);

CREATE VIEW figures.days AS
SELECT p.*, h.start_at AS at, h.sampled_s, h.in_mean_a, h.in_max_a, h.load_max_percent,
    h.ea_import_kwh + h.eb_import_kwh + h.ec_import_kwh AS energy_kwh,
    h.losses_avoided_wh / 1000 AS saved_kwh, h.confirmed AS moved,
    h.refused + h.failed + h.expired + h.disagreed AS not_moved
FROM summary_daily h JOIN figures.place p USING (transformer_id);

CREATE VIEW figures.windows AS
SELECT p.*, w.start_at AS at, w.ia_mean_a, w.ib_mean_a, w.ic_mean_a, w.in_mean_a, w.in_max_a,
    w.va_mean_v, w.vb_mean_v, w.vc_mean_v, least(w.va_min_v, w.vb_min_v, w.vc_min_v) AS lowest_v,
    w.vuf_percent, w.pvur_percent, w.load_mean_percent, w.load_max_percent, w.hotspot_c, w.homes,
    w.homes_alive, w.homes_fresh, w.confirmed AS moved, w.historical AS late,
    extract(epoch FROM w.received_at - w.start_at)::float8 - w.length_s AS delay_s
FROM summary w JOIN figures.place p USING (transformer_id);

CREATE VIEW figures.sites AS
SELECT p.*, s.id AS site, coalesce(l.online, false) AS online, l.seen_at AS at,
    l.summary_at AS newest_window,
    coalesce(extract(epoch FROM now() - l.seen_at)::float8 / 3600, 1e6) AS silent_h
FROM site s JOIN figures.place p USING (transformer_id) LEFT JOIN site_live l ON l.site_id = s.id
WHERE s.removed_at IS NULL;

CREATE VIEW figures.alarms AS
SELECT p.*, a.raised_at AS at, a.kind, a.severity, (@OPEN) AS open,
    a.acknowledged_at IS NOT NULL AS acknowledged, a.times, a.closed_at
FROM alarm a JOIN figures.place p USING (transformer_id);

CREATE VIEW figures.orders AS
SELECT p.*, c.asked_at AS at, c.status, c.sent_at, c.answered_at,
    extract(epoch FROM c.answered_at - c.sent_at)::float8 AS answer_s
FROM command c JOIN site s ON s.id = c.site_id JOIN figures.place p USING (transformer_id);

-- Of a source that is no site of ours only who sees everything is told. (site_key() would ask the
-- tables as who reads the view.)
CREATE VIEW figures.letters AS
SELECT p.*, d.at, d.source, d.kind, left(d.reason, 80) AS reason
FROM dead_letter d
LEFT JOIN (
    SELECT s.transformer_id, coalesce(g.group_id || '/' || g.node, s.group_id) || '/' || s.node AS key
    FROM site s LEFT JOIN site g ON g.id = s.gateway_id
) k ON k.key = d.source
LEFT JOIN figures.place p USING (transformer_id);

GRANT USAGE ON SCHEMA figures TO @USER;
GRANT SELECT ON ALL TABLES IN SCHEMA figures TO @USER;
COMMIT;
