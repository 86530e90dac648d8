-- Up to which window of a site what Storm's detectors say has become alarms: it may come again.
CREATE TABLE alarm_judged (
    site_id bigint PRIMARY KEY REFERENCES site ON DELETE CASCADE,
    start_at timestamptz NOT NULL,
    at timestamptz NOT NULL
);
