-- A day that is being summed up while its transformer moves to another feeder: neither saw the
-- other's rows, so the day was missing in the new feeder until its next change. Now one waits for
-- the other: days are summed up side by side, a move is made alone. What then notes the days due
-- reads what the other has done (READ COMMITTED: each statement sees what is committed by then).
CREATE FUNCTION feeder_due_alone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('pbal moves between feeders'));
    RETURN NULL;
END $$;
-- Before the first row is locked: two moves do not wait for each other in a circle.
CREATE TRIGGER feeder_due_alone BEFORE UPDATE OF feeder_id ON transformer
    FOR EACH STATEMENT EXECUTE FUNCTION feeder_due_alone();

CREATE OR REPLACE FUNCTION feeder_due_of_days() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtext('pbal moves between feeders'));
    INSERT INTO feeder_due (start_at, feeder_id) SELECT DISTINCT m.start_at, t.feeder_id
        FROM made m JOIN transformer t ON t.id = m.transformer_id;
    RETURN NULL;
END $$;
