-- 0003: what the planner has learnt, so that a restart does not forget wear and habits.
CREATE TABLE blobs (
    key          TEXT PRIMARY KEY,
    value        BLOB NOT NULL,
    updated_s    REAL NOT NULL
) WITHOUT ROWID;
