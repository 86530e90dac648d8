-- The tables that the dashboards read, as views that hold the rows of the area of who asks.
CREATE SCHEMA IF NOT EXISTS grafana;
CREATE TABLE IF NOT EXISTS grafana.reader (
    role name PRIMARY KEY,
    area_id int NOT NULL REFERENCES public.area ON DELETE CASCADE
);
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'pbal_grafana_areas') THEN
        CREATE ROLE pbal_grafana_areas NOLOGIN;
    END IF;
END $$;
DROP VIEW IF EXISTS grafana.dead_letter, grafana.alarm, grafana.summary_daily, grafana.summary_hourly,
    grafana.summary, grafana.site_live, grafana.site, grafana.transformer, grafana.area_within,
    grafana.area, grafana.mine CASCADE;

-- security_barrier: no condition of a query is tried on rows that are not one's own.
CREATE VIEW grafana.mine WITH (security_barrier) AS
SELECT w.area_id FROM public.area_within w JOIN grafana.reader r ON r.area_id = w.ancestor_id
WHERE r.role = current_user;

-- With the names of those above it.
CREATE VIEW grafana.area WITH (security_barrier) AS
SELECT a.* FROM public.area a WHERE a.id IN (SELECT area_id FROM grafana.mine) OR a.id IN (
    SELECT w.ancestor_id FROM public.area_within w JOIN grafana.reader r ON r.area_id = w.area_id
    WHERE r.role = current_user
);

CREATE VIEW grafana.area_within WITH (security_barrier) AS
SELECT w.* FROM public.area_within w WHERE w.area_id IN (SELECT area_id FROM grafana.mine);

CREATE VIEW grafana.transformer WITH (security_barrier) AS
SELECT t.* FROM public.transformer t WHERE t.feeder_id IN (SELECT area_id FROM grafana.mine);

CREATE VIEW grafana.site WITH (security_barrier) AS
SELECT s.* FROM public.site s WHERE s.transformer_id IN (SELECT id FROM grafana.transformer);

CREATE VIEW grafana.site_live WITH (security_barrier) AS
SELECT l.* FROM public.site_live l WHERE l.site_id IN (SELECT id FROM grafana.site);

CREATE VIEW grafana.summary WITH (security_barrier) AS
SELECT m.* FROM public.summary m WHERE m.transformer_id IN (SELECT id FROM grafana.transformer);

CREATE VIEW grafana.summary_hourly WITH (security_barrier) AS
SELECT m.* FROM public.summary_hourly m
WHERE m.transformer_id IN (SELECT id FROM grafana.transformer);

CREATE VIEW grafana.summary_daily WITH (security_barrier) AS
SELECT m.* FROM public.summary_daily m
WHERE m.transformer_id IN (SELECT id FROM grafana.transformer);

CREATE VIEW grafana.alarm WITH (security_barrier) AS
SELECT a.* FROM public.alarm a WHERE a.transformer_id IN (SELECT id FROM grafana.transformer);

-- Not their contents, and none of a source that is no site here.
CREATE VIEW grafana.dead_letter WITH (security_barrier) AS
SELECT d.at, d.source, d.kind, d.reason FROM public.dead_letter d WHERE d.source IN (
    SELECT coalesce(g.group_id || '/' || g.node, s.group_id) || '/' || s.node
    FROM grafana.site s LEFT JOIN public.site g ON g.id = s.gateway_id
);

GRANT USAGE ON SCHEMA grafana TO pbal_grafana_areas;
GRANT SELECT ON grafana.area, grafana.area_within, grafana.transformer, grafana.site,
    grafana.site_live, grafana.summary, grafana.summary_hourly, grafana.summary_daily, grafana.alarm,
    grafana.dead_letter TO pbal_grafana_areas;
