-- 0002: single values (command id sequence, install time).
CREATE TABLE meta (
    key          TEXT PRIMARY KEY,
    value        TEXT NOT NULL
) WITHOUT ROWID;
-- Ids continue above whatever an older journal has used.
INSERT INTO meta (key, value)
    SELECT 'command_id', CAST(MAX(id) AS TEXT) FROM commands HAVING MAX(id) IS NOT NULL;
