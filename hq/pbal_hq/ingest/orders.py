"""Orders that people have released, on their way to the sites; and those that nobody answered.

An order is sent while its site is online, and again after a while until it is answered or expires:
a site carries out an id once, and answers again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from pbal_hq.bus import Bus, New, topics
from pbal_hq.database import Connection, Database
from pbal_hq.ingest.wording import Out

_EVERY_S = 2.0
_AGAIN_S = 120
# An answer may come that much after the order's end.
_LATE_S = 300

_DUE = """
    SELECT c.id, s.group_id || '/' || s.node, c.sealed
    FROM command c JOIN site s ON s.id = c.site_id JOIN site_live l ON l.site_id = s.id
    WHERE c.sealed IS NOT NULL AND c.expires_at > now() AND l.online AND s.removed_at IS NULL
      AND (c.status = 'approved'
           OR c.status = 'sent' AND c.sent_at < now() - make_interval(secs => %s))
    ORDER BY c.asked_at LIMIT 100 FOR UPDATE OF c SKIP LOCKED
"""


async def send_due(db: Connection, bus: Bus) -> int:
    """Hand what is due to the bridge; how many orders. Raises BusError, psycopg.Error."""
    async with db.transaction():
        cursor = await db.execute(_DUE, (_AGAIN_S,))
        due = await cursor.fetchall()
        if due:
            await db.execute(
                "UPDATE command SET status = 'sent', sent_at = now() WHERE id = ANY(%s)",
                ([row[0] for row in due],),
            )
            # Before the transaction ends: what is on the bus twice is carried out once.
            await bus.append(
                [New(topics.OUT, node, Out(command=bytes(sealed).hex()).encode())
                 for _, node, sealed in due]
            )  # fmt: skip
        await db.execute(
            "UPDATE command SET status = 'expired', answer = 'the site did not answer' "
            "WHERE status = 'sent' AND expires_at < now() - make_interval(secs => %s)",
            (_LATE_S,),
        )
    return len(due)


async def send_orders(database: Database, bus: Bus, beat: Callable[[], None]) -> None:
    """Do it again and again, and at once when the portal says so (NOTIFY pbal_command)."""
    async with database.connection() as db:
        await db.set_autocommit(True)
        try:
            await db.execute("LISTEN pbal_command")
            while True:
                while await send_due(db, bus):
                    pass
                beat()
                with contextlib.suppress(TimeoutError, StopAsyncIteration):
                    async with asyncio.timeout(_EVERY_S * 2):
                        await anext(db.notifies(timeout=_EVERY_S, stop_after=1))
        finally:
            if not db.closed:
                await db.execute("UNLISTEN *")
                await db.set_autocommit(False)
