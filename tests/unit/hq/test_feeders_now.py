"""How feeders are now: overview, tree, fleet and trends have the numbers that transformers make,
whatever is added up beforehand and whatever changed since."""

import dataclasses
import random
from datetime import UTC, datetime, timedelta

import pytest
from psycopg.rows import dict_row
from rigs import people

from pbal_hq import fleet, registry
from pbal_hq.auth import Grant, Permission, Role
from pbal_hq.config import DatabaseConfig
from pbal_hq.database import connected, migrate, steps
from pbal_hq.reports import areas

NOW = datetime.now(UTC).replace(microsecond=0)
FEEDERS, EACH = 24, 3  # more feeders than a list has lines
READERS = ("official-whole", "official-d1", "official-t2", "mixed")
_SCOPE = (
    "(t.id = ANY(%(transformers)s) OR %(whole)s OR t.feeder_id IN"
    " (SELECT area_id FROM area_within WHERE ancestor_id = ANY(%(areas)s)))"
)
_ALARMS = (
    "(SELECT count(*) FROM alarm a WHERE a.transformer_id = t.id AND a.closed_at IS NULL"
    " AND (a.shelved_until IS NULL OR a.shelved_until <= now()))"
)


async def asked(conn, who, sql, **values):
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(sql, who.scope(Permission.TREE_READ).parameters() | values)
        return await cursor.fetchall()


async def oracle_counts(conn, who):
    (row,) = await asked(conn, who, f"""
        SELECT count(*) AS transformers, count(s.id) AS with_site,
            count(*) FILTER (WHERE p.online) AS online,
            count(*) FILTER (WHERE {_ALARMS} > 0) AS in_alarm,
            coalesce(sum({_ALARMS}), 0)::int AS alarms_open,
            coalesce(sum(v.moves_today), 0) AS moves_today,
            sum(v.today_wh::float8) / 1000 AS saved_today_kwh,
            sum(coalesce(v.today_wh, 0)::float8 + coalesce(v.before_wh, 0)::float8)
                FILTER (WHERE coalesce(v.today_wh, v.before_wh) IS NOT NULL) / 1000
                AS saved_year_kwh,
            count(coalesce(v.today_wh, v.before_wh)) AS saved_known
        FROM transformer t JOIN present p ON p.id = t.id
        LEFT JOIN site s ON s.transformer_id = t.id AND s.removed_at IS NULL
        LEFT JOIN saved v ON v.transformer_id = t.id AND v.day = %(day)s
        WHERE t.in_service AND {_SCOPE}""", day=NOW.date())  # fmt: skip
    return row


async def oracle_areas(conn, who):
    rows = await asked(conn, who, f"""
        SELECT w.ancestor_id AS id, count(*) AS transformers,
            count(*) FILTER (WHERE p.online) AS online,
            count(*) FILTER (WHERE {_ALARMS} > 0) AS in_alarm, max(p.in_a) AS worst_neutral_a
        FROM transformer t JOIN present p ON p.id = t.id
        JOIN area_within w ON w.area_id = t.feeder_id
        WHERE t.in_service AND {_SCOPE} GROUP BY 1""")  # fmt: skip
    return {row.pop("id"): row for row in rows}


async def oracle_health(conn, who):
    sites = await asked(conn, who, f"""
        SELECT p.* FROM transformer t JOIN present p ON p.id = t.id JOIN site s
        ON s.transformer_id = t.id AND s.removed_at IS NULL WHERE {_SCOPE}""")  # fmt: skip
    return {
        "sites": len(sites),
        "online": sum(bool(s["online"]) for s in sites),
        "homes": sum(s["homes"] or 0 for s in sites),
        "homes_fresh": sum(s["homes_fresh"] or 0 for s in sites),
        "homes_quarantined": sum(s["homes_quarantined"] or 0 for s in sites),
        "modes": len({s["mode"] for s in sites}),
        "versions": len({s["version"] for s in sites}),
        "offline": sorted((s["seen_at"] for s in sites if not s["online"]),
                          key=lambda at: (at is not None, at))[:20],
        "backlogs": sorted((s["backlog"] for s in sites if (s["backlog"] or 0) > 12),
                           reverse=True)[:20],
        "certificates": sorted(s["certificate_until"] for s in sites if s["certificate_until"]
                               and s["certificate_until"] < NOW + timedelta(days=21))[:20],
    }  # fmt: skip


async def right(conn):
    """What each reader is shown is what the transformers make."""
    for name in READERS:
        who, _ = await people.who(conn, name)
        found = dataclasses.asdict(await fleet.counts(conn, who))
        assert found == pytest.approx(await oracle_counts(conn, who)), name
        tree = {
            a.id: {n: getattr(a, n) for n in
                   ("transformers", "online", "in_alarm", "worst_neutral_a")}
            for a in await fleet.areas(conn, who)
        }  # fmt: skip
        assert tree == await oracle_areas(conn, who), name
        health = await fleet.health(conn, who)
        assert {
            **{n: getattr(health, n) for n in
               ("sites", "online", "homes", "homes_fresh", "homes_quarantined")},
            "modes": len(health.modes), "versions": len(health.versions),
            "offline": [n.at for n in health.offline],
            "backlogs": [n.value for n in health.backlogs],
            "certificates": [n.at for n in health.certificates],
        } == await oracle_health(conn, who), name  # fmt: skip
        assert sum(sites for _, sites in health.modes) == health.sites
        assert sum(sites for _, sites, _ in health.versions) == health.sites
        lines = await areas.seen(conn, who, None, "feeder")
        rows = await asked(
            conn, who, f"SELECT t.feeder_id, count(*) AS n FROM transformer t WHERE {_SCOPE}"
            " GROUP BY 1"
        )  # fmt: skip
        assert {x.feeder: x.transformers for x in lines} == {r["feeder_id"]: r["n"] for r in rows}


async def change(conn, seed):
    """What changes with windows, with states, and with each look at the clock."""
    chance = random.Random(seed)
    ids = [
        n for (n,) in await (await conn.execute("SELECT id FROM present ORDER BY id")).fetchall()
    ]
    for number in ids:
        await conn.execute(
            "UPDATE present SET online = %s, in_a = %s, homes = %s, homes_fresh = %s,"
            " homes_quarantined = %s, version = %s, mode = %s, seen_at = %s, window_at = %s,"
            " backlog = %s, certificate_until = %s WHERE id = %s AND site_id IS NOT NULL",
            (
                chance.random() < 0.5, chance.uniform(0, 90), chance.randrange(90),
                chance.randrange(60), chance.randrange(3), chance.choice((None, 65536, 131072)),
                chance.choice((None, 0, 2)),
                None if chance.random() < 0.1 else NOW - timedelta(seconds=chance.randrange(9**6)),
                NOW - timedelta(minutes=chance.randrange(900)), chance.randrange(60),
                NOW + timedelta(seconds=chance.randrange(40 * 86_400)), number,
            ),
        )  # fmt: skip
        await conn.execute(
            "INSERT INTO saved (transformer_id, day, today_wh, moves_today, before_wh)"
            " VALUES (%s, %s, %s, %s, %s) ON CONFLICT (transformer_id) DO UPDATE SET"
            " today_wh = excluded.today_wh, day = excluded.day",
            (number, NOW.date() - timedelta(days=chance.random() < 0.1),
             chance.choice((None, -3.5, 400)), chance.randrange(5), chance.choice((None, 7e5))),
        )  # fmt: skip


@pytest.fixture
async def made(conn):
    found = await people.make(conn)
    await conn.execute(
        "INSERT INTO area (parent_id, level, code, name) SELECT CASE n %% 3 WHEN 0 THEN %s ELSE %s"
        " END, 'feeder', 'X' || n, '' FROM generate_series(1, %s) n",
        (found.areas["D1"], found.areas["D2"], FEEDERS),
    )
    await conn.execute(
        "INSERT INTO transformer (code, feeder_id) SELECT a.code || '-' || n, a.id FROM area a,"
        " generate_series(1, %s) n WHERE a.code LIKE 'X%%'",
        (EACH,),
    )
    await conn.execute(
        "INSERT INTO site (id, transformer_id, group_id, node) SELECT 100 + id, id, 'north',"
        " 'n' || id FROM transformer WHERE code LIKE 'X%-%' AND id % 7 > 0"
    )
    one = await people.one(conn, "SELECT id FROM transformer WHERE code = 'X4-1'")
    await people.person(
        conn, found, "mixed", Grant(Role.OFFICIAL, area_id=found.areas["D1"]),
        Grant(Role.OFFICIAL, transformer_id=one),
        Grant(Role.OFFICIAL, transformer_id=found.transformers["T1"]),
    )  # fmt: skip
    await change(conn, 1)
    return found


async def due(conn):
    return await people.one(conn, "SELECT count(*) FROM feeder_present_due")


async def moved(conn, code, feeder):
    await conn.execute(
        "UPDATE transformer SET feeder_id = (SELECT id FROM area WHERE code = %s) WHERE code = %s",
        (feeder, code),
    )


async def test_the_numbers_are_the_transformers_whatever_is_added_up(conn, made):
    await right(conn)
    assert await fleet.sum_present(conn)
    assert await due(conn) == 0
    await right(conn)
    # At once: where transformers and sites are, and alarms.
    await moved(conn, "X4-1", "X3")
    await right(conn)
    await moved(conn, "T2", "X5")
    await conn.execute(
        "DELETE FROM transformer WHERE id = (SELECT min(t.id) FROM transformer t"
        " LEFT JOIN site s ON s.transformer_id = t.id WHERE s.id IS NULL)"
    )
    await conn.execute("UPDATE transformer SET in_service = false WHERE code IN ('X6-2', 'X7-3')")
    await right(conn)
    async with conn.transaction():
        await registry.remove_site(conn, 7)
    await right(conn)
    await conn.execute("INSERT INTO transformer (code, feeder_id) SELECT 'N1', id FROM area"
                       " WHERE code = 'X8'")  # fmt: skip
    await right(conn)
    for code in ("X9-1", "X9-2", "X1-1"):
        number = await people.one(conn, "SELECT id FROM transformer WHERE code = %s", code)
        for kind in ("voltage", "neutral"):
            await conn.execute(
                "INSERT INTO alarm (transformer_id, kind, severity, raised_at, last_at)"
                " VALUES (%s, %s, 1, now(), now())",
                (number, kind),
            )
    await right(conn)
    assert await fleet.sum_present(conn, 0)
    assert await due(conn) == 0
    await conn.execute("UPDATE alarm SET last_at = now(), times = 2")
    assert await due(conn) == 0, "an alarm that is told again changes no number"
    await conn.execute("UPDATE alarm SET closed_at = now() WHERE kind = 'voltage'")
    await right(conn)
    await conn.execute("UPDATE alarm SET shelved_until = now() + interval '1 hour'")
    await right(conn)
    await conn.execute("DELETE FROM alarm")
    await right(conn)
    # Within a minute: what changes with each window.
    await fleet.sum_present(conn, 0)
    await change(conn, 2)
    assert await due(conn) == 0, "windows and states note nothing"
    with pytest.raises(AssertionError):
        await right(conn)
    assert not await fleet.sum_present(conn), "that was a moment ago"
    await fleet.sum_present(conn, 0)
    await right(conn)


async def test_what_is_old_is_not_used(conn, made):
    await fleet.sum_present(conn)
    for old in ("made_at = now() - interval '6 minutes'", "day = day - 1"):
        await conn.execute("UPDATE feeder_present SET transformers = 7777")
        with pytest.raises(AssertionError):
            await right(conn)
        await conn.execute(f"UPDATE feeder_present SET {old}")
        await right(conn)
        await fleet.sum_present(conn, 0)
    # Of an area that is no more.
    await conn.execute("UPDATE feeder_present SET feeder_id = 99999 WHERE feeder_id = %s",
                       (made.areas["F1"],))  # fmt: skip
    await fleet.sum_present(conn, 0)
    assert (
        await people.one(conn, "SELECT count(*) FROM feeder_present WHERE feeder_id = 99999") == 0
    )


async def test_sums_are_for_those_who_may_see_the_whole_feeder(conn, made):
    """The sums are made wrong, so who is shown one is seen."""
    await fleet.sum_present(conn)
    await conn.execute("UPDATE feeder_present SET transformers = 7777, worst_neutral_a = 7777")

    async def seen(name):
        who, _ = await people.who(conn, name)
        tree = {a.code: a.transformers for a in await fleet.areas(conn, who)}
        lines = {x.feeder: x.transformers for x in await areas.seen(conn, who, None, "feeder")}
        return tree, lines, (await fleet.counts(conn, who)).transformers

    tree, lines, transformers = await seen("official-t2")
    assert (tree["F2"], tree["D2"], tree["KL"], transformers) == (1, 1, 1, 1)
    assert lines == {made.areas["F2"]: 1}
    tree, _, _ = await seen("mixed")
    # Of X4 this one sees a transformer, of D1 all; T1 is in D1 and counts once.
    assert (tree["X4"], tree["D2"]) == (1, 1)
    assert tree["X3"] % 7777 == tree["F1"] % 7777 == 0
    tree, _, _ = await seen("official-d1")
    assert "D2" not in tree
    assert tree["D1"] % 7777 == 0


async def test_a_change_while_it_is_added_up_is_seen(conn, made, database_url):
    await fleet.sum_present(conn)
    async with people.connected(database_url) as other:
        async with other.transaction():
            await moved(other, "X4-1", "X3")
            assert await fleet.sum_present(conn, 0), "what is not there yet is not waited for"
            assert await due(conn) == 0
            await right(conn)
        assert await due(conn) == 2
        await right(conn)


async def test_of_two_portals_one_does_it(conn, made, database_url):
    async with people.connected(database_url) as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(hashtext('pbal feeders now'))")
        assert not await fleet.sum_present(conn)
    assert await fleet.sum_present(conn)


async def test_in_trouble_most_is_the_same_with_many_and_with_few_in_trouble(conn, made):
    who, _ = await people.who(conn, "official-whole")
    chance = random.Random(3)
    for many in range(6):
        await people.alarm(conn, made, "T1")
        number = await people.one(conn, "SELECT id FROM transformer ORDER BY id LIMIT 1 OFFSET %s",
                                  5 + 3 * many)  # fmt: skip
        await conn.execute(
            "INSERT INTO alarm (transformer_id, kind, severity, raised_at, last_at)"
            " VALUES (%s, 'neutral', %s, now(), now())",
            (number, chance.randrange(3)),
        )
    every = await fleet.transformers(conn, who, limit=500)
    assert [row.alarms > 0 for row in every[:8]] == [True] * 7 + [False]
    for offset, limit in ((0, 3), (0, 7), (3, 4), (3, 10), (7, 5), (9, 500)):
        some = await fleet.transformers(conn, who, offset=offset, limit=limit)
        assert some == every[offset : offset + limit]


async def test_an_older_schema_comes_up_without_sums(empty_url):
    async with connected(DatabaseConfig(url=empty_url)) as db:
        await migrate(db, known=[step for step in steps() if step.number < 62])
    async with people.connected(empty_url) as conn:
        found = await people.make(conn)
        await people.alarm(conn, found, "T2")
        await people.person(conn, found, "mixed", Grant(Role.OFFICIAL, area_id=found.areas["D1"]))
        async with connected(DatabaseConfig(url=empty_url)) as db:
            await migrate(db)
        await right(conn)
        await fleet.sum_present(conn)
        await right(conn)
