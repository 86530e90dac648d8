-- 0007: the uplink's memory. Written for uplink/outbox.py and uplink/commands.py.
-- What the outbox held was a status a minute, which no HQ ever took; the minutes are kept above.
DROP TABLE outbox;
CREATE TABLE outbox (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    kind         TEXT    NOT NULL,         -- summary, event
    at_s         INTEGER NOT NULL,         -- start of the window, or time of the event
    body         BLOB    NOT NULL,         -- the packed message (pbal_uplink)
    token        BLOB    NOT NULL UNIQUE,  -- by which HQ acknowledges it, 8 bytes
    address      INTEGER NOT NULL DEFAULT 0  -- the home whose own word it is, else 0
);
CREATE INDEX outbox_address ON outbox (address, id) WHERE address > 0;
CREATE INDEX outbox_kind ON outbox (kind, id);

-- Where each home was when it was first heard: what "losses avoided" compares with.
CREATE TABLE first_phases (
    address      INTEGER PRIMARY KEY,
    phase        INTEGER NOT NULL,
    since_s      REAL    NOT NULL
);

-- Orders of HQ, each carried out once.
CREATE TABLE hq_commands (
    id           TEXT PRIMARY KEY,         -- 64 bits, decimal
    received_s   REAL NOT NULL,
    kind         TEXT NOT NULL,
    outcome      TEXT NOT NULL,
    detail       TEXT NOT NULL,            -- who asked and why; what came of it
    body         BLOB NOT NULL             -- as signed
) WITHOUT ROWID;

-- What HQ is told at once. A fact is written in the transaction of what it is about, so that no
-- crash comes between them; the uplink makes events of facts. Only while meta says uplink = on.
CREATE TABLE facts (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    at_s         REAL NOT NULL,
    fact         TEXT NOT NULL             -- JSON
);

CREATE TRIGGER fact_of_event AFTER INSERT ON events
WHEN (NEW.severity >= 1 OR NEW.code = 3) AND (SELECT value FROM meta WHERE key = 'uplink') = 'on'
BEGIN
    INSERT INTO facts (at_s, fact) VALUES (NEW.received_s, json_object(
        'what', 'node', 'address', NEW.address, 'boots', NEW.boots, 'seq', NEW.seq,
        'code', NEW.code, 'severity', NEW.severity, 'time', NEW.node_time_s,
        'arg0', NEW.arg0, 'arg1', NEW.arg1));
END;

CREATE TRIGGER fact_of_command AFTER UPDATE OF state ON commands
WHEN NEW.state IN ('confirmed', 'refused', 'failed', 'expired', 'disagreed')
    AND OLD.state <> NEW.state AND (SELECT value FROM meta WHERE key = 'uplink') = 'on'
BEGIN
    INSERT INTO facts (at_s, fact) VALUES (NEW.updated_s, json_object(
        'what', 'switching', 'address', NEW.address, 'command', NEW.id, 'state', NEW.state,
        'from', NEW.from_phase, 'to', NEW.to_phase, 'detail', NEW.detail));
END;

CREATE TRIGGER fact_of_quarantine AFTER INSERT ON quarantine
WHEN (SELECT value FROM meta WHERE key = 'uplink') = 'on'
BEGIN
    INSERT INTO facts (at_s, fact) VALUES (NEW.since_s, json_object(
        'what', 'quarantine', 'address', NEW.address, 'since', NEW.since_s,
        'detail', NEW.reason));
END;

CREATE TRIGGER fact_of_release AFTER DELETE ON quarantine
WHEN (SELECT value FROM meta WHERE key = 'uplink') = 'on'
BEGIN
    INSERT INTO facts (at_s, fact) VALUES (CAST(strftime('%s', 'now') AS REAL), json_object(
        'what', 'released', 'address', OLD.address, 'since', OLD.since_s));
END;

CREATE TRIGGER fact_of_stand_down AFTER INSERT ON stand_down
WHEN (SELECT value FROM meta WHERE key = 'uplink') = 'on'
BEGIN
    INSERT INTO facts (at_s, fact) VALUES (NEW.since_s, json_object(
        'what', 'stand-down', 'reason', NEW.reason, 'since', NEW.since_s,
        'detail', NEW.detail));
END;
