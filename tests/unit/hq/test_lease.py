"""A role that several processes are there for runs in one of them."""

import asyncio
import contextlib

import psycopg
import pytest
from rigs.waiting import until

from pbal_host import check_cancelled
from pbal_hq.config import DatabaseConfig
from pbal_hq.database import Lease, pool

S = 6.0  # a computer that stands still for as long makes the next one follow


@contextlib.asynccontextmanager
async def process(url, ran, name):
    """One process that wants the role; `ran` hears when it begins and ends."""

    async def work():
        ran.append(f"{name} begins")
        try:
            await asyncio.Event().wait()
        finally:
            ran.append(f"{name} ends")

    async with pool(DatabaseConfig(url=url)) as database:
        lease = Lease(database, "bridge", S)
        task = asyncio.create_task(lease.run(work, check_cancelled))
        yield lease, task
        task.cancel()
        await asyncio.wait([task])


async def heard(ran, what):
    await until(lambda: what in ran)


async def test_the_second_takes_over_when_the_first_goes(database_url):
    ran = []
    async with process(database_url, ran, "b") as _:
        await heard(ran, "b begins")
        async with process(database_url, ran, "a"):
            await asyncio.sleep(2 * S)
            assert ran == ["b begins"]
    async with process(database_url, ran, "c"):
        await heard(ran, "c begins")
    assert ran == ["b begins", "b ends", "c begins", "c ends"]


async def test_one_that_says_nothing_any_more_is_followed(database_url, monkeypatch):
    ran = []
    async with process(database_url, ran, "hung") as (lease, task):
        await heard(ran, "hung begins")
        say_nothing = asyncio.Event()
        take = lease._take

        async def silent():
            await say_nothing.wait()
            return await take()

        monkeypatch.setattr(lease, "_take", silent)
        async with process(database_url, ran, "next"):
            await heard(ran, "next begins")
            assert "hung ends" not in ran
            say_nothing.set()  # it wakes up, and hears that it was followed
            await heard(ran, "hung ends")
            await asyncio.wait([task])
            assert task.exception() is None


async def test_without_the_database_the_holder_goes_on(database_url):
    ran = []
    async with process(database_url, ran, "a") as (_, task):
        await heard(ran, "a begins")
        with psycopg.connect(database_url, autocommit=True) as db:
            db.execute("ALTER TABLE role_lease RENAME TO away")
            await asyncio.sleep(2 * S)
            assert not task.done()
            db.execute("ALTER TABLE away RENAME TO role_lease")
        await asyncio.sleep(S)
        assert ran == ["a begins"]


async def test_what_fails_is_told_and_the_lease_given_back(database_url):
    async def fails():
        raise ValueError("broken")

    async with pool(DatabaseConfig(url=database_url)) as database:
        with pytest.raises(ValueError, match="broken"):
            await Lease(database, "bridge", 600.0).run(fails, lambda: None)
    ran = []
    async with process(database_url, ran, "b"):
        await heard(ran, "b begins")
