-- Users, their grants, their sessions; the audit log.

CREATE TABLE person (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE CHECK (name ~ '^[a-z][a-z0-9._-]{1,39}$'),
    full_name text NOT NULL DEFAULT '' CHECK (length(full_name) <= 120),
    password_hash text NOT NULL,
    password_is_initial boolean NOT NULL DEFAULT true,
    totp_sealed bytea,
    totp_confirmed boolean NOT NULL DEFAULT false,
    totp_step bigint NOT NULL DEFAULT 0,
    active boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- A role at an area, at one transformer, or at the whole tree: which of them is said, never implied.
CREATE TABLE person_grant (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person_id bigint NOT NULL REFERENCES person ON DELETE CASCADE,
    role text NOT NULL
        CHECK (role IN ('official', 'operator', 'engineer', 'auditor', 'administrator')),
    whole boolean NOT NULL,
    area_id int REFERENCES area ON DELETE CASCADE,
    transformer_id int REFERENCES transformer ON DELETE CASCADE,
    CHECK (whole::int + num_nonnulls(area_id, transformer_id) = 1),
    UNIQUE NULLS NOT DISTINCT (person_id, role, area_id, transformer_id)
);

CREATE TABLE session (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    person_id bigint NOT NULL REFERENCES person ON DELETE CASCADE,
    refresh_hash bytea NOT NULL UNIQUE,
    rotated_at timestamptz NOT NULL DEFAULT now(),
    started_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    ended_why text,
    address text NOT NULL DEFAULT ''
);
CREATE INDEX session_person ON session (person_id) WHERE ended_at IS NULL;

-- Refresh tokens that were exchanged: one that comes again was copied.
CREATE TABLE session_used (
    refresh_hash bytea PRIMARY KEY,
    used_at timestamptz NOT NULL,
    session_id bigint NOT NULL REFERENCES session ON DELETE CASCADE
);

-- The audit log: each entry holds the hash of the one before it, no entry can be changed.
CREATE TABLE audit (
    id bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    actor text NOT NULL,
    action text NOT NULL,
    object text NOT NULL,
    detail jsonb NOT NULL,
    prev bytea NOT NULL,
    hash bytea NOT NULL
);
CREATE INDEX audit_at ON audit (at);
CREATE INDEX audit_actor ON audit (actor, id);

-- Microseconds of the unix clock, and each part with its length, so that no two entries read alike.
CREATE FUNCTION audit_part(part text) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT octet_length(part) || ':' || part || ',' $$;

CREATE FUNCTION audit_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    last record;
BEGIN
    -- One at a time, until the transaction ends: the chain has no forks and no gaps.
    PERFORM pg_advisory_xact_lock(hashtext('pbal audit'));
    SELECT id, hash INTO last FROM audit ORDER BY id DESC LIMIT 1;
    NEW.id := coalesce(last.id, 0) + 1;
    NEW.at := date_trunc('microseconds', clock_timestamp());
    NEW.prev := coalesce(last.hash, '\x0000000000000000000000000000000000000000000000000000000000000000'::bytea);
    NEW.hash := sha256(convert_to(
        audit_part(NEW.id::text)
        || audit_part((extract(epoch FROM NEW.at) * 1000000)::bigint::text)
        || audit_part(NEW.actor) || audit_part(NEW.action) || audit_part(NEW.object)
        || audit_part(NEW.detail::text) || audit_part(encode(NEW.prev, 'hex')), 'UTF8'));
    RETURN NEW;
END $$;
CREATE TRIGGER audit_chain BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION audit_chain();

CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE ON audit
    FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
