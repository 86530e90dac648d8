-- Where next: the table of `pbal study fleet`, a row for each station; one study at a time.
CREATE TABLE prospect (
    code text PRIMARY KEY,
    transformer_id int REFERENCES transformer ON DELETE SET NULL,
    rank int,
    figures jsonb NOT NULL,          -- the columns of fleet.csv that are known, by name
    taken_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX prospect_transformer ON prospect (transformer_id);
