"""An error of the database that takes the place of a cancellation does not keep a loop going."""

from __future__ import annotations

import asyncio

import psycopg
import pytest
from rigs.needs import PATIENCE_S

from pbal_hq.database import Lease
from pbal_hq.metrics import facts
from pbal_hq.portal import serve


class Breaking:
    """A database whose connection is lost while a transaction on it is taken back."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def connection(self, *_: object) -> Breaking:
        return self

    async def __aenter__(self) -> Breaking:
        return self

    async def __aexit__(self, *_: object) -> None:
        raise psycopg.OperationalError("the connection is lost")

    async def execute(self, *_: object) -> None:
        self.asked.set()
        await asyncio.Event().wait()


async def ends(work: asyncio.Task[None], database: Breaking) -> None:
    async with asyncio.timeout(PATIENCE_S):
        await database.asked.wait()
        work.cancel()
        await asyncio.wait([work])
    assert work.cancelled()


async def test_a_loop_of_the_portal_ends() -> None:
    database = Breaking()

    async def once() -> None:
        async with database.connection() as db:
            await db.execute("SELECT 1")

    await ends(asyncio.create_task(serve._persist(once)), database)


async def test_whoever_holds_a_lease_ends() -> None:
    database = Breaking()
    lease = Lease(database, "bridge", 0.04)  # type: ignore[arg-type]
    await ends(asyncio.create_task(lease._hold()), database)


async def test_a_question_of_prometheus_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    database = Breaking()
    found = facts.Facts()

    async def read(db: Breaking, _: object) -> None:
        await db.execute("SELECT 1")

    monkeypatch.setattr(facts, "_read_fleet", read)
    asks = facts._ask_database(found, database, None, fleet=True)  # type: ignore[arg-type]
    await ends(asyncio.create_task(asks), database)
    assert not found.database_up
