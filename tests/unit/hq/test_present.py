"""The narrow table of how transformers are now: what is kept equals what is worked out anew."""

from datetime import UTC, datetime, timedelta

import pytest
from rigs import people
from rigs.hq import execute
from rigs.timescale import in_one_go

from pbal_hq import fleet, registry
from pbal_hq.config import DatabaseConfig
from pbal_hq.database import connected
from pbal_hq.store import series
from pbal_hq.store.presence import Came, Known, Seen, note_presence, note_seen, note_states
from pbal_uplink import Summary

FIRST = (datetime.now(UTC) - timedelta(hours=3)).replace(minute=0, second=0, microsecond=0)
_RENEWED = "SELECT present_renew(ARRAY(SELECT id FROM transformer))"


@pytest.fixture
async def conn(database_url):
    async with people.connected(database_url) as made:
        made.fleet = await people.make(made)
        yield made


async def rows(conn):
    cursor = await conn.execute("SELECT to_jsonb(p) FROM present p ORDER BY id")
    return [row for (row,) in await cursor.fetchall()]


async def kept_right(conn):
    """What the triggers kept, which is what is made of all that is there."""
    kept = await rows(conn)
    await conn.execute(_RENEWED)
    assert kept == await rows(conn)
    return {row["id"]: row for row in kept}


async def stored(conn, transformer, site, windows, **fields):
    """As the store writes them: heard first, then the windows."""
    made = []
    for n in windows:
        at = FIRST + n * timedelta(minutes=5)
        given = {"length_s": 300, "complete_percent": 50, "ia_mean_a": 30.0 + n, "ib_mean_a": 30.0,
                 "ic_mean_a": 30.0, "in_mean_a": float(n), "homes": 9} | fields  # fmt: skip
        said = Summary(site=site, start_s=int(at.timestamp()), **given).as_dict()
        made.append(series.Row(transformer, at, site, False, at, said))
    async with conn.transaction():
        await note_seen(conn, {site: Seen(FIRST, max(row.start for row in made))})
        await series.insert(conn, made)


async def test_windows_come_in_any_order(conn):
    one, two = conn.fleet.transformers["T1"], conn.fleet.transformers["T2"]
    found = await kept_right(conn)
    assert (found[one]["site_id"], found[one]["window_at"], found[one]["online"]) == (7, None, None)
    await stored(conn, one, 7, [2, 5, 3])
    await stored(conn, two, 8, [4])
    found = await kept_right(conn)
    assert (found[one]["in_a"], found[two]["in_a"]) == (5, 4)
    assert found[one]["imbalance_percent"] == pytest.approx(100 * (35 - 95 / 3) / (95 / 3))
    await stored(conn, one, 7, [1, 4])  # from its backlog
    assert (await kept_right(conn))[one]["in_a"] == 5
    await stored(conn, one, 7, [5], complete_percent=10, in_mean_a=99.0)  # the poorer of two
    assert (await kept_right(conn))[one]["in_a"] == 5
    await stored(conn, one, 7, [5], complete_percent=100, in_mean_a=8.0)
    assert (await kept_right(conn))[one]["in_a"] == 8


async def test_sites_and_their_certificates(conn):
    one = conn.fleet.transformers["T1"]
    await stored(conn, one, 7, [1])
    await note_states(conn, [Known(7, FIRST, {"version": 131329, "backlog": 4, "mode": 2})])
    await note_presence(conn, [Came(7, FIRST, True, 1)])
    certificate = (
        "INSERT INTO certificate (serial, name, site_id, not_before, not_after)"
        " VALUES (%s, '7', 7, now(), now() + make_interval(days => %s))"
    )
    for serial, days in (("a", 40), ("b", 90)):
        await conn.execute(certificate, (serial, days))
    found = (await kept_right(conn))[one]
    assert (found["version"], found["backlog"], found["mode"], found["online"]) == (
        131329, 4, 2, True)  # fmt: skip
    longest = found["certificate_until"]
    await conn.execute("UPDATE certificate SET revoked_at = now() WHERE serial = 'b'")
    assert (await kept_right(conn))[one]["certificate_until"] < longest
    async with conn.transaction():
        await registry.remove_site(conn, 7)
    found = (await kept_right(conn))[one]
    assert (found["site_id"], found["in_a"], found["online"]) == (None, None, None)
    # What still comes of the one that was removed is not the new one's.
    await registry.add_site(conn, registry.NewSite(9, one, "north"))
    await stored(conn, one, 7, [6])
    found = (await kept_right(conn))[one]
    assert (found["site_id"], found["window_at"], found["certificate_until"]) == (9, None, None)
    await conn.execute("DELETE FROM site WHERE id = 9")
    assert (await kept_right(conn))[one]["site_id"] is None


async def test_who_moves_is_seen_where_it_stands(conn):
    one = conn.fleet.transformers["T1"]
    await stored(conn, one, 7, [1])

    async def seen(name):
        who, _ = await people.who(conn, name)
        ranked = await fleet.transformers(conn, who)
        tree = await fleet.areas(conn, who)
        health = await fleet.health(conn, who)
        counts = await fleet.counts(conn, who)
        assert counts.transformers == len(ranked) == max((a.transformers for a in tree), default=0)
        return [row.code for row in ranked], health.sites

    assert await seen("operator-d1") == (["T1"], 1)
    # T2's own official sees it and no other, wherever it stands.
    assert await seen("official-t2") == (["T2"], 1)
    for code, area in (("T1", "F2"), ("T2", "F1")):
        await conn.execute(
            "UPDATE transformer SET feeder_id = %s WHERE code = %s", (conn.fleet.areas[area], code)
        )
    assert await seen("operator-d1") == (["T2"], 1)
    assert await seen("official-t2") == (["T2"], 1)
    await conn.execute("UPDATE transformer SET in_service = false WHERE code = 'T2'")
    who, _ = await people.who(conn, "operator-d1")
    assert await fleet.transformers(conn, who) == []
    await kept_right(conn)
    await conn.execute("INSERT INTO transformer (code, feeder_id) VALUES ('T3', %s)",
                       (conn.fleet.areas["F1"],))  # fmt: skip
    assert [row.code for row in await fleet.transformers(conn, who)] == ["T3"]
    await conn.execute("DELETE FROM transformer WHERE code = 'T3'")
    await kept_right(conn)
    assert await people.one(conn, "SELECT count(*) FROM present") == 2


async def test_windows_wait_for_nobody_who_has_the_transformer(conn, database_url):
    """Its row is not looked up, and not locked, with every window."""
    one = conn.fleet.transformers["T1"]
    await stored(conn, one, 7, [1])
    async with people.connected(database_url) as other, other.transaction():
        await other.execute("SELECT * FROM transformer FOR UPDATE")
        await conn.execute("SET lock_timeout = '3s'")
        await stored(conn, one, 7, [2])
    assert (await kept_right(conn))[one]["in_a"] == 2


@pytest.fixture
def place(tmp_path):
    with in_one_go(tmp_path) as made:
        yield made


async def test_timescale_keeps_it_too(place):
    execute(place.url, "INSERT INTO area (parent_id, level, code, name)"
            " VALUES (NULL, 'state', 'KL', '')")  # fmt: skip
    for level in ("district", "division", "feeder"):
        execute(place.url, "INSERT INTO area (parent_id, level, code, name)"
                " SELECT max(id), %s, 'X', '' FROM area", level)  # fmt: skip
    execute(place.url, "INSERT INTO transformer (code, feeder_id) SELECT 'T1', max(id)"
            " FROM area")  # fmt: skip
    execute(place.url, "INSERT INTO site (id, transformer_id, group_id, node)"
            " SELECT 7, id, 'north', '7' FROM transformer")  # fmt: skip
    copy = place.store.get("copy_rows", True)
    async with connected(DatabaseConfig(url=place.url, **place.database)) as db:
        for n in (3, 5, 4):
            at = FIRST + n * timedelta(minutes=5)
            said = Summary(site=7, start_s=int(at.timestamp()), length_s=300,
                           complete_percent=90, in_mean_a=float(n))  # fmt: skip
            async with db.transaction():
                await note_seen(db, {7: Seen(at, at)})
                row = series.Row(1, at, 7, False, at, said.as_dict())
                await series.insert(db, [row], copy=copy)
    assert execute(place.url, "SELECT in_a FROM present") == [(5.0,)]
