"""Sends approved orders to the sites, and again those that are not answered.

An order is sent while its site is online, and again after a while until it is answered or expires:
a site carries out an id once, and answers again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pbal_hq import commands
from pbal_hq.bus import Bus, New, topics
from pbal_hq.database import Connection, Database, autocommit, listening, notified
from pbal_hq.ingest.wording import Out

_EVERY_S = 2.0
# An answer may come that much after the order's end.
_LATE_S = 300


async def send_due(db: Connection, bus: Bus) -> int:
    """Hand what is due to the bridge; how many orders. Raises BusError, psycopg.Error."""

    async def send(due: Sequence[commands.Due]) -> None:
        # What is on the bus twice is carried out once.
        await bus.append(
            [
                New(topics.OUT, order.key, Out(command=bytes(order.sealed).hex()).encode())
                for order in due
            ]
        )

    count = await commands.dispatch(db, send, time.time())
    await commands.take_answers(db)
    await db.execute(
        "UPDATE command SET status = 'expired', answer = 'the site did not answer' "
        "WHERE status = 'sent' AND expires_at < now() - make_interval(secs => %s)",
        (_LATE_S,),
    )
    return count


async def send_orders(database: Database, bus: Bus, beat: Callable[[], None]) -> None:
    """Do it periodically, and at once when the portal requests it (NOTIFY pbal_command)."""
    async with autocommit(database) as db, listening(db, commands.CHANNEL):
        while True:
            while await send_due(db, bus):
                pass
            beat()
            await notified(db, _EVERY_S)
