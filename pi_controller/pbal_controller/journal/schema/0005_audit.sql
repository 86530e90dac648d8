-- 0005: what was done to the site's keys: when, by whom and why. Never pruned.
CREATE TABLE audit (
    at_s         REAL NOT NULL,
    what         TEXT NOT NULL,
    subject      TEXT NOT NULL,            -- the number of the group key
    who          TEXT NOT NULL,
    why          TEXT NOT NULL,
    PRIMARY KEY (at_s, what, subject)
) WITHOUT ROWID;
