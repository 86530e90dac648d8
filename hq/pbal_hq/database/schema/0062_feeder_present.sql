-- How the transformers of each feeder are now, added up: what overview, fleet and trends ask of a
-- whole state, some rows for each feeder in the place of one for each transformer. The portal makes
-- them anew each minute (pbal_hq.fleet.feeders). They are by feeder and by no higher area: a feeder
-- lies within one area of each level, and whoever may see an area may see whole feeders.
CREATE TABLE feeder_present (
    feeder_id int NOT NULL,
    -- One row for each that occurs: of their State, NULL where not known; of the transformer.
    version int, mode smallint, in_service boolean NOT NULL,
    made_at timestamptz NOT NULL,
    day date NOT NULL,               -- whose savings are today's, UTC
    transformers int NOT NULL, sites int NOT NULL, online int NOT NULL,
    in_alarm int NOT NULL, alarms_open int NOT NULL,
    worst_neutral_a real,
    homes int NOT NULL, homes_fresh int NOT NULL, homes_quarantined int NOT NULL,
    moves_today int NOT NULL, today_wh double precision, year_wh double precision,
    saved_known int NOT NULL,
    -- The one of its sites that is worst in each list: since when it is silent (-infinity: it was
    -- never heard), messages that wait, how long its certificate is good, its latest window.
    silent_since timestamptz, backlog_most bigint, certificate_until timestamptz,
    window_least timestamptz
);
CREATE INDEX feeder_present_feeder ON feeder_present (feeder_id);

-- Feeders that changed since in which transformers they have, where a site stands, or in their
-- alarms: a page adds these up itself. Rows are only added, so nobody waits for another.
CREATE TABLE feeder_present_due (
    feeder_id int NOT NULL
);
CREATE INDEX feeder_present_due_feeder ON feeder_present_due (feeder_id);

-- By triggers: programs that do not know these tables change transformers, too.
CREATE FUNCTION feeder_present_of_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feeder_present_due SELECT DISTINCT feeder_id FROM made;
    RETURN NULL;
END $$;
CREATE TRIGGER feeder_present_made AFTER INSERT ON present REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION feeder_present_of_new();

CREATE FUNCTION feeder_present_of_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feeder_present_due VALUES (OLD.feeder_id);
    IF TG_OP = 'UPDATE' AND NEW.feeder_id <> OLD.feeder_id THEN
        INSERT INTO feeder_present_due VALUES (NEW.feeder_id);
    END IF;
    RETURN NULL;
END $$;
-- Windows and what is heard of a site set other columns: they do not come here.
CREATE TRIGGER feeder_present_changed AFTER UPDATE OF feeder_id, in_service, site_id ON present
    FOR EACH ROW WHEN ((OLD.feeder_id, OLD.in_service, OLD.site_id)
        IS DISTINCT FROM (NEW.feeder_id, NEW.in_service, NEW.site_id))
    EXECUTE FUNCTION feeder_present_of_changed();
CREATE TRIGGER feeder_present_gone AFTER DELETE ON present FOR EACH ROW
    EXECUTE FUNCTION feeder_present_of_changed();

CREATE FUNCTION feeder_present_of_an_alarm() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO feeder_present_due SELECT feeder_id FROM present
        WHERE id = coalesce(NEW.transformer_id, OLD.transformer_id);
    RETURN NULL;
END $$;
CREATE TRIGGER feeder_present_made AFTER INSERT OR DELETE ON alarm FOR EACH ROW
    EXECUTE FUNCTION feeder_present_of_an_alarm();
CREATE TRIGGER feeder_present_changed AFTER UPDATE ON alarm FOR EACH ROW
    WHEN ((OLD.closed_at, OLD.shelved_until) IS DISTINCT FROM (NEW.closed_at, NEW.shelved_until))
    EXECUTE FUNCTION feeder_present_of_an_alarm();
