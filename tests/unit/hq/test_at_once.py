"""An event is an alarm at once: nobody waits for the next round of the portal's chores."""

import asyncio
from datetime import UTC, datetime

from rigs import needs, people

from pbal_hq.portal import serve
from pbal_hq.store.events import Happened, insert_events
from pbal_uplink import Event, names

HOME = 258


async def test_without_a_round_of_chores(conn, database_url, tmp_path, monkeypatch):
    fleet = await people.make(conn)
    site = people.SITES["T1"]
    rounds = 0

    async def no_chores(mine):
        nonlocal rounds
        rounds += 1

    monkeypatch.setattr(serve, "chores", no_chores)
    monkeypatch.setattr(serve, "EVERY_S", 10_000.0)
    async with people.served(database_url, tmp_path):
        async with asyncio.timeout(needs.PATIENCE_S):
            while not rounds:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        for number in (1, 2):
            told = Event(
                site=site, event_id=number, at_s=int(datetime.now(UTC).timestamp()), severity=2,
                kind=names.KIND_NODE, address=HOME + number, code=1,
            )  # fmt: skip
            happened = Happened(site, fleet.transformers["T1"], datetime.now(UTC), "trace",
                                told.as_dict())  # fmt: skip
            async with conn.transaction():
                await insert_events(conn, [happened])
            async with asyncio.timeout(needs.PATIENCE_S):
                while not await taken(conn, HOME + number):  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
    assert rounds == 1


async def taken(conn, address):
    row = await conn.execute("SELECT 1 FROM alarm WHERE address = %s", (address,))
    return await row.fetchone()
