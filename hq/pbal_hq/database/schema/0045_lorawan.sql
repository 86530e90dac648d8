-- A device of a LoRaWAN network server is a site without a certificate: who it is is the server's word.
ALTER TABLE site ADD COLUMN device boolean NOT NULL DEFAULT false;

-- Whether HQ takes what comes of it: it was not removed or revoked, and whoever brings it holds a
-- certificate that is good, or it is such a device.
CREATE OR REPLACE FUNCTION site_trusted(s site) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT s.removed_at IS NULL AND s.revoked_at IS NULL
    AND (s.device
         OR EXISTS (SELECT 1 FROM certificate c WHERE c.site_id = coalesce(s.gateway_id, s.id)
                    AND c.revoked_at IS NULL))
    AND NOT EXISTS (SELECT 1 FROM site g WHERE g.id = s.gateway_id AND g.removed_at IS NOT NULL)
$$;
