-- Run once by Patroni as the superuser, when the cluster begins.
CREATE ROLE $database LOGIN;
-- It sees how far the standby is, for `pbal-hq doctor`.
GRANT pg_monitor TO $database;
CREATE DATABASE $database OWNER $database;
