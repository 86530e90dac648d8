-- 0009: signatures over the audit log's end, now and then (signing.py).
CREATE TABLE audit_signature (
    seq          INTEGER PRIMARY KEY,      -- the entry that was the last
    link         TEXT NOT NULL,            -- its link
    at_s         REAL NOT NULL,
    key          TEXT NOT NULL,            -- Ed25519, public, hex
    signature    TEXT NOT NULL             -- hex
);

-- Which schema this is, and the oldest whose program may use the file. A later step that only adds
-- tables, indices, or triggers that need no new function says so: 'N from 9'. One that says nothing
-- is refused by older programs.
INSERT INTO meta (key, value) VALUES ('readable', '9 from 9');
