"""HQ's database for tests: one real PostgreSQL a session, a fresh migrated database a test.

from rigs.hq import database_url, postgres  # noqa: F401 (fixtures)
"""

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from rigs.needs import require_file, require_module

_numbers = itertools.count()
TEMPLATE = "pbal_template"


@pytest.fixture(scope="session")
def postgres() -> Iterator[object]:
    """A server with a database in which every step of the schema is applied."""
    require_module("psycopg", "hq")
    from pbal_sim.hq.postgres import Postgres, program

    if program("initdb") is None:
        require_file(Path("/usr/lib/postgresql"), "postgresql")
    server = Postgres()
    try:
        execute(server.url, f"CREATE DATABASE {TEMPLATE}")
        asyncio.run(migrated(on(server.url, TEMPLATE)))
        yield server
    finally:
        server.stop()


@pytest.fixture
def database_url(postgres) -> Iterator[str]:
    """A connection string of a migrated database that only this test uses."""
    name = f"test_{next(_numbers)}"
    execute(postgres.url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield on(postgres.url, name)
    execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_url(postgres) -> Iterator[str]:
    """The same, of a database without a schema."""
    name = f"test_{next(_numbers)}"
    execute(postgres.url, f"CREATE DATABASE {name}")
    yield on(postgres.url, name)
    execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


def on(url: str, database: str) -> str:
    """The same server, another database."""
    from psycopg.conninfo import make_conninfo

    return make_conninfo(url, dbname=database)


def execute(url: str, sql: str, *values: object) -> list[tuple]:
    """One statement outside of any transaction; its rows."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        cursor = db.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []


async def migrated(url: str) -> None:
    from pbal_hq.config import DatabaseConfig
    from pbal_hq.database import connected, migrate

    async with connected(DatabaseConfig(url=url)) as db:
        await migrate(db)
