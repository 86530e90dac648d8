-- A journal of 2026-11-22 (schema 2), written by the Journal of that day.
BEGIN TRANSACTION;
CREATE TABLE commands (
    id           INTEGER PRIMARY KEY,      -- the command id on the wire, never reused
    address      INTEGER NOT NULL,
    from_phase   INTEGER NOT NULL,
    to_phase     INTEGER NOT NULL,
    issued_s     INTEGER NOT NULL,
    expires_s    INTEGER NOT NULL,
    reason       TEXT    NOT NULL,         -- for a person
    saving       REAL    NOT NULL,
    state        TEXT    NOT NULL,         -- see dispatcher.State
    attempts     INTEGER NOT NULL DEFAULT 0,
    detail       TEXT    NOT NULL DEFAULT '',
    transfer_ms  INTEGER NOT NULL DEFAULT 0,
    updated_s    REAL    NOT NULL
);
INSERT INTO "commands" VALUES(59960149,257,1,2,1763800000,1763800060,'18.2 A from A to B: neutral 75.5 A to 44.3 A',31.2,'confirmed',1,'measured',146,1.79564974848148751259e+09);
INSERT INTO "commands" VALUES(59960150,258,3,1,1763800300,1763800360,'8.8 A from C to A: neutral 15.5 A to 1.2 A',14.3,'refused',2,'dwell time not over',0,1.79564974851321673392e+09);
INSERT INTO "commands" VALUES(59960151,259,2,3,1763800600,1763800660,'3.5 A from B to C: neutral 12.9 A to 7.8 A',5.1,'sent',1,'',0,1.79564974851577925686e+09);
CREATE TABLE counters (
    address      INTEGER NOT NULL,
    kind         INTEGER NOT NULL,         -- 1 up (highest seen), 2 down, 3 group
    key_id       TEXT    NOT NULL,         -- a new key starts a new count
    reserved     INTEGER NOT NULL,
    PRIMARY KEY (address, kind)
) WITHOUT ROWID;
INSERT INTO "counters" VALUES(0,3,'group',28000256);
INSERT INTO "counters" VALUES(257,1,'0123456789abcdef',4711);
INSERT INTO "counters" VALUES(257,2,'0123456789abcdef',513);
INSERT INTO "counters" VALUES(258,1,'fedcba9876543210',9);
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
INSERT INTO "events" VALUES(257,4,17,1,0,0,1,4,1.79564974851621532436e+09);
INSERT INTO "events" VALUES(257,4,18,10,0,1763800000,1,1800,1.79564974851621532436e+09);
INSERT INTO "events" VALUES(258,9,3,2,2,1763800005,3,1,1.79564974851621532436e+09);
CREATE TABLE meta (
    key          TEXT PRIMARY KEY,
    value        TEXT NOT NULL
) WITHOUT ROWID;
INSERT INTO "meta" VALUES('command_id','59960151');
CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT    NOT NULL,
    created_s    REAL    NOT NULL,
    body         TEXT    NOT NULL
);
INSERT INTO "outbox" VALUES(1,'summary',1.79564974856507396697e+09,'{"homes_fresh":3}');
CREATE TABLE quarantine (
    address      INTEGER PRIMARY KEY,
    since_s      REAL    NOT NULL,
    reason       TEXT    NOT NULL
);
INSERT INTO "quarantine" VALUES(258,1.79564974856754279138e+09,'command: output stayed live after opening (welded contact)');
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
INSERT INTO "results" VALUES(59960149,257,2,0,2,146,231.4,1763800003,1.79564974848468685147e+09);
INSERT INTO "results" VALUES(59960150,258,3,1,3,0,229.9,1763800301,1.79564974851440835e+09);
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
INSERT INTO "telemetry_minute" VALUES(257,1763799960,55,812.5,1400.0,3.6,228.8,232.1,2,120400,0);
CREATE INDEX commands_open ON commands (state);
CREATE INDEX commands_address ON commands (address, id);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('outbox',1);
COMMIT;
PRAGMA user_version = 2;
