-- Sites without a link of their own: they reach HQ through the gateway of another site, as devices
-- of its edge node. `gateway_id`: that other site; such a site has no certificate, and `revoked_at`
-- says since when nothing of it is taken.
ALTER TABLE site ADD COLUMN gateway_id bigint REFERENCES site ON DELETE RESTRICT;
ALTER TABLE site ADD COLUMN revoked_at timestamptz;
ALTER TABLE site ADD CONSTRAINT site_gateway CHECK (gateway_id <> id);
CREATE INDEX site_gateway ON site (gateway_id) WHERE gateway_id IS NOT NULL;

-- The name of a site on the bus: group/node, or group/gateway's node/node behind a gateway.
CREATE FUNCTION site_key(s site) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN s.gateway_id IS NULL THEN s.group_id || '/' || s.node
    ELSE (SELECT g.group_id || '/' || g.node FROM site g WHERE g.id = s.gateway_id)
         || '/' || s.node END
$$;

-- Whether HQ takes what comes of it: it was not removed or revoked, and whoever brings it holds a
-- certificate that is good.
CREATE FUNCTION site_trusted(s site) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT s.removed_at IS NULL AND s.revoked_at IS NULL
    AND EXISTS (SELECT 1 FROM certificate c WHERE c.site_id = coalesce(s.gateway_id, s.id)
                AND c.revoked_at IS NULL)
    AND NOT EXISTS (SELECT 1 FROM site g WHERE g.id = s.gateway_id AND g.removed_at IS NOT NULL)
$$;
