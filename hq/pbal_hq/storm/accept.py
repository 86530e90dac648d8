"""What Storm's detectors say becomes alarms: each judgement once, older ones never after newer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import psycopg

from pbal_hq.alarms import apply, detect, open_alarms, wait_turn
from pbal_hq.alarms.detect import Finding
from pbal_hq.bus import Bus, New, Record, done_with, topics
from pbal_hq.database import Connection, Database
from pbal_hq.ingest.wording import BadRecord, Dead, Judged
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
                        taken = await take(db, found)
                    await self._bus.append(taken.dead, done_with(self.GROUP, found))
                beat()


@dataclass
class Taken:
    """What became of records: alarms that were raised or closed, and dead letters."""

    changed: int = 0
    dead: list[New] = field(default_factory=list)

    def refuse(self, record: Record, reason: str) -> None:
        """Make a dead letter of one that cannot be used."""
        log.warning("a judgement cannot be used", extra={"key": record.key, "why": reason})
        letter = Dead.of("alarm", reason, record.value, record.at_ms)
        self.dead.append(New(topics.DEAD, record.key, letter.encode()))


async def take(conn: Connection, records: Sequence[Record]) -> Taken:
    """Take these records. Harmless when they come again; one that the database refuses delays
    none of the others.
    """
    try:
        return await take_judged(conn, records)
    except (psycopg.DataError, psycopg.IntegrityError) as error:
        log.warning("judgements are taken one by one", extra={"why": str(error).strip()})
    whole = Taken()
    for record in records:
        try:
            one = await take_judged(conn, [record])
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            whole.refuse(record, f"the database refuses it: {str(error).strip()}")
        else:
            whole.changed += one.changed
            whole.dead += one.dead
    return whole


async def take_judged(conn: Connection, records: Sequence[Record]) -> Taken:
    """Take them in one transaction. Raises psycopg.Error; then none is taken."""
    taken = Taken()
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
                taken.refuse(record, f"it cannot be used: {error}")
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
                taken.changed += await apply(conn, known, site.transformer, kind, found, at)
    return taken


def _own(site: Node | None, said: Judged) -> Node | None:
    """The site, where it is known, trusted and the one that is spoken of."""
    return site if site is not None and site.trusted and site.site == said.site else None


def _finding(said: tuple[int, str] | None) -> Finding | None:
    return None if said is None else Finding(*said)
