-- The tree of areas, transformers, sites, and what sites say.
-- Times are timestamptz. Numbers of 64 bits without a sign (ids of events and commands) are kept as
-- bigint, in two's complement.

-- state / district / division / feeder: each below one of the level above.
CREATE TABLE area (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    parent_id int REFERENCES area ON DELETE RESTRICT,
    level text NOT NULL CHECK (level IN ('state', 'district', 'division', 'feeder')),
    code text NOT NULL CHECK (code <> '' AND length(code) <= 64),
    name text NOT NULL CHECK (length(name) <= 200),
    UNIQUE NULLS NOT DISTINCT (parent_id, code)
);

-- Which areas lie within which, each within itself too. Kept by triggers; rights and sums ask it.
CREATE TABLE area_within (
    area_id int NOT NULL REFERENCES area ON DELETE CASCADE,
    ancestor_id int NOT NULL REFERENCES area ON DELETE CASCADE,
    PRIMARY KEY (area_id, ancestor_id)
);
CREATE INDEX area_within_ancestor ON area_within (ancestor_id, area_id);

CREATE FUNCTION area_level(level text) RETURNS int LANGUAGE sql IMMUTABLE AS
$$ SELECT array_position(ARRAY['state', 'district', 'division', 'feeder'], level) $$;

CREATE FUNCTION area_check() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE above text;
BEGIN
    IF TG_OP = 'UPDATE' AND (NEW.parent_id, NEW.level) IS DISTINCT FROM (OLD.parent_id, OLD.level) THEN
        RAISE EXCEPTION 'area % keeps its place; make another and move what is in it', OLD.code;
    END IF;
    SELECT level INTO above FROM area WHERE id = NEW.parent_id;
    IF area_level(NEW.level) <> coalesce(area_level(above), 0) + 1 THEN
        RAISE EXCEPTION 'a % cannot stand below %', NEW.level, coalesce('a ' || above, 'nothing');
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER area_check BEFORE INSERT OR UPDATE ON area
    FOR EACH ROW EXECUTE FUNCTION area_check();

CREATE FUNCTION area_note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO area_within
        SELECT NEW.id, NEW.id UNION ALL
        SELECT NEW.id, ancestor_id FROM area_within WHERE area_id = NEW.parent_id;
    RETURN NULL;
END $$;
CREATE TRIGGER area_note AFTER INSERT ON area FOR EACH ROW EXECUTE FUNCTION area_note();

CREATE TABLE transformer (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL UNIQUE CHECK (code <> '' AND length(code) <= 64),
    name text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    feeder_id int NOT NULL REFERENCES area ON DELETE RESTRICT,
    latitude double precision CHECK (latitude BETWEEN -90 AND 90),
    longitude double precision CHECK (longitude BETWEEN -180 AND 180),
    rated_kva real CHECK (rated_kva > 0),
    customers int CHECK (customers >= 0),
    in_service boolean NOT NULL DEFAULT true,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX transformer_feeder ON transformer (feeder_id);

-- A controller at a transformer. `id` is the site's number in its own configuration; `node` is its
-- Sparkplug edge node id and the name in its certificate.
CREATE TABLE site (
    id bigint PRIMARY KEY CHECK (id BETWEEN 0 AND 4294967295),
    transformer_id int NOT NULL REFERENCES transformer ON DELETE RESTRICT,
    group_id text NOT NULL,
    node text NOT NULL UNIQUE,
    name text NOT NULL DEFAULT '',
    added_at timestamptz NOT NULL DEFAULT now(),
    removed_at timestamptz
);
CREATE UNIQUE INDEX site_transformer ON site (transformer_id) WHERE removed_at IS NULL;

CREATE TABLE enrol_token (
    hash bytea PRIMARY KEY,          -- SHA-256 of the token
    site_id bigint NOT NULL REFERENCES site ON DELETE CASCADE,
    made_at timestamptz NOT NULL DEFAULT now(),
    made_by text NOT NULL DEFAULT '',
    expires_at timestamptz NOT NULL,
    used_at timestamptz,
    used_from text,
    used_key bytea                   -- SHA-256 of the public key it was used for
);

CREATE TABLE certificate (
    serial text PRIMARY KEY,         -- hex
    name text NOT NULL,
    site_id bigint REFERENCES site ON DELETE RESTRICT,
    not_before timestamptz NOT NULL,
    not_after timestamptz NOT NULL,
    issued_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,          -- on the next revocation list
    why text NOT NULL DEFAULT ''
);
CREATE INDEX certificate_site ON certificate (site_id);

-- How a site is now. Figures of the latest window: the summary at `summary_at`.
CREATE TABLE site_live (
    site_id bigint PRIMARY KEY REFERENCES site ON DELETE CASCADE,
    online boolean NOT NULL DEFAULT false,
    online_at timestamptz,           -- when `online` became what it is
    seen_at timestamptz,             -- anything came, by HQ's clock
    summary_at timestamptz,          -- start of the latest window that is stored
    state_at timestamptz,
    state jsonb                      -- the latest State, by its fields
);

-- The words of State as they were, for a look back.
CREATE TABLE site_state (
    site_id bigint NOT NULL REFERENCES site ON DELETE CASCADE,
    at timestamptz NOT NULL,
    state jsonb NOT NULL,
    PRIMARY KEY (site_id, at)
);

-- Births and deaths.
CREATE TABLE site_session (
    site_id bigint NOT NULL REFERENCES site ON DELETE CASCADE,
    at timestamptz NOT NULL,
    online boolean NOT NULL,
    bdseq int,
    PRIMARY KEY (site_id, at, online)
);

CREATE TABLE event (
    site_id bigint NOT NULL REFERENCES site ON DELETE CASCADE,
    event_id bigint NOT NULL,
    transformer_id int NOT NULL REFERENCES transformer,
    at timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    kind smallint NOT NULL,          -- pbal_uplink.names.KINDS, and so on
    severity smallint NOT NULL,
    address int NOT NULL,            -- of the home; 0 the whole site
    code smallint NOT NULL,
    outcome smallint NOT NULL,
    from_phase smallint NOT NULL,
    to_phase smallint NOT NULL,
    command_id bigint NOT NULL,
    arg0 int NOT NULL,
    arg1 int NOT NULL,
    detail text NOT NULL,
    trace text NOT NULL DEFAULT '',
    PRIMARY KEY (site_id, event_id)
);
CREATE INDEX event_at ON event (transformer_id, at DESC);
CREATE INDEX event_severity ON event (at DESC) WHERE severity > 0;

-- Orders to sites: made and approved by people, sealed and sent by HQ, answered by the site.
CREATE TABLE command (
    id bigint PRIMARY KEY CHECK (id > 0),
    site_id bigint NOT NULL REFERENCES site ON DELETE RESTRICT,
    kind smallint NOT NULL,
    fields jsonb NOT NULL,           -- of pbal_uplink.Command
    status text NOT NULL CHECK (status IN
        ('asked', 'approved', 'sent', 'done', 'refused', 'failed', 'expired', 'withdrawn')),
    asked_by text NOT NULL,
    approved_by text,
    asked_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    sealed bytea,
    sent_at timestamptz,
    answered_at timestamptz,
    answer text NOT NULL DEFAULT ''
);
CREATE INDEX command_site ON command (site_id, asked_at DESC);
CREATE INDEX command_open ON command (status) WHERE status IN ('asked', 'approved', 'sent');

-- What came and could not be used, with the reason.
CREATE TABLE dead_letter (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL,
    source text NOT NULL,            -- group/node
    kind text NOT NULL,              -- NBIRTH, NDATA, ... or a topic of the bus
    reason text NOT NULL,
    payload bytea NOT NULL,
    origin text NOT NULL UNIQUE      -- topic and offset on the bus: taken once
);
CREATE INDEX dead_letter_source ON dead_letter (source, id DESC);
