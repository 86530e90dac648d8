-- Alarms, and the two persons of an order.

-- One alarm stands for one trouble of one transformer (or one home of it) until it is over.
CREATE TABLE alarm (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    transformer_id int NOT NULL REFERENCES transformer ON DELETE CASCADE,
    kind text NOT NULL,
    address int NOT NULL DEFAULT 0,  -- the home; 0 the whole transformer
    severity smallint NOT NULL CHECK (severity BETWEEN 0 AND 2),
    detail text NOT NULL DEFAULT '',
    raised_at timestamptz NOT NULL,
    last_at timestamptz NOT NULL,
    times int NOT NULL DEFAULT 1,
    acknowledged_at timestamptz,
    acknowledged_by text,
    shelved_until timestamptz,
    shelved_by text,
    shelved_why text,
    closed_at timestamptz,
    closed_why text
);
CREATE UNIQUE INDEX alarm_open ON alarm (transformer_id, kind, address) WHERE closed_at IS NULL;
CREATE INDEX alarm_newest ON alarm (raised_at DESC, id DESC);

-- Which events an alarm stands for; an event is taken once.
CREATE TABLE alarm_event (
    site_id bigint NOT NULL,
    event_id bigint NOT NULL,
    alarm_id bigint NOT NULL REFERENCES alarm ON DELETE CASCADE,
    PRIMARY KEY (site_id, event_id),
    FOREIGN KEY (site_id, event_id) REFERENCES event ON DELETE CASCADE
);
CREATE INDEX alarm_event_alarm ON alarm_event (alarm_id);

CREATE TABLE alarm_note (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    alarm_id bigint NOT NULL REFERENCES alarm ON DELETE CASCADE,
    at timestamptz NOT NULL DEFAULT now(),
    actor text NOT NULL,
    words text NOT NULL CHECK (length(words) BETWEEN 1 AND 1000)
);
CREATE INDEX alarm_note_alarm ON alarm_note (alarm_id, id);

-- An order that needs a second person is not sealed without one, and not by the first.
ALTER TABLE command
    ADD COLUMN needs_second boolean NOT NULL DEFAULT false,
    ADD COLUMN approved_at timestamptz,
    ADD CONSTRAINT command_two_people CHECK (approved_by IS DISTINCT FROM asked_by),
    ADD CONSTRAINT command_second CHECK (sealed IS NULL OR NOT needs_second OR approved_by IS NOT NULL);
CREATE INDEX command_newest ON command (asked_at DESC, id DESC);
CREATE INDEX event_answer ON event (command_id) WHERE kind = 6;
