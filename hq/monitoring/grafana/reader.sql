-- The user as which Grafana asks PostgreSQL: it reads figures of transformers, and nothing of users,
-- sessions, tokens, orders or the audit log (docs/hq-monitoring.md). As the owner of the database:
--   psql -d pbal_hq -f reader.sql
DO $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = 'pbal_grafana') THEN
        CREATE ROLE pbal_grafana LOGIN;
    END IF;
END $$;
-- A mistake in a panel does not hold the database up.
ALTER ROLE pbal_grafana SET statement_timeout = '20s';
ALTER ROLE pbal_grafana SET default_transaction_read_only = on;
GRANT SELECT ON area, area_within, transformer, site, site_live, summary, summary_hourly, summary_daily,
    alarm TO pbal_grafana;
-- Not their contents.
GRANT SELECT (at, source, kind, reason) ON dead_letter TO pbal_grafana;
