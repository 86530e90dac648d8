-- Events come nearly in the order of their time, so a small index finds those that are too old.
CREATE INDEX event_age ON event USING brin (at);
