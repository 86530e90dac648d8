-- An order that a site has begun and not ended: a rollout, until the site's second answer.
ALTER TABLE command DROP CONSTRAINT command_status_check;
ALTER TABLE command ADD CONSTRAINT command_status_check CHECK (status IN
    ('asked', 'approved', 'sent', 'started', 'done', 'refused', 'failed', 'expired', 'withdrawn'));
