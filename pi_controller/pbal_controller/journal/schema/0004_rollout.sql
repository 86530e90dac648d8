-- 0004: application updates: which release goes to whom, and how far each home has come.
CREATE TABLE rollouts (
    digest       TEXT PRIMARY KEY,         -- SHA-256 of the release's manifest, hex
    version      TEXT NOT NULL,
    file         TEXT NOT NULL,
    state        TEXT NOT NULL,            -- see updates/progress.py, State
    wish         TEXT NOT NULL DEFAULT '', -- what a person asked for and the controller has not done yet
    detail       TEXT NOT NULL DEFAULT '',
    created_s    REAL NOT NULL,
    updated_s    REAL NOT NULL
) WITHOUT ROWID;

CREATE TABLE rollout_homes (
    digest       TEXT NOT NULL,
    address      INTEGER NOT NULL,
    state        TEXT NOT NULL,            -- see updates/progress.py, Step
    detail       TEXT NOT NULL DEFAULT '',
    updated_s    REAL NOT NULL,
    PRIMARY KEY (digest, address)
) WITHOUT ROWID;
