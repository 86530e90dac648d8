"""What an HQ that has run for a while holds: rows for the tables of each step of the schema.

`ROWS[n]` is written as a program of the time of step n would have, with the columns of then.
A new step with a table, or with a column that older rows get a value for, adds its rows here.
"""

from pbal_uplink import Summary

WINDOWS = 4
START = "2026-03-01 10:00+00"


def _summaries() -> str:
    """Windows of both transformers, in a partition of their day where there are partitions."""
    fields = {f.name: "7" for f in Summary.DECLARED if f.name not in ("site", "start_s")}
    fields |= {"length_s": "300", "complete_percent": "100"}
    names, values = ", ".join(fields), ", ".join(fields.values())
    return f"""
DO $$ BEGIN
    IF (SELECT relkind = 'p' FROM pg_class WHERE oid = 'summary'::regclass) THEN
        CREATE TABLE summary_p20260301 PARTITION OF summary
            FOR VALUES FROM ('2026-03-01 00:00+00') TO ('2026-03-02 00:00+00');
    END IF;
END $$;
INSERT INTO summary (transformer_id, start_at, site_id, historical, received_at, {names})
    SELECT t.id, timestamptz '{START}' + n * interval '5 minutes', s.id, false, now(), {values}
    FROM transformer t JOIN site s ON s.transformer_id = t.id,
        generate_series(0, {WINDOWS - 1}) n;
INSERT INTO summary_due SELECT transformer_id, date_trunc('hour', start_at, 'UTC') FROM summary
    GROUP BY 1, 2;
INSERT INTO summary_hourly (transformer_id, start_at, sampled_s, windows, ia_mean_a)
    SELECT id, '2026-02-28 23:00+00', 3600, 12, 9 FROM transformer;
INSERT INTO summary_daily (transformer_id, start_at, sampled_s, windows, ia_mean_a)
    SELECT id, '2026-02-28 00:00+00', 86400, 288, 9 FROM transformer;
"""


ROWS = {
    1: """
INSERT INTO area (parent_id, level, code, name) VALUES (NULL, 'state', 'KL', 'Kerala');
INSERT INTO area (parent_id, level, code, name) SELECT id, 'district', 'EKM', '' FROM area;
INSERT INTO area (parent_id, level, code, name)
    SELECT id, 'division', 'D1', '' FROM area WHERE code = 'EKM';
INSERT INTO area (parent_id, level, code, name)
    SELECT id, 'feeder', 'F1', '' FROM area WHERE code = 'D1';
INSERT INTO transformer (code, feeder_id, rated_kva, customers)
    SELECT c, a.id, 100, 60 FROM area a, unnest(ARRAY['T1', 'T2']) c WHERE a.code = 'F1';
INSERT INTO site (id, transformer_id, group_id, node)
    SELECT row_number() OVER (ORDER BY code) + 6, id, 'north', code FROM transformer;
INSERT INTO enrol_token (hash, site_id, expires_at) VALUES ('\\x01', 7, '2026-03-02');
INSERT INTO certificate (serial, name, site_id, not_before, not_after)
    SELECT 'a' || id, node, id, '2026-01-01', '2036-01-01' FROM site;
UPDATE certificate SET revoked_at = '2026-02-01', why = 'stolen' WHERE site_id = 8;
INSERT INTO site_live (site_id, online, seen_at, state_at, state)
    SELECT id, true, now(), now(), '{"mode": 1, "homes": 9, "capabilities": 16}' FROM site;
INSERT INTO site_state (site_id, at, state) SELECT site_id, state_at, state FROM site_live;
INSERT INTO site_session (site_id, at, online, bdseq) VALUES (7, '2026-03-01', true, 3);
INSERT INTO event (site_id, event_id, transformer_id, at, received_at, kind, severity, address,
        code, outcome, from_phase, to_phase, command_id, arg0, arg1, detail)
    SELECT s.id, n - 2, s.transformer_id, '2026-03-01', now(), 1, n, 257, 0, 1, 1, 2, 0, 0, 0, 'x'
    FROM site s, generate_series(1, 2) n;
INSERT INTO command (id, site_id, kind, fields, status, asked_by, expires_at, sealed)
    VALUES (5, 7, 1, '{"mode": 3}', 'sent', 'ana', '2036-01-01', '\\x02'),
           (6, 7, 1, '{"mode": 1}', 'asked', 'ana', '2036-01-01', NULL);
INSERT INTO dead_letter (at, source, kind, reason, payload, origin)
    VALUES ('2026-03-01', 'north/9', 'NDATA', 'no site', '\\xff', 'hq.dead:3');
""",
    2: _summaries(),
    3: """
INSERT INTO person (name, password_hash, password_is_initial, totp_sealed, totp_confirmed)
    VALUES ('ana', 'x', false, '\\x01', true), ('ben', 'y', true, NULL, false);
INSERT INTO person_grant (person_id, role, whole) SELECT id, 'administrator', true FROM person
    WHERE name = 'ben';
INSERT INTO person_grant (person_id, role, whole, area_id) SELECT p.id, 'operator', false, a.id
    FROM person p, area a WHERE p.name = 'ana' AND a.code = 'D1';
INSERT INTO session (person_id, refresh_hash, expires_at)
    SELECT id, '\\x01', '2036-01-01' FROM person WHERE name = 'ana';
INSERT INTO session_used (refresh_hash, used_at, session_id)
    SELECT '\\x00', now(), id FROM session;
INSERT INTO audit (actor, action, object, detail)
    SELECT 'ana', 'login', 'user ana', jsonb_build_object('n', n) FROM generate_series(1, 3) n;
""",
    5: """
INSERT INTO alarm (transformer_id, kind, severity, raised_at, last_at)
    SELECT id, 'voltage', 1, '2026-03-01', '2026-03-01' FROM transformer;
INSERT INTO alarm (transformer_id, kind, severity, raised_at, last_at, closed_at, closed_why)
    SELECT id, 'neutral', 2, '2026-02-01', '2026-02-01', '2026-02-02', 'over' FROM transformer;
INSERT INTO alarm_event (site_id, event_id, alarm_id) SELECT 7, 0, min(id) FROM alarm;
INSERT INTO alarm_note (alarm_id, actor, words) SELECT min(id), 'ana', 'looked' FROM alarm;
""",
    7: """
INSERT INTO saved (transformer_id, day, today_wh) SELECT id, '2026-03-01', 12 FROM transformer;
""",
    10: """
UPDATE alarm SET severity = 2, worse_at = now() WHERE kind = 'voltage';
INSERT INTO notice_delivery (route, notice_id) SELECT 'desk', id FROM notice;
INSERT INTO notice_route (name, tries) VALUES ('desk', 2);
""",
    11: """
INSERT INTO person (name, password_hash, login) VALUES ('scada', '!', 'token');
INSERT INTO service_token (hash, person_id, made_by, expires_at)
    SELECT '\\x01', id, 'ben', '2036-01-01' FROM person WHERE name = 'scada';
""",
    12: """
INSERT INTO prospect (code, rank, figures) VALUES ('T1', 1, '{"kva": 100}');
""",
    20: """
INSERT INTO transformer (code, feeder_id) SELECT 'T3', id FROM area WHERE code = 'F1';
INSERT INTO site (id, transformer_id, group_id, node, gateway_id)
    SELECT 9, id, 'north', 'T3', 7 FROM transformer WHERE code = 'T3';
""",
    30: """
INSERT INTO site_tunnel (site_id, address, public_key)
    VALUES (7, '10.9.0.7', repeat('k', 43) || '=');
""",
    50: """
INSERT INTO role_lease (role, holder, until) VALUES ('bridge', 'hq1', '2026-03-01');
""",
    51: """
INSERT INTO alarm_judged (site_id, start_at, at) VALUES (7, '2026-03-01', '2026-03-01');
""",
    61: """
INSERT INTO feeder_daily (start_at, feeder_id, sampled_s, neutral_known, unbalance_known)
    SELECT '2026-02-27 00:00+00', feeder_id, 86400, 0, 0 FROM transformer GROUP BY feeder_id;
""",
    62: """
INSERT INTO feeder_present (feeder_id, in_service, made_at, day, transformers, sites, online,
        in_alarm, alarms_open, homes, homes_fresh, homes_quarantined, moves_today, saved_known)
    SELECT feeder_id, true, now(), '2026-03-01', count(*), count(*), 0, 0, 0, 0, 0, 0, 0, 0
    FROM transformer GROUP BY feeder_id;
INSERT INTO feeder_present_due SELECT DISTINCT feeder_id FROM transformer;
""",
}
