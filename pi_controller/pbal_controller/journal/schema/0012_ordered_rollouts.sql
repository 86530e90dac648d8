-- A rollout that HQ ordered: HQ is told how it ended, as the answer to that order.
ALTER TABLE rollouts ADD COLUMN ordered TEXT NOT NULL DEFAULT '';  -- HQ's command id, decimal

CREATE TRIGGER fact_of_rollout AFTER UPDATE OF state ON rollouts
WHEN NEW.ordered <> '' AND OLD.state <> NEW.state
    AND NEW.state IN ('done', 'stopped', 'cancelled', 'superseded')
BEGIN
    INSERT INTO facts (at_s, fact) SELECT NEW.updated_s, json_object(
        'what', 'rollout', 'command', NEW.ordered, 'state', NEW.state, 'version', NEW.version,
        'detail', NEW.detail,
        'homes', (SELECT count(*) FROM rollout_homes WHERE digest = NEW.digest),
        'done', (SELECT count(*) FROM rollout_homes
                 WHERE digest = NEW.digest AND state = 'done'))
    WHERE (SELECT value FROM meta WHERE key = 'uplink') = 'on';
    UPDATE rollouts SET ordered = '' WHERE digest = NEW.digest;
END;
