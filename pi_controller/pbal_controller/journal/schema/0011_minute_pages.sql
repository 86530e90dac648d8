-- The minutes of all homes, one page a minute: what homes drew is sealed, and takes half the room.
-- telemetry_minute keeps what an older version wrote until pages.take_over has moved it.
CREATE TABLE minute_pages (
    minute_s     INTEGER PRIMARY KEY,
    body         BLOB    NOT NULL          -- rows as in pages.py; sealed
);
