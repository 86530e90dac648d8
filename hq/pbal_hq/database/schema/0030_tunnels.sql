-- The tunnel of a site to HQ: its address within, and the public key of the Pi. The private key
-- never leaves the Pi.
CREATE TABLE site_tunnel (
    site_id bigint PRIMARY KEY REFERENCES site ON DELETE CASCADE,
    address inet NOT NULL UNIQUE,
    public_key text NOT NULL UNIQUE CHECK (length(public_key) = 44),
    added_at timestamptz NOT NULL DEFAULT now()
);
