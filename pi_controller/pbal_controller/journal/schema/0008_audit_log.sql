-- 0008: a log of everything that was ordered or decided, each row sealed to the one before it.
-- Written by the triggers below, in the transaction of what they tell; never changed or pruned.
-- pbal_link and pbal_user are functions of chain.py: who opens the file without them can read it,
-- and cannot order anything.
CREATE TABLE audit_log (
    seq          INTEGER PRIMARY KEY,      -- 1, 2, 3, ... without a gap
    at_s         REAL NOT NULL,
    what         TEXT NOT NULL,
    subject      TEXT NOT NULL,
    who          TEXT NOT NULL,            -- the user of the program that wrote it
    why          TEXT NOT NULL,
    link         TEXT NOT NULL             -- SHA-256 over the link before and this row, hex
);

-- What is put here gets its number and its link; nothing stays here.
CREATE TABLE audit_in (
    at_s         REAL NOT NULL,
    what         TEXT NOT NULL,
    subject      TEXT NOT NULL,
    why          TEXT NOT NULL
);
CREATE TRIGGER audit_linked AFTER INSERT ON audit_in
BEGIN
    INSERT INTO audit_log
        SELECT last.seq + 1, NEW.at_s, NEW.what, NEW.subject, pbal_user(), NEW.why,
               pbal_link(last.link, last.seq + 1, NEW.at_s, NEW.what, NEW.subject, pbal_user(),
                         NEW.why)
        FROM (SELECT COALESCE(MAX(seq), 0) AS seq,
                     COALESCE((SELECT link FROM audit_log ORDER BY seq DESC LIMIT 1), '') AS link
              FROM audit_log) AS last;
    DELETE FROM audit_in;
END;

CREATE TRIGGER audit_key AFTER INSERT ON audit
BEGIN
    INSERT INTO audit_in VALUES (NEW.at_s, NEW.what, NEW.subject, NEW.who || ': ' || NEW.why);
END;

CREATE TRIGGER audit_command AFTER INSERT ON commands
BEGIN
    INSERT INTO audit_in VALUES (NEW.updated_s, 'command', NEW.id,
        'home ' || NEW.address || ' from ' || NEW.from_phase || ' to ' || NEW.to_phase || ': '
        || NEW.reason);
END;

CREATE TRIGGER audit_command_end AFTER UPDATE OF state ON commands
WHEN NEW.state NOT IN ('journaled', 'sent', 'accepted', 'done') AND OLD.state <> NEW.state
BEGIN
    INSERT INTO audit_in VALUES (NEW.updated_s, 'command ' || NEW.state, NEW.id, NEW.detail);
END;

CREATE TRIGGER audit_quarantine AFTER INSERT ON quarantine
BEGIN
    INSERT INTO audit_in VALUES (NEW.since_s, 'quarantine', NEW.address, NEW.reason);
END;

CREATE TRIGGER audit_quarantine_again AFTER UPDATE OF reason ON quarantine
WHEN OLD.reason <> NEW.reason
BEGIN
    INSERT INTO audit_in VALUES (NEW.since_s, 'quarantine', NEW.address, NEW.reason);
END;

CREATE TRIGGER audit_release AFTER DELETE ON quarantine
BEGIN
    INSERT INTO audit_in VALUES (CAST(strftime('%s', 'now') AS REAL), 'quarantine released',
        OLD.address, OLD.reason);
END;

CREATE TRIGGER audit_stand_down AFTER INSERT ON stand_down
BEGIN
    INSERT INTO audit_in VALUES (NEW.since_s, 'stands down', NEW.reason, NEW.detail);
END;

CREATE TRIGGER audit_adopted AFTER UPDATE OF lifted_s ON stand_down
WHEN OLD.lifted_s IS NULL AND NEW.lifted_s IS NOT NULL
BEGIN
    INSERT INTO audit_in VALUES (NEW.lifted_s, 'adopted', NEW.reason, NEW.detail);
END;

CREATE TRIGGER audit_rollout AFTER INSERT ON rollouts
BEGIN
    INSERT INTO audit_in VALUES (NEW.created_s, 'release', NEW.version, NEW.digest);
END;

CREATE TRIGGER audit_rollout_state AFTER UPDATE OF state, wish ON rollouts
WHEN OLD.state <> NEW.state OR (OLD.wish <> NEW.wish AND NEW.wish <> '')
BEGIN
    INSERT INTO audit_in VALUES (NEW.updated_s, 'release ' || NEW.state, NEW.version,
        CASE WHEN NEW.wish <> '' THEN 'asked for: ' || NEW.wish ELSE NEW.detail END);
END;

CREATE TRIGGER audit_hq AFTER INSERT ON hq_commands
BEGIN
    INSERT INTO audit_in VALUES (NEW.received_s, 'HQ command ' || NEW.kind, NEW.id,
        NEW.outcome || ': ' || NEW.detail);
END;

