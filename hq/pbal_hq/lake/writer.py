"""From the bus into the lake.

What has come is held until it is time to write it, merged into the files, and only then noted as
done on the bus. After a kill it comes again, and changes nothing in files that have it already.
Writers take turns by a lock in the database, so that several may run.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, ParamSpec, TypeVar

import pyarrow as pa

from pbal_hq.bus import Bus, Done, Record, done_with
from pbal_hq.config import Config
from pbal_hq.database import Connection, Database
from pbal_hq.ingest.wording import BadRecord, Message
from pbal_hq.lake.columns import KINDS, SUMMARY, Kind
from pbal_hq.lake.files import Lake, Part
from pbal_hq.store import Node, check_fields, nodes, out_of_time

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_READ = 2000
_TIDY_S = 900.0


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run in a thread; also when cancelled it is waited for, so that nothing writes on unseen."""
    task = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():  # whoever is told again to end waits on
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        task.exception()
        raise


@contextlib.asynccontextmanager
async def locked(db: Connection) -> AsyncIterator[Callable[[], Any]]:
    """The lake's lock, for whoever writes. Gives a check that it is still held: psycopg.Error."""
    async with db.transaction():
        await db.execute("SELECT pg_advisory_xact_lock(hashtext('pbal lake'))")
        yield lambda: db.execute("SELECT 1")


class LakeWriter:
    """One consumer of summaries and events."""

    def __init__(
        self,
        bus: Bus,
        database: Database,
        config: Config,
        lake: Lake,
        group: str,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._database = database
        self._config = config
        self._lake = lake
        self._group = group
        self._wall = wall
        self._held: dict[tuple[Kind, Part], list[pa.Table]] = {}
        self._taken: list[Done] = []
        self.rows_held = 0
        self.rows_total = 0
        self.files_total = 0

    async def run(self, beat: Callable[[], None]) -> None:
        """Keep until cancelled. Raises LakeError, BusError, psycopg.Error; it may run again."""
        await in_thread(self._lake.check)
        how = self._config.lake
        since, tidied = time.monotonic(), float("-inf")
        async with self._bus.consumer(self._group, list(KINDS)) as consumer:
            share: int | None = None
            while True:
                found = await consumer.take(_READ, min(1.0, how.flush_s))
                if consumer.share != share:
                    # What is held and not done comes again, to this consumer or to another.
                    self._forget()
                    share = consumer.share
                await self._hold(found)
                late = time.monotonic() - since >= how.flush_s
                if self._taken and (late or self.rows_held >= how.flush_rows):
                    taken, self._taken = self._taken, []
                    await self.flush()
                    await self._bus.append((), taken)
                if late:
                    since = time.monotonic()
                if time.monotonic() - tidied >= _TIDY_S:
                    await self.tidy(beat)
                    tidied = time.monotonic()
                beat()

    def _forget(self) -> None:
        self._held.clear()
        self._taken = []
        self.rows_held = 0

    async def _hold(self, records: list[Record]) -> None:
        """Sort what is kept by kind, day and region."""
        if not records:
            return
        async with self._database.connection() as db:
            known = await nodes(db, {record.key for record in records})
        rows: dict[tuple[Kind, Part], list[tuple[Any, ...]]] = {}
        for record in records:
            kind, node = KINDS[record.topic], known.get(record.key)
            message = _message(kind, record)
            if node is None or message is None or not self._kept(kind, node, message):
                continue
            region, _, name = record.key.partition("/")
            part = Part.of(message.fields[kind.at], region)
            rows.setdefault((kind, part), []).append(kind.row(node.transformer, name, message))
        for (kind, part), each in rows.items():
            self._held.setdefault((kind, part), []).append(kind.table(each))
            self.rows_held += len(each)
        done = {(each.topic, each.partition): each for each in self._taken}
        done |= {(each.topic, each.partition): each for each in done_with(self._group, records)}
        self._taken = list(done.values())

    def _kept(self, kind: Kind, node: Node, message: Message) -> bool:
        """As the store decides, which makes dead letters of the others."""
        if message.replayed or not node.trusted or node.strange(message):
            return False
        if kind is not SUMMARY:
            return True
        start = datetime.datetime.fromtimestamp(message.fields[kind.at], datetime.UTC)
        came = datetime.datetime.fromtimestamp(message.received_ms / 1000, datetime.UTC)
        return out_of_time(start, came, self._config.store.raw_days) is None

    async def flush(self) -> None:
        """Write what is held. Raises LakeError; then it is held no more, and comes again."""
        held, rows = self._held, self.rows_held
        self._held, self.rows_held = {}, 0
        if not held:
            return
        async with self._database.connection() as db, locked(db) as still:
            await in_thread(self._lake.check)
            await in_thread(self._lake.place.sweep)
            for (kind, part), tables in sorted(
                held.items(), key=lambda item: (item[0][0].name, item[0][1])
            ):
                await still()
                self.files_total += await in_thread(
                    self._lake.add, kind, part, pa.concat_tables(tables)
                )
        self.rows_total += rows

    async def tidy(self, beat: Callable[[], None]) -> None:
        """Make days of hours, and delete what is too old."""
        now = datetime.datetime.fromtimestamp(self._wall(), datetime.UTC)
        over = (now - datetime.timedelta(hours=self._config.lake.compact_after_h)).date()
        async with self._database.connection() as db, locked(db) as still:
            made = await compact(self._lake, over, still, beat)
            gone = 0
            if keep := self._config.lake.keep_days:
                first = (now - datetime.timedelta(days=keep)).date()
                for kind in KINDS.values():
                    gone += await in_thread(self._lake.drop_before, kind, first)
        if made or gone:
            log.info("the lake is tidy", extra={"days made": made, "days deleted": gone})


def _message(kind: Kind, record: Record) -> Message | None:
    """The message of a record; None where the store makes a dead letter of it."""
    try:
        message = Message.decode(record.value)
        check_fields(kind.message, message.fields)
        datetime.datetime.fromtimestamp(message.received_ms / 1000, datetime.UTC)
    except (BadRecord, ValueError, OverflowError, OSError):
        return None
    return message


async def compact(
    lake: Lake, until: datetime.date, still: Callable[[], Any], beat: Callable[[], None]
) -> int:
    """Make one file of the hours of each day before `until`; how many. Needs the lake's lock."""
    made = 0
    for kind in KINDS.values():
        for part in await in_thread(lake.parts, kind, datetime.date.min, until):
            await still()
            made += await in_thread(lake.compact, kind, part)
            beat()
    return made
