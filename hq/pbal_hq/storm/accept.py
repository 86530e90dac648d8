"""What Storm's detectors say becomes alarms: each judgement once, older ones never after newer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from pbal_hq.alarms import apply, detect, open_alarms, wait_turn
from pbal_hq.alarms.detect import Finding
from pbal_hq.bus import Bus, Record, done_with, topics
from pbal_hq.database import Connection, Database
from pbal_hq.ingest.wording import BadRecord, Judged
from pbal_hq.store.accept import Node, nodes

log = logging.getLogger(__name__)

_BATCH = 500
_IS_NEWS = """
INSERT INTO alarm_judged (site_id, start_at, at) VALUES (%(site)s, %(start)s, %(at)s)
ON CONFLICT (site_id) DO UPDATE SET start_at = excluded.start_at, at = excluded.at
WHERE (alarm_judged.start_at, alarm_judged.at) < (excluded.start_at, excluded.at)
"""


class Taker:
    """One consumer of hq.alarm."""

    GROUP = "alarms"

    def __init__(self, bus: Bus, database: Database) -> None:
        self._bus = bus
        self._database = database

    async def run(self, beat: Callable[[], None]) -> None:
        """Take until cancelled. Raises BusError and psycopg.Error; then it may run again."""
        async with self._bus.consumer(self.GROUP, (topics.ALARM,)) as consumer:
            while True:
                found = await consumer.take(_BATCH, 1.0)
                if found:
                    async with self._database.connection() as db:
                        await take_judged(db, found)
                    await self._bus.append((), done_with(self.GROUP, found))
                beat()


async def take_judged(conn: Connection, records: Sequence[Record]) -> int:
    """Take these records; how many alarms were raised or closed. Harmless when they come again."""
    changed = 0
    async with conn.transaction():
        await wait_turn(conn)
        sites = await nodes(conn, {record.key for record in records})
        known = await open_alarms(conn, list(detect.DETECTORS))
        for record in records:
            try:
                said = Judged.decode(record.value)
                at = datetime.fromtimestamp(said.at_ms / 1000, UTC)
                start = datetime.fromtimestamp(said.start_s, UTC)
            except (BadRecord, ValueError, OverflowError, OSError) as error:
                log.warning("a judgement cannot be used", extra={"key": record.key, "why": error})
                continue
            site = _own(sites.get(record.key), said)
            if site is None:
                continue
            news = await conn.execute(_IS_NEWS, {"site": site.site, "start": start, "at": at})
            if not news.rowcount:
                continue
            for kind in detect.DETECTORS:
                what = said.keeps if kind in known[site.transformer] else said.raises
                found = _finding(what.get(kind))
                changed += await apply(conn, known, site.transformer, kind, found, at)
    return changed


def _own(site: Node | None, said: Judged) -> Node | None:
    """The site, where it is known, trusted and the one that is spoken of."""
    return site if site is not None and site.trusted and site.site == said.site else None


def _finding(said: tuple[int, str] | None) -> Finding | None:
    return None if said is None else Finding(*said)
