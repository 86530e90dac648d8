"""A cancellation that is swallowed, or whose place an error takes, does not keep a loop going."""

from __future__ import annotations

import asyncio
import contextlib

import psycopg
import pytest
from rigs.needs import PATIENCE_S

from pbal_hq.database import Lease
from pbal_hq.metrics import facts
from pbal_hq.portal import serve
from pbal_hq.supervisor import Beat, Supervisor


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


async def test_a_role_ends_at_its_next_success() -> None:
    """Before Python 3.12 wait_for, with which the pool waits, may swallow a cancellation."""
    supervisor = Supervisor()
    works = asyncio.Event()

    async def body(beat: Beat) -> None:
        while True:
            works.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.01)
            beat()

    supervisor.add("a role", body)
    task = asyncio.create_task(supervisor.run())
    async with asyncio.timeout(PATIENCE_S):
        await works.wait()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()


async def test_the_detectors_end_before_they_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    began = asyncio.Event()

    async def watch(*_: object, **__: object) -> None:
        began.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600)

    class Mine:
        def wall(self) -> float:
            return 1.0

    monkeypatch.setattr(serve, "watch", watch)
    watching = serve._Watching(Mine())  # type: ignore[arg-type]
    task = asyncio.create_task(serve._persist(watching.once, 10 * PATIENCE_S))
    async with asyncio.timeout(PATIENCE_S):
        await began.wait()
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
