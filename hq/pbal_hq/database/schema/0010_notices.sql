-- Notices: every change of an alarm that people outside the portal are told of, and to whom it went.

ALTER TABLE alarm
    ADD COLUMN escalated smallint NOT NULL DEFAULT 0,  -- how often nobody had acknowledged it
    ADD COLUMN worse_at timestamptz;                   -- when its severity last rose

CREATE TABLE notice (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT now(),
    alarm_id bigint NOT NULL REFERENCES alarm ON DELETE CASCADE,
    what text NOT NULL CHECK (what IN ('raised', 'worse', 'escalated', 'closed')),
    severity smallint NOT NULL,
    level smallint NOT NULL,             -- alarm.escalated then
    shelved boolean NOT NULL,
    shared boolean NOT NULL DEFAULT false  -- its deliveries are made
);
CREATE INDEX notice_new ON notice (id) WHERE NOT shared;

-- What a route has to send. `batch`: the message that it is in, the same in every attempt.
CREATE TABLE notice_delivery (
    route text NOT NULL,
    notice_id bigint NOT NULL REFERENCES notice ON DELETE CASCADE,
    batch uuid,
    sent_at timestamptz,
    PRIMARY KEY (route, notice_id)
);
CREATE INDEX notice_delivery_open ON notice_delivery (route, notice_id) WHERE sent_at IS NULL;

CREATE TABLE notice_route (
    name text PRIMARY KEY,
    tries int NOT NULL DEFAULT 0,        -- in vain, since the last success
    next_at timestamptz NOT NULL DEFAULT '-infinity',
    last_sent_at timestamptz,
    last_error text NOT NULL DEFAULT ''
);

-- In the transaction of the change itself: no change is without its notice, however HQ ends.
CREATE FUNCTION alarm_notice() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    word text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        word := 'raised';
    ELSIF NEW.closed_at IS NOT NULL AND OLD.closed_at IS NULL THEN
        word := 'closed';
    ELSIF NEW.severity > OLD.severity THEN
        word := 'worse';
    ELSIF NEW.escalated > OLD.escalated THEN
        word := 'escalated';
    ELSE
        RETURN NULL;
    END IF;
    INSERT INTO notice (alarm_id, what, severity, level, shelved)
    VALUES (NEW.id, word, NEW.severity, NEW.escalated, coalesce(NEW.shelved_until > now(), false));
    RETURN NULL;
END $$;
CREATE TRIGGER alarm_notice AFTER INSERT OR UPDATE ON alarm
    FOR EACH ROW EXECUTE FUNCTION alarm_notice();
