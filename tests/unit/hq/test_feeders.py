"""Days of feeders: whatever is kept, the page has the numbers that the transformers' days make."""

import asyncio
import dataclasses
import random
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from rigs import people
from rigs.courses import same_course
from rigs.hq import execute
from rigs.waiting import going, until

from pbal_hq import reports, roles
from pbal_hq.config import DatabaseConfig
from pbal_hq.database import connected, migrate, pool, steps
from pbal_hq.errors import BadInput
from pbal_hq.reports import course
from pbal_hq.store import sum_feeders

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
NOW = TODAY + timedelta(hours=12)
FIRST = TODAY - timedelta(days=4)
_MORE = (("T3", "F1"), ("T4", "F1"), ("T5", "F2"))
_REALS = (
    "in_mean_a", "in_max_a", "load_max_percent", "hotspot_max_c", "va_min_v", "vb_min_v",
    "vc_min_v", "va_max_v", "vb_max_v", "vc_max_v", "ea_import_kwh", "eb_import_kwh",
    "ec_import_kwh", "ea_export_kwh", "eb_export_kwh", "ec_export_kwh", "losses_avoided_wh",
    "pvur_mean_percent",
)  # fmt: skip
_COUNTS = ("confirmed", "refused", "failed", "expired", "disagreed")


def made_up(transformer, at, seed):
    """A day's row; some figures are not known, some days were not sampled at all."""
    chance = random.Random(f"{transformer} {at} {seed}")
    row = {name: None if chance.random() < 0.2 else chance.uniform(0, 300) for name in _REALS}
    row |= {name: chance.randrange(9) for name in _COUNTS}
    sampled = chance.choice((0, 4000, 86_400))
    return row | {"transformer_id": transformer, "start_at": at, "sampled_s": sampled, "windows": 9}


async def put(conn, transformer, at, seed=0):
    row = made_up(transformer, at, seed)
    sets = ", ".join(f"{name} = EXCLUDED.{name}" for name in row)
    await conn.execute(
        f"INSERT INTO summary_daily ({', '.join(row)})"
        f" VALUES ({', '.join(f'%({name})s' for name in row)})"
        f" ON CONFLICT (transformer_id, start_at) DO UPDATE SET {sets}",
        row,
    )


@pytest.fixture
async def fleet(conn):
    found = await people.make(conn)
    for code, feeder in _MORE:
        found.transformers[code] = await people.one(
            conn, "INSERT INTO transformer (code, feeder_id) VALUES (%s, %s) RETURNING id",
            code, found.areas[feeder],
        )  # fmt: skip
    for code, transformer in found.transformers.items():
        for n in range(5):
            if (code, n) != ("T3", 2):
                await put(conn, transformer, FIRST + n * timedelta(days=1))
    return found


async def kept(url):
    async with pool(DatabaseConfig(url=url)) as database:
        assert await sum_feeders(database, lambda: None)


async def due(conn):
    return await people.one(conn, "SELECT count(*) FROM feeder_due")


async def asked(conn, name, level="division", area=None, days=5):
    who, _ = await people.who(conn, name)
    last = FIRST + timedelta(days=days - 1)
    return await reports.make_course(conn, who, area, level, "days", FIRST.date(), last.date(), NOW)


async def right(conn, *names):
    """What these are shown is what the days of the transformers make, each added up by itself."""
    for name in names or ("official-whole", "official-d1", "official-t2"):
        who, _ = await people.who(conn, name)
        for level in ("state", "division", "feeder"):
            found = await asked(conn, name, level)
            places = await course._places(conn, who, None, level)
            points = await course._stored(conn, dataclasses.replace(found.question, places=places))
            points = sorted(points, key=lambda point: (point.area, point.at))
            same_course(found, dataclasses.replace(found, points=points))


async def test_the_numbers_are_the_transformers_whatever_is_kept(conn, fleet, database_url):
    assert await due(conn) > 0
    await right(conn)
    await kept(database_url)
    assert await due(conn) == 0
    await right(conn)
    # A late day, one that came before, and one again.
    await put(conn, fleet.transformers["T3"], FIRST + timedelta(days=2))
    await put(conn, fleet.transformers["T1"], FIRST - timedelta(days=9))
    await put(conn, fleet.transformers["T5"], FIRST, seed=1)
    await right(conn)
    await kept(database_url)
    await right(conn)
    # Who moves takes its past along; who goes, too.
    move = "UPDATE transformer SET feeder_id = %s WHERE code = %s"
    await conn.execute(move, (fleet.areas["F2"], "T4"))
    await right(conn)
    await kept(database_url)
    await right(conn)
    await conn.execute("DELETE FROM transformer WHERE code = 'T5'")
    await conn.execute("DELETE FROM summary_daily WHERE start_at = %s", (FIRST,))
    await right(conn)
    await kept(database_url)
    assert await due(conn) == 0
    await right(conn)
    assert await people.one(conn, "SELECT count(*) FROM feeder_daily WHERE start_at = %s",
                            FIRST) == 0  # fmt: skip


async def test_only_what_changed_is_added_up_and_only_for_whom_it_is_whole(
    conn, fleet, database_url
):
    await kept(database_url)
    await conn.execute("UPDATE feeder_daily SET neutral_max_a = 7777")
    await put(conn, fleet.transformers["T2"], FIRST, seed=2)

    def largest(found):
        n = [figure.name for figure in reports.FIGURES].index("neutral max")
        return [point.values[n] for point in found.points]

    d2 = fleet.areas["D2"]
    changed, *same = largest(await asked(conn, "official-whole", area=d2))
    assert (changed == 7777, same) == (False, [7777] * 4)
    # Of F2 this one sees T2 alone, and no sum of the others.
    (line,) = (await asked(conn, "official-t2", "feeder")).by_area().values()
    assert {point.transformers for point in line} == {1}
    assert 7777 not in largest(await asked(conn, "official-t2"))
    assert largest(await asked(conn, "official-d1", "feeder")) == [7777] * 5


async def test_a_day_that_changes_while_its_feeder_is_summed_up_comes_again(
    conn, fleet, database_url
):
    await kept(database_url)
    async with people.connected(database_url) as other, other.transaction():
        await put(other, fleet.transformers["T1"], FIRST, seed=3)
        await put(conn, fleet.transformers["T3"], FIRST, seed=3)
        await kept(database_url)
        assert await due(conn) == 0, "what is not there yet is not waited for"
    assert await due(conn) > 0
    await right(conn)
    await kept(database_url)
    await right(conn)


async def test_the_role_of_sums_keeps_them(conn, fleet, database_url):
    async def all_kept():
        return await due(conn) == 0

    async with (
        pool(DatabaseConfig(url=database_url)) as database,
        going(roles._sums(SimpleNamespace(database=database), lambda: None)),
    ):
        await until(all_kept)
    await right(conn)


async def test_two_do_not_sum_up_at_once(conn, fleet, database_url):
    async with people.connected(database_url) as other, other.transaction():
        await other.execute("SELECT pg_advisory_xact_lock(hashtext('pbal days of feeders'))")
        await kept(database_url)
        assert await due(conn) > 0
    await kept(database_url)
    assert await due(conn) == 0


async def test_it_ends_when_its_time_is_over_and_goes_on_from_there(
    conn, fleet, database_url, monkeypatch
):
    monkeypatch.setattr("pbal_hq.store.feeders._DAYS_AT_ONCE", 3)
    beats = []
    async with pool(DatabaseConfig(url=database_url)) as database:
        assert not await sum_feeders(database, lambda: beats.append(1), 0)
        assert (len(beats), await due(conn) > 0) == (0, True)
        assert await sum_feeders(database, lambda: beats.append(1))
    assert len(beats) == 4  # ten days of feeders
    assert await due(conn) == 0
    await right(conn)


async def test_more_transformers_than_are_added_up_for_a_page(
    conn, fleet, database_url, monkeypatch
):
    """Five transformers for five days are 25 values, of the days that are over 20; of two feeders
    10."""
    monkeypatch.setattr("pbal_hq.reports.course.MOST_VALUES", 12)
    with pytest.raises(BadInput, match="20 days of transformers changed and are being summed up"):
        await asked(conn, "official-whole")
    await kept(database_url)
    before = await asked(conn, "official-whole")
    # The running day changes all the time: it is as it was.
    for transformer in fleet.transformers.values():
        await put(conn, transformer, TODAY, seed=4)
    assert (await asked(conn, "official-whole")).points == before.points
    monkeypatch.setattr("pbal_hq.reports.course.MOST_VALUES", 9)
    with pytest.raises(BadInput, match=r"10 days of feeders.*smaller area"):
        await asked(conn, "official-whole")
    monkeypatch.undo()
    await right(conn, "official-whole")


async def test_days_that_were_there_before_the_step_are_due_with_it(empty_url):
    async with connected(DatabaseConfig(url=empty_url)) as db:
        await migrate(db, known=[step for step in steps() if step.number < 61])
    async with people.connected(empty_url) as conn:
        made = await people.make(conn)
        for n in (0, 3):
            await put(conn, made.transformers["T1"], FIRST + n * timedelta(days=1))
        async with connected(DatabaseConfig(url=empty_url)) as db:
            await migrate(db)
        await right(conn)
        await kept(empty_url)
        await right(conn)
    assert execute(empty_url, "SELECT count(*) FROM feeder_daily") == [(2,)]
    assert execute(empty_url, "SELECT count(*) FROM feeder_due") == [(0,)]


async def test_a_late_day_while_its_transformer_moves(conn, fleet, database_url):
    """In each order the one waits for the other, and the day is right where the transformer is."""
    await kept(database_url)
    move = "UPDATE transformer SET feeder_id = %s WHERE code = 'T3'"
    late = FIRST - timedelta(days=3)
    async with people.connected(database_url) as other:
        async with other.transaction():
            await put(other, fleet.transformers["T3"], late)
            moving = asyncio.create_task(conn.execute(move, (fleet.areas["F2"],)))
            done, _ = await asyncio.wait([moving], timeout=0.5)
            assert not done
        await moving
        await kept(database_url)
        await right(conn)
        assert await people.one(conn, "SELECT count(*) FROM feeder_daily WHERE start_at = %s"
                                " AND feeder_id = %s", late, fleet.areas["F2"]) == 1  # fmt: skip
        late -= timedelta(days=1)
        async with other.transaction():
            await other.execute(  # as the utility's list moves it
                "INSERT INTO transformer (code, feeder_id) VALUES ('T3', %s)"
                " ON CONFLICT (code) DO UPDATE SET feeder_id = excluded.feeder_id",
                (fleet.areas["F1"],),
            )
            putting = asyncio.create_task(put(conn, fleet.transformers["T3"], late))
            done, _ = await asyncio.wait([putting], timeout=0.5)
            assert not done
        await putting
    await kept(database_url)
    await right(conn)
    assert await people.one(conn, "SELECT feeder_id FROM feeder_daily WHERE start_at = %s",
                            late) == fleet.areas["F1"]  # fmt: skip


async def test_days_do_not_wait_for_each_other(conn, fleet, database_url):
    async with people.connected(database_url) as other, other.transaction():
        await put(other, fleet.transformers["T1"], FIRST, seed=5)
        await conn.execute("SET lock_timeout = '3s'")
        await put(conn, fleet.transformers["T3"], FIRST, seed=5)
