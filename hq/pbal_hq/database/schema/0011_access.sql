-- Users who log in elsewhere: at an OpenID Connect provider, or machines with a token.

ALTER TABLE person
    ADD COLUMN login text NOT NULL DEFAULT 'password'
        CHECK (login IN ('password', 'provider', 'token')),
    ADD COLUMN issuer text,
    ADD COLUMN subject text,
    ADD CONSTRAINT person_provider CHECK (login = 'provider' OR subject IS NULL),
    ADD CONSTRAINT person_subject UNIQUE (issuer, subject);

CREATE TABLE service_token (
    hash bytea PRIMARY KEY,          -- SHA-256 of the token
    person_id bigint NOT NULL REFERENCES person ON DELETE CASCADE,
    made_at timestamptz NOT NULL DEFAULT now(),
    made_by text NOT NULL,
    expires_at timestamptz NOT NULL,
    used_at timestamptz              -- within the hour
);
CREATE INDEX service_token_person ON service_token (person_id);
