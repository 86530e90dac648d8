-- How each transformer is now, in one narrow row: what overview, map, ranking and fleet ask of all
-- of them. Without it each of these pages joins transformer, site, site_live (with its JSON) and the
-- latest row of a day of summaries. Triggers keep it, so programs that do not know it keep it, too.
CREATE TABLE present (
    id int PRIMARY KEY,              -- of the transformer; see present_gone
    feeder_id int NOT NULL,
    site_id bigint,                  -- that stands there now; what follows is of it
    seen_at timestamptz,
    certificate_until timestamptz,   -- of its certificates that are not revoked, the last
    window_at timestamptz,           -- start of the latest window; its figures:
    imbalance_percent double precision,
    ia_a real, ib_a real, ic_a real, in_a real, load_percent real,
    homes int, homes_fresh int, homes_quarantined int,
    version int, backlog bigint,     -- of its State
    mode smallint, window_mode smallint,  -- of its State, of the latest window
    in_service boolean NOT NULL,
    online boolean
) WITH (fillfactor = 70);            -- a row changes with each window, and stays on its page
CREATE INDEX present_feeder ON present (feeder_id);

-- NEMA MG 1, 12.45, for currents: the largest deviation from the mean of the phases, percent of it.
CREATE FUNCTION present_imbalance(a real, b real, c real) RETURNS double precision
    LANGUAGE sql IMMUTABLE AS
$$ SELECT 100 * greatest(abs(a - (a + b + c) / 3), abs(b - (a + b + c) / 3), abs(c - (a + b + c) / 3))
    / nullif((a + b + c) / 3, 0) $$;

-- The rows of these transformers anew, from all that is there.
CREATE FUNCTION present_renew(wanted int[]) RETURNS void LANGUAGE sql AS $$
    INSERT INTO present (id, feeder_id, in_service, site_id, online, seen_at, certificate_until,
        version, backlog, mode, window_at, ia_a, ib_a, ic_a, in_a, load_percent, imbalance_percent,
        homes, homes_fresh, homes_quarantined, window_mode)
    SELECT t.id, t.feeder_id, t.in_service, s.id, l.online, l.seen_at,
        (SELECT max(c.not_after) FROM certificate c WHERE c.site_id = s.id AND c.revoked_at IS NULL),
        (l.state->>'version')::int, (l.state->>'backlog')::bigint, (l.state->>'mode')::smallint,
        m.start_at, m.ia_mean_a, m.ib_mean_a, m.ic_mean_a, m.in_mean_a, m.load_max_percent,
        present_imbalance(m.ia_mean_a, m.ib_mean_a, m.ic_mean_a),
        m.homes, m.homes_fresh, m.homes_quarantined, m.mode
    FROM transformer t LEFT JOIN site s ON s.transformer_id = t.id AND s.removed_at IS NULL
    LEFT JOIN site_live l ON l.site_id = s.id
    LEFT JOIN summary m ON m.transformer_id = t.id AND m.start_at = l.summary_at
    WHERE t.id = ANY (wanted)
    ON CONFLICT (id) DO UPDATE SET (feeder_id, in_service, site_id, online, seen_at,
        certificate_until, version, backlog, mode, window_at, ia_a, ib_a, ic_a, in_a, load_percent,
        imbalance_percent, homes, homes_fresh, homes_quarantined, window_mode)
        = (excluded.feeder_id, excluded.in_service, excluded.site_id, excluded.online,
        excluded.seen_at, excluded.certificate_until, excluded.version, excluded.backlog,
        excluded.mode, excluded.window_at, excluded.ia_a, excluded.ib_a, excluded.ic_a,
        excluded.in_a, excluded.load_percent, excluded.imbalance_percent, excluded.homes,
        excluded.homes_fresh, excluded.homes_quarantined, excluded.window_mode)
$$;

CREATE FUNCTION present_of_transformers() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO present (id, feeder_id, in_service) SELECT id, feeder_id, in_service FROM made
        ON CONFLICT (id) DO UPDATE SET feeder_id = excluded.feeder_id,
        in_service = excluded.in_service
        WHERE (present.feeder_id, present.in_service)
            IS DISTINCT FROM (excluded.feeder_id, excluded.in_service);
    RETURN NULL;
END $$;
CREATE TRIGGER present_made AFTER INSERT ON transformer REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION present_of_transformers();
CREATE TRIGGER present_moved AFTER UPDATE ON transformer REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION present_of_transformers();

-- No foreign key: a row that changes twice in a transaction (its site is heard, its window comes)
-- would have it looked up and the transformer's row locked, each time: as much work as both changes.
CREATE FUNCTION present_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM present WHERE id = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER present_gone AFTER DELETE ON transformer FOR EACH ROW EXECUTE FUNCTION present_gone();

-- A new site has nothing yet. What becomes of one later, and of its certificates, is done when the
-- transaction ends: by then it has all other rows that it locks, so it and the store, which locks
-- site_live first, do not wait for each other.
CREATE FUNCTION present_of_new_sites() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE present SET site_id = m.id FROM made m
        WHERE present.id = m.transformer_id AND m.removed_at IS NULL;
    RETURN NULL;
END $$;
CREATE TRIGGER present_made AFTER INSERT ON site REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION present_of_new_sites();

CREATE FUNCTION present_of_a_site() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM present_renew(ARRAY[OLD.transformer_id]);
    IF TG_OP = 'UPDATE' AND NEW.transformer_id <> OLD.transformer_id THEN
        PERFORM present_renew(ARRAY[NEW.transformer_id]);
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER present_changed AFTER UPDATE OR DELETE ON site
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION present_of_a_site();

CREATE FUNCTION present_of_a_certificate() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE present p SET certificate_until = (SELECT max(c.not_after) FROM certificate c
            WHERE c.site_id = NEW.site_id AND c.revoked_at IS NULL)
        FROM site s WHERE s.id = NEW.site_id AND p.id = s.transformer_id AND p.site_id = s.id;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER present_changed AFTER INSERT OR UPDATE ON certificate
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION present_of_a_certificate();

CREATE FUNCTION present_of_live() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE present p SET online = n.online, seen_at = n.seen_at,
        version = (n.state->>'version')::int, backlog = (n.state->>'backlog')::bigint,
        mode = (n.state->>'mode')::smallint
        FROM made n JOIN site s ON s.id = n.site_id AND s.removed_at IS NULL
        WHERE p.id = s.transformer_id AND p.site_id = s.id;
    RETURN NULL;
END $$;
CREATE TRIGGER present_made AFTER INSERT ON site_live REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION present_of_live();
CREATE TRIGGER present_changed AFTER UPDATE ON site_live REFERENCING NEW TABLE AS made
    FOR EACH STATEMENT EXECUTE FUNCTION present_of_live();

CREATE FUNCTION present_of_windows() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE present p SET window_at = m.start_at, ia_a = m.ia_mean_a, ib_a = m.ib_mean_a,
        ic_a = m.ic_mean_a, in_a = m.in_mean_a, load_percent = m.load_max_percent,
        imbalance_percent = present_imbalance(m.ia_mean_a, m.ib_mean_a, m.ic_mean_a),
        homes = m.homes, homes_fresh = m.homes_fresh, homes_quarantined = m.homes_quarantined,
        window_mode = m.mode
        FROM (SELECT DISTINCT ON (transformer_id) * FROM made
            ORDER BY transformer_id, start_at DESC) m
        WHERE p.id = m.transformer_id AND p.site_id = m.site_id
        AND (p.window_at IS NULL OR p.window_at <= m.start_at);
    RETURN NULL;
END $$;
-- The same, window by window: for a TimescaleDB before 2.18, which has no transition tables.
CREATE FUNCTION present_of_a_window() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE present p SET window_at = NEW.start_at, ia_a = NEW.ia_mean_a, ib_a = NEW.ib_mean_a,
        ic_a = NEW.ic_mean_a, in_a = NEW.in_mean_a, load_percent = NEW.load_max_percent,
        imbalance_percent = present_imbalance(NEW.ia_mean_a, NEW.ib_mean_a, NEW.ic_mean_a),
        homes = NEW.homes, homes_fresh = NEW.homes_fresh,
        homes_quarantined = NEW.homes_quarantined, window_mode = NEW.mode
        WHERE p.id = NEW.transformer_id AND p.site_id = NEW.site_id
        AND (p.window_at IS NULL OR p.window_at <= NEW.start_at);
    RETURN NULL;
END $$;
DO $$
BEGIN
    CREATE TRIGGER present_made AFTER INSERT ON summary REFERENCING NEW TABLE AS made
        FOR EACH STATEMENT EXECUTE FUNCTION present_of_windows();
    CREATE TRIGGER present_changed AFTER UPDATE ON summary REFERENCING NEW TABLE AS made
        FOR EACH STATEMENT EXECUTE FUNCTION present_of_windows();
EXCEPTION WHEN feature_not_supported THEN
    CREATE TRIGGER present_made AFTER INSERT OR UPDATE ON summary
        FOR EACH ROW EXECUTE FUNCTION present_of_a_window();
END $$;

SELECT present_renew(ARRAY(SELECT id FROM transformer));

-- Where next: by the study's rank.
CREATE INDEX prospect_rank ON prospect (rank, code);
-- Hours in which a link was bad: few, and the fleet's page asks for them alone.
CREATE INDEX summary_hourly_links ON summary_hourly (start_at, transformer_id)
    WHERE least(rs485_min_percent, lora_min_percent, udp_min_percent) < 95;
