-- What each transformer saved, summed up beforehand: the overview asks for it with every look.
-- `before_wh`: from 1 January to the midnight before `day`; both UTC. NULL: not known.
CREATE TABLE saved (
    transformer_id int PRIMARY KEY REFERENCES transformer ON DELETE CASCADE,
    day date NOT NULL,
    today_wh real,
    moves_today int NOT NULL DEFAULT 0,
    before_wh real
) WITH (fillfactor = 60);
