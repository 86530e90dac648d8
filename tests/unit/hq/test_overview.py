"""The overview's numbers."""

from datetime import UTC, datetime, timedelta

import pytest
from rigs import people

from pbal_hq import fleet
from pbal_hq.errors import NothingToDo
from pbal_hq.portal.tree import branch


async def sums(conn, table, transformer, at, wh, moves):
    await conn.execute(
        f"INSERT INTO {table} (transformer_id, start_at, sampled_s, windows, losses_avoided_wh,"
        " confirmed) VALUES (%s, %s, 3600, 12, %s, %s)",
        (transformer, at, wh, moves),
    )


async def counts(conn, name):
    who, _ = await people.who(conn, name)
    return await fleet.counts(conn, who)


async def test_saved_today_and_this_year(conn):
    await conn.execute("SET timezone = 'Asia/Kolkata'")  # days are of UTC wherever the server is
    made = await people.make(conn)
    one, two = made.transformers["T1"], made.transformers["T2"]
    now = datetime.now(UTC)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    year = day.replace(month=1, day=1)
    # A day's row has all of its hours.
    for hour, wh in ((0, 1000), (1, 500)):
        await sums(conn, "summary_hourly", one, day + timedelta(hours=hour), wh, 1)
    await sums(conn, "summary_hourly", one, day - timedelta(hours=1), 9000, 9)
    await sums(conn, "summary_daily", one, day, 1500, 2)
    former = 0.0
    if day > year:
        await sums(conn, "summary_daily", one, day - timedelta(days=1), -500, 9)
        former = -0.5
    await sums(conn, "summary_daily", one, year - timedelta(days=1), 8000, 9)
    await sums(conn, "summary_daily", two, day, None, 1)
    await fleet.sum_saved(conn, now, former_days=True)
    found = await counts(conn, "official-whole")
    assert (found.saved_today_kwh, found.saved_year_kwh) == (1.5, 1.5 + former)
    assert (found.saved_known, found.moves_today, found.transformers) == (1, 3, 2)
    there = await counts(conn, "official-t2")
    assert (there.saved_today_kwh, there.saved_known, there.moves_today) == (None, 0, 1)
    # An hour that came late, and a new day.
    await conn.execute("UPDATE summary_daily SET losses_avoided_wh = 2500 WHERE start_at = %s",
                       (day,))  # fmt: skip
    await fleet.sum_saved(conn, now, former_days=False)
    assert (await counts(conn, "official-d1")).saved_today_kwh == 2.5
    await fleet.sum_saved(conn, now + timedelta(days=1), former_days=True)
    row = await (
        await conn.execute(
            "SELECT today_wh, moves_today FROM saved WHERE transformer_id = %s", (one,)
        )
    ).fetchone()
    assert row == (None, 0)


async def test_counts_and_areas_within_the_scope(conn):
    made = await people.make(conn)
    for where in ("T1", "T2"):
        await people.summaries(conn, made, where, windows=3)
    await people.alarm(conn, made, "T2")
    await people.alarm(conn, made, "T2")
    shelved = await people.alarm(conn, made, "T1")
    await conn.execute(
        "UPDATE alarm SET shelved_until = now() + interval '1 hour' WHERE id = %s", (shelved,)
    )
    found = await counts(conn, "official-whole")
    assert (found.with_site, found.online, found.in_alarm, found.alarms_open) == (2, 2, 1, 2)
    who, _ = await people.who(conn, "official-whole")
    tree = {a.code: (a.transformers, a.online, a.in_alarm) for a in await fleet.areas(conn, who)}
    assert tree == {"KL": (2, 2, 1), "EKM": (2, 2, 1), "D1": (1, 1, 0), "F1": (1, 1, 0),
                    "D2": (1, 1, 1), "F2": (1, 1, 1)}  # fmt: skip
    who, _ = await people.who(conn, "official-d1")
    tree = {a.code: a.transformers for a in await fleet.areas(conn, who)}
    assert tree == {"KL": 1, "EKM": 1, "D1": 1, "F1": 1}


async def test_the_tree_opens_level_by_level(conn):
    await people.make(conn)
    who, _ = await people.who(conn, "official-whole")
    areas = await fleet.areas(conn, who)
    by_code = {a.code: a for a in areas}

    def opened(code=None):
        found = branch(areas, by_code[code].id if code else None)
        return [a.code for a in found.path], [a.code for a in found.areas]

    # One state with one district: their divisions at once.
    assert opened() == opened("KL") == opened("EKM") == (["KL", "EKM"], ["D1", "D2"])
    assert opened("D1") == (["KL", "EKM", "D1"], ["F1"])
    assert opened("F1") == (["KL", "EKM", "D1", "F1"], [])
    assert branch(areas, None).open == {by_code[c].id for c in ("KL", "EKM", "D1", "D2")}
    who, _ = await people.who(conn, "official-d1")
    mine = await fleet.areas(conn, who)
    assert [a.code for a in branch(mine, None).areas] == ["F1"]
    with pytest.raises(NothingToDo):
        branch(mine, by_code["D2"].id)
    assert (branch([], None).path, branch([], None).areas) == ([], [])


async def test_many_areas_are_paged(conn, database_url):
    made = await people.make(conn)
    await conn.execute(
        "WITH made AS (INSERT INTO area (parent_id, level, code, name) SELECT %s, 'feeder',"
        " 'X' || n, 'Extra ' || lpad(n::text, 2, '0') FROM generate_series(1, 30) n RETURNING id)"
        " INSERT INTO transformer (code, feeder_id) SELECT 'X' || id, id FROM made",
        (made.areas["D1"],),
    )
    async with people.portal(database_url) as client:
        _, access = await people.who(conn, "official-d1")
        client.cookies.set("__Host-pbal", access)
        first = (await client.get("/")).text
        assert "Extra 20" in first
        assert "Extra 21" not in first
        assert "&amp;offset=20" in first
        more = (await client.get("/?area_id=&offset=20")).text
        assert "Extra 21" in more
        assert "Extra 20" not in more
        assert (await client.get("/?area_id=x")).status_code == 422
        assert (await client.get(f"/?area_id={made.areas['D2']}")).status_code == 404
