"""The role `notify`: escalates what nobody acknowledged, and sends what is due."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from pbal_hq.config import Config, RouteConfig
from pbal_hq.database import Connection, Database, autocommit
from pbal_hq.notify import outbox
from pbal_hq.notify.send import NotSent, Senders

log = logging.getLogger(__name__)
EVERY_S = 2.0


async def one_pass(
    conn: Connection, config: Config, senders: Senders, now: datetime | None = None
) -> int:
    """Escalate, share out, and send one message to each route that has one due; how many were
    sent. The connection is in autocommit."""
    await outbox.escalate(conn, config.alarms.escalate_after_min)
    while await outbox.share(conn, config.notify.routes):
        pass
    return sum([await _one(conn, config, senders, each, now) for each in config.notify.routes])


async def _one(
    conn: Connection, config: Config, senders: Senders, route: RouteConfig, now: datetime | None
) -> int:
    at = now or datetime.now(UTC)
    quiet_s = config.notify.quiet_s
    message = await outbox.take(conn, route.name, config.notify.portal_url, quiet_s, at)
    if message is None:
        return 0
    try:
        await senders.send(route, message)
    except NotSent as error:
        log.warning("a notice did not go", extra={"route": route.name, "why": str(error)})
        await outbox.failed(conn, route.name, str(error), at)
        return 0
    await outbox.sent(conn, route.name, message, at)
    return 1


async def notify(config: Config, database: Database, beat: Callable[[], None]) -> None:
    """Until cancelled. Of two processes that do it, one waits."""
    senders = Senders(config.notify)
    async with autocommit(database) as conn:
        await outbox.forget(conn, [route.name for route in config.notify.routes])
        while True:
            # Held while messages are sent: no second process sends them, too.
            row = await (
                await conn.execute("SELECT pg_try_advisory_lock(hashtext('pbal notify'))")
            ).fetchone()
            if row and row[0]:
                try:
                    await one_pass(conn, config, senders)
                finally:
                    await conn.execute("SELECT pg_advisory_unlock(hashtext('pbal notify'))")
            beat()
            await asyncio.sleep(EVERY_S)
