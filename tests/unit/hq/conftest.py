"""Fixtures of HQ's tests. Without the extra `hq` they are not collected, which the head says."""

import importlib.util

import pytest
from rigs.hq import config, database_url, empty_url, hq, postgres, run  # noqa: F401
from rigs.needs import in_ci
from rigs.timescale import timescale  # noqa: F401

_NEEDED = "argon2 authlib babel fastapi httpx jinja2 joserfc jwt psycopg pyotp uvicorn"  # extra hq
_ABSENT = [name for name in _NEEDED.split() if importlib.util.find_spec(name) is None]
_NO_LAKE = [n for n in ("duckdb", "fsspec", "pyarrow") if importlib.util.find_spec(n) is None]
collect_ignore_glob = [] if in_ci() else ["test_*.py"] * bool(_ABSENT)
_OF_LAKE = ["test_lake*.py", "test_druid.py", "test_stream.py"]
collect_ignore_glob += [] if in_ci() else _OF_LAKE * bool(_NO_LAKE)


@pytest.fixture
def network(tmp_path):
    """A LoRaWAN network server."""
    from rigs.chirpstack import Network

    made = Network(tmp_path)
    yield made
    made.broker.kill()


@pytest.fixture
async def conn(database_url):  # noqa: F811
    """The store, by a connection that is closed after the test."""
    from rigs import people

    async with people.connected(database_url) as made:
        yield made


@pytest.fixture
async def peopled(conn):
    """`conn` to a store with the fleet of rigs.people and its people; `.fleet`: their rows."""
    from rigs import people

    conn.fleet = await people.make(conn)
    return conn


def pytest_report_header() -> str:
    if not collect_ignore_glob:
        return ""
    absent = ", ".join(_ABSENT + _NO_LAKE)
    return f"tests of HQ are left out: {absent} missing. Extras: pbal[hq,lake,dev]."
