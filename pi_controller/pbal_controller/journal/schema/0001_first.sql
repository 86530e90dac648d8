-- 0001: what must not be lost.
-- Times are unix seconds (site time). Phases are 0 (open), 1, 2, 3 as on the wire.

CREATE TABLE commands (
    id           INTEGER PRIMARY KEY,      -- the command id on the wire, never reused
    address      INTEGER NOT NULL,
    from_phase   INTEGER NOT NULL,
    to_phase     INTEGER NOT NULL,
    issued_s     INTEGER NOT NULL,
    expires_s    INTEGER NOT NULL,
    reason       TEXT    NOT NULL,         -- for a person
    saving       REAL    NOT NULL,
    state        TEXT    NOT NULL,         -- see moves/command.py, State
    attempts     INTEGER NOT NULL DEFAULT 0,
    detail       TEXT    NOT NULL DEFAULT '',
    transfer_ms  INTEGER NOT NULL DEFAULT 0,
    updated_s    REAL    NOT NULL
);
CREATE INDEX commands_open ON commands (state);
CREATE INDEX commands_address ON commands (address, id);

-- Every SwitchResult as the node said it; the same result re-sent is stored once.
CREATE TABLE results (
    command_id   INTEGER NOT NULL,
    address      INTEGER NOT NULL,
    outcome      INTEGER NOT NULL,
    reason       INTEGER NOT NULL,
    phase        INTEGER NOT NULL,
    transfer_ms  INTEGER NOT NULL,
    vout_v       REAL    NOT NULL,
    node_time_s  INTEGER NOT NULL,
    received_s   REAL    NOT NULL,
    PRIMARY KEY (address, command_id, outcome, reason)
) WITHOUT ROWID;

-- Events of the nodes; acknowledged only after they are here.
CREATE TABLE events (
    address      INTEGER NOT NULL,
    boots        INTEGER NOT NULL,         -- of the node, so that a reset sequence is no repeat
    seq          INTEGER NOT NULL,
    code         INTEGER NOT NULL,
    severity     INTEGER NOT NULL,
    node_time_s  INTEGER NOT NULL,
    arg0         INTEGER NOT NULL,
    arg1         INTEGER NOT NULL,
    received_s   REAL    NOT NULL,
    PRIMARY KEY (address, seq, code, node_time_s, boots)
) WITHOUT ROWID;

-- Frame counters, reserved in blocks: `reserved` is the first value not yet given out.
CREATE TABLE counters (
    address      INTEGER NOT NULL,
    kind         INTEGER NOT NULL,         -- 1 up (highest seen), 2 down, 3 group
    key_id       TEXT    NOT NULL,         -- a new key starts a new count
    reserved     INTEGER NOT NULL,
    PRIMARY KEY (address, kind)
) WITHOUT ROWID;

CREATE TABLE telemetry_minute (
    address      INTEGER NOT NULL,
    minute_s     INTEGER NOT NULL,
    samples      INTEGER NOT NULL,
    p_mean_w     REAL    NOT NULL,
    p_max_w      REAL    NOT NULL,
    i_mean_a     REAL    NOT NULL,
    v_min_v      REAL    NOT NULL,
    v_max_v      REAL    NOT NULL,
    phase        INTEGER NOT NULL,
    e_import_wh  INTEGER NOT NULL,
    e_export_wh  INTEGER NOT NULL,
    PRIMARY KEY (minute_s, address)
) WITHOUT ROWID;

CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT    NOT NULL,
    created_s    REAL    NOT NULL,
    body         TEXT    NOT NULL
);

-- Homes that disagreed with what was ordered; no commands until a person releases them.
CREATE TABLE quarantine (
    address      INTEGER PRIMARY KEY,
    since_s      REAL    NOT NULL,
    reason       TEXT    NOT NULL
);
