-- 0010: what a gateway holds for the sites behind it (uplink/relay.py).
CREATE TABLE relay (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    site         INTEGER NOT NULL,
    kind         TEXT    NOT NULL,         -- summary, event
    at_s         INTEGER NOT NULL,         -- start of the window, or time of the event
    body         BLOB    NOT NULL,         -- the packed message (pbal_uplink)
    token        BLOB    NOT NULL UNIQUE,  -- by which HQ acknowledges it, 8 bytes
    historical   INTEGER NOT NULL,         -- it had waited at the site
    stored_s     REAL                      -- when HQ said that it has it; kept a while, for repeats
);
CREATE INDEX relay_waiting ON relay (site, id) WHERE stored_s IS NULL;
CREATE INDEX relay_stored ON relay (stored_s) WHERE stored_s IS NOT NULL;

-- The latest State of each site, for its births.
CREATE TABLE relay_state (
    site         INTEGER PRIMARY KEY,
    body         BLOB    NOT NULL
);

-- Sealed commands of HQ on their way to a site.
CREATE TABLE relay_command (
    site         INTEGER NOT NULL,
    id           TEXT    NOT NULL,         -- 64 bits, decimal
    expires_s    REAL    NOT NULL,
    sealed       BLOB    NOT NULL,
    PRIMARY KEY (site, id)
) WITHOUT ROWID;

INSERT INTO meta (key, value) VALUES ('readable', '10 from 9')
    ON CONFLICT (key) DO UPDATE SET value = excluded.value;
