"""The audit log cannot be changed, and shows where somebody did."""

import json

import psycopg
import pytest
from rigs import people

from pbal_hq import audit


@pytest.fixture
async def conn(conn):
    """With five records."""
    for n in range(5):
        await audit.append(conn, "ana", "alarm.comment", f"alarm {n}", {"words": f"né {n}"})
    return conn


@pytest.mark.parametrize(
    "sql", ["UPDATE audit SET actor = 'eve'", "DELETE FROM audit WHERE id = 3", "TRUNCATE audit"]
)
async def test_it_is_append_only(conn, sql):
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="append-only"):
        await conn.execute(sql)


async def test_the_chain_holds(conn):
    verdict = await audit.verify(conn)
    assert verdict.ok
    assert verdict.entries == verdict.last_id == 5
    assert (await audit.verify(conn, (5, verdict.last_hash))).ok
    lines = [json.loads(line) async for line in audit.export(conn)]
    assert [line["id"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[-1]["hash"] == verdict.last_hash.hex()


@pytest.mark.parametrize(
    ("sql", "wrong"),
    [
        ("UPDATE audit SET actor = 'eve' WHERE id = 3", "entry 3 was changed"),
        ("UPDATE audit SET detail = '{}' WHERE id = 4", "entry 4 was changed"),
        ("UPDATE audit SET at = at + interval '1 second' WHERE id = 2", "entry 2 was changed"),
        ("DELETE FROM audit WHERE id = 3", "entry 3 is missing"),
        ("DELETE FROM audit WHERE id = 5", "entry 5 is missing at the end"),
    ],
)
async def test_what_the_owner_of_the_database_changed_shows(conn, sql, wrong):
    known = await audit.verify(conn)
    await conn.execute("ALTER TABLE audit DISABLE TRIGGER USER")
    await conn.execute(sql)
    await conn.execute("ALTER TABLE audit ENABLE TRIGGER USER")
    assert (await audit.verify(conn, (5, known.last_hash))).wrong == wrong


async def test_an_entry_falls_with_what_it_is_about(conn):
    async def fails():
        async with conn.transaction():
            await audit.append(conn, "ana", "x", "y")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await fails()
    assert (await audit.verify(conn)).entries == 5


async def test_entries_of_many_at_once_make_one_chain(database_url, conn):
    import asyncio

    async def writer(n):
        async with people.connected(database_url) as own:
            for k in range(5):
                await audit.append(own, f"user{n}", "x", str(k))

    await asyncio.gather(*(writer(n) for n in range(4)))
    verdict = await audit.verify(conn)
    assert verdict.ok
    assert verdict.entries == 25
