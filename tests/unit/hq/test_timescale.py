"""What TimescaleDB alone does: days that are compressed, and what comes late into them."""

import datetime

import pytest
from rigs.hq import execute
from rigs.timescale import in_one_go

from pbal_hq.config import DatabaseConfig
from pbal_hq.database import connected
from pbal_hq.store import series, sums
from pbal_uplink import Summary

DAY_S = 86_400
TODAY = datetime.datetime.now(datetime.UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
def place(tmp_path):
    with in_one_go(tmp_path) as made:
        yield made


def rows(day, **more):
    """A day's windows of transformer 1, so many days ago."""
    start = TODAY - datetime.timedelta(days=day)
    for n in range(288):
        at = start + n * datetime.timedelta(minutes=5)
        given = {"length_s": 300, "complete_percent": 50, "ia_mean_a": float(n)} | more
        made = Summary(site=7, start_s=int(at.timestamp()), **given)
        yield series.Row(1, at, 7, False, at, made.as_dict())


async def test_days_are_compressed_by_the_policy_and_take_what_comes_late(place):
    policy = execute(
        place.url,
        "SELECT job_id FROM timescaledb_information.jobs WHERE hypertable_name = 'summary'"
        " AND proc_name = 'policy_compression'",
    )
    assert len(policy) == 1
    copy = place.store.get("copy_rows", True)
    config = DatabaseConfig(url=place.url, **place.database)
    async with connected(config) as db:
        for day in (0, 5, 6):
            async with db.transaction():
                await series.insert(db, list(rows(day)), copy=copy)
    execute(place.url, f"CALL run_job({policy[0][0]})")
    chunks = "SELECT is_compressed FROM timescaledb_information.chunks ORDER BY range_start"
    assert execute(place.url, chunks) == [(True,), (True,), (False,)]
    sizes = execute(
        place.url,
        "SELECT sum(before_compression_total_bytes), sum(after_compression_total_bytes)"
        " FROM chunk_compression_stats('summary') WHERE compression_status = 'Compressed'",
    )
    before, after = sizes[0]
    print(f"{before} bytes of {2 * 288} rows become {after}")
    assert after < before
    late = [*rows(5, complete_percent=100, ib_mean_a=8.0), *rows(6, complete_percent=10)]
    async with connected(config) as db:
        async with db.transaction():
            await series.insert(db, late, copy=copy)
        found = await db.execute(
            "SELECT start_at::date - %s::date, count(*), min(complete_percent), max(ib_mean_a)"
            " FROM summary GROUP BY 1 ORDER BY 1",
            (TODAY,),
        )
        # The fuller ones are taken, the poorer not; each window is one row as before.
        assert await found.fetchall() == [
            (-6, 288, 50, 0.0),
            (-5, 288, 100, 8.0),
            (0, 288, 50, 0.0),
        ]
        while await sums.sum_up(db):
            await db.commit()
        found = await db.execute("SELECT sum(windows), count(*) FROM summary_daily")
        assert await found.fetchall() == [(3 * 288, 3)]
        async with db.transaction():
            day = (TODAY - datetime.timedelta(days=5)).date()
            assert await series.drop_before(db, day) == 1
        found = await db.execute("SELECT count(*) FROM summary")
        assert await found.fetchall() == [(2 * 288,)]
