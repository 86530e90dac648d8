"""Connections to PostgreSQL, and the cause where there are none."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from pbal_hq.config import DatabaseConfig
from pbal_hq.errors import DatabaseError

# The pool's pauses between two tries to connect double; after so long it begins again with a short
# one. Its default, 300 s, lets a database that was away for minutes be away as long again.
_AGAIN_S = 5.0

OLDEST = 150_000  # PostgreSQL 15, as server_version says it

Connection: TypeAlias = AsyncConnection[tuple[Any, ...]]
Database: TypeAlias = AsyncConnectionPool[Connection]


def explain(error: psycopg.Error) -> str:
    """What a failure means, and what to do."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, PoolTimeout):
        return "the database gave no connection in time; does it run, is it overloaded?"
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        # libpq gives no code here: no server, no such database and a refusal look alike.
        return (
            f"the database cannot be reached (database.url): {text}\n"
            "Does it run? A database that is not there yet: createdb pbal_hq, then pbal-hq init"
        )
    if error.sqlstate == "42P01":
        return f"{text}; the schema is older than this program: pbal-hq db migrate"
    return f"the database: {text}"


@contextlib.asynccontextmanager
async def connected(config: DatabaseConfig) -> AsyncIterator[Connection]:
    """One connection, for a command. Raises DatabaseError, also for what fails within."""
    try:
        async with await AsyncConnection.connect(config.url, **_how(config)) as db:
            await _fits(db)
            await _prepare(db)
            yield db
    except psycopg.Error as error:
        raise DatabaseError(explain(error)) from error


def _how(config: DatabaseConfig) -> dict[str, Any]:
    how: dict[str, Any] = {}
    # One that the URL names stands: with several hosts it is of each of them.
    if "connect_timeout" not in conninfo_to_dict(config.url):
        how["connect_timeout"] = int(max(2, config.timeout_s))
    return how if config.prepared else how | {"prepare_threshold": None}


async def _prepare(db: Connection) -> None:
    # Hours and days are UTC's, and times come back in the session's zone.
    await db.execute("SET TIME ZONE 'UTC'")
    # What a user may see, and how much is asked for, decides the plan. The one plan for all values
    # that the server else makes of a statement it has seen ten times took 18 s in place of 0.12 s
    # for the ranking of 10,000 transformers.
    await db.execute("SET plan_cache_mode = force_custom_plan")
    # Estimates of large fleets are high and what is read is little: compiling a statement (LLVM)
    # takes longer than running it.
    await db.execute("SET jit = off")
    await db.commit()


async def _fits(db: Connection) -> None:
    if db.info.server_version < OLDEST:
        raise DatabaseError(
            f"the database is PostgreSQL {db.info.server_version // 10_000}; 15 or newer is needed"
        )


async def _again(made: Database) -> None:
    """Who waits for a connection is not left waiting: the next try begins now."""
    await made.check()


@contextlib.asynccontextmanager
async def pool(config: DatabaseConfig) -> AsyncIterator[Database]:
    """A pool of connections; each comes back rolled back. Opens also while the database is away."""
    made: Database = AsyncConnectionPool(
        config.url,
        min_size=1,
        max_size=config.pool_max,
        timeout=config.timeout_s,
        reconnect_timeout=_AGAIN_S,
        open=False,
        kwargs=_how(config),
        configure=_prepare,
        check=AsyncConnectionPool.check_connection,
        reconnect_failed=_again,
    )
    await made.open()
    try:
        yield made
    finally:
        await made.close()


@contextlib.asynccontextmanager
async def autocommit(database: Database) -> AsyncIterator[Connection]:
    """A connection in autocommit: what is executed counts at once, transactions are explicit."""
    async with database.connection() as conn:
        await conn.set_autocommit(True)
        try:
            yield conn
        finally:
            if not conn.closed:
                await conn.rollback()
                await conn.set_autocommit(False)


@contextlib.asynccontextmanager
async def listening(conn: Connection, channel: str) -> AsyncIterator[None]:
    """The connection, in autocommit, hears what is notified on a channel (NOTIFY)."""
    await conn.execute(f"LISTEN {channel}")
    try:
        yield
    finally:
        if not conn.closed:
            await conn.execute("UNLISTEN *")


async def notified(conn: Connection, within_s: float) -> None:
    """Wait until something is notified, so long at most. Within `listening`."""
    async for _ in conn.notifies(timeout=within_s, stop_after=1):
        pass
