"""Writes the decoded records of the bus into the database, and has them acknowledged to the sites.

The database's transaction comes first, then the bus's progress: after a crash in between the same
records come again and are the same rows. What the database refuses becomes a dead letter with the
reason, and delays nothing.
"""

from __future__ import annotations

import datetime
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from pbal_hq import commands
from pbal_hq.bus import Bus, New, Record, done_with, topics
from pbal_hq.config import StoreConfig
from pbal_hq.database import Connection, Database
from pbal_hq.ingest.wording import BadRecord, Dead, Message, Out, Presence
from pbal_hq.metrics import counts
from pbal_hq.store import forms, series
from pbal_hq.store.accept import Node, nodes, out_of_time
from pbal_hq.store.events import Happened, insert_events
from pbal_hq.store.presence import Came, Known, Seen, note_presence, note_seen, note_states
from pbal_uplink import Event, State, Summary, names
from pbal_uplink import Message as Said

log = logging.getLogger(__name__)

GROUP = "store"
TOPICS = (topics.SUMMARY, topics.EVENT, topics.STATE, topics.DEAD)
_BATCH = 1000
_SAID: dict[str, type[Said]] = {
    topics.SUMMARY: Summary, topics.EVENT: Event, topics.STATE: State,
}  # fmt: skip
# What bytes of the wrong form, and numbers that are no time, end in.
_UNUSABLE = (BadRecord, ValueError, OverflowError, OSError)


@dataclass
class _Batch:
    """The contents of a batch of records."""

    summaries: list[series.Row] = field(default_factory=list)
    events: list[Happened] = field(default_factory=list)
    states: list[Known] = field(default_factory=list)
    sessions: list[Came] = field(default_factory=list)
    seen: dict[int, Seen] = field(default_factory=dict)
    dead: list[tuple[str, str, Dead]] = field(default_factory=list)  # origin, node, letter
    stored: dict[str, list[str]] = field(default_factory=dict)  # tokens by node


def _at(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def _clean(value: Any) -> Any:
    """PostgreSQL's texts hold no zero byte."""
    return value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value


class Writer:
    """One consumer of what was decoded."""

    def __init__(
        self,
        bus: Bus,
        database: Database,
        config: StoreConfig,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._database = database
        self._config = config
        self._wall = wall
        self.stored_total = 0
        self.dead_total = 0

    async def run(self, beat: Callable[[], None]) -> None:
        """Store until cancelled. Raises BusError and psycopg.Error; then it may run again."""
        async with self._bus.consumer(GROUP, TOPICS) as consumer:
            while True:
                found = await consumer.take(_BATCH, 1.0)
                if found:
                    stored = await self._store(found)
                    out = [
                        New(topics.OUT, node, Out(stored=tokens).encode())
                        for node, tokens in stored.items()
                    ]
                    await self._bus.append(out, done_with(GROUP, found))
                beat()

    async def _store(self, found: list[Record]) -> dict[str, list[str]]:
        """Returns the tokens that are stored, by node."""
        async with self._database.connection() as db:
            try:
                return await self._transaction(db, found)
            except (psycopg.DataError, psycopg.IntegrityError) as error:
                log.warning("a batch is stored one by one", extra={"why": str(error).strip()})
            stored: dict[str, list[str]] = {}
            for each in found:
                try:
                    one = await self._transaction(db, [each])
                except (psycopg.DataError, psycopg.IntegrityError) as error:
                    one = await self._give_up(db, each, str(error).strip())
                for node, tokens in one.items():
                    stored.setdefault(node, []).extend(tokens)
            return stored

    async def _transaction(self, db: Connection, found: list[Record]) -> dict[str, list[str]]:
        async with db.transaction():
            sites = await nodes(db, {record.key for record in found})
            batch = _Batch()
            for record in found:
                self._sort(batch, record, sites.get(record.key))
            # Before what refers to it: site_live has a row for each site that was heard.
            if batch.seen:
                await note_seen(db, batch.seen)
            await series.insert(db, batch.summaries, copy=self._config.copy_rows)
            await insert_events(db, batch.events)
            if any(event.fields["kind"] == names.KIND_ANSWER for event in batch.events):
                await commands.take_answers(db)
            await note_presence(db, batch.sessions)
            await note_states(db, batch.states)
            await _bury(db, batch.dead)
        self.stored_total += len(batch.summaries) + len(batch.events)
        self.dead_total += len(batch.dead)
        counts.ROWS.labels("summary").inc(len(batch.summaries))
        counts.ROWS.labels("event").inc(len(batch.events))
        counts.ROWS.labels("site_state").inc(len(batch.states))
        counts.DEAD_LETTERS.inc(len(batch.dead))
        return batch.stored

    async def _give_up(self, db: Connection, record: Record, why: str) -> dict[str, list[str]]:
        """Keep a record that the database refuses as a dead letter."""
        dead = _letter(record, f"the database refuses it: {why}")
        async with db.transaction():
            await _bury(db, [dead])
        self.dead_total += 1
        counts.DEAD_LETTERS.inc()
        # It is kept, and is not to come again.
        token = json.loads(record.value).get("token")
        return {record.key: [token]} if token else {}

    # -- sorting ----------------------------------------------------------------------------

    def _sort(self, batch: _Batch, record: Record, site: Node | None) -> None:
        def refuse(reason: str) -> None:
            batch.dead.append(_letter(record, reason))

        try:
            if record.topic == topics.DEAD:
                letter = Dead.decode(record.value)
                _at(letter.at_ms / 1000), letter.data
                batch.dead.append((_origin(record), record.key, letter))
            elif site is None:
                refuse("no site of this group and node is registered")
            elif not site.trusted:
                refuse("the site is revoked or removed")
            elif record.topic == topics.STATE and _is_presence(record.value):
                self._presence(batch, site, Presence.decode(record.value), refuse)
            else:
                message = Message.decode(record.value)
                forms.check(_SAID[record.topic], message.fields)
                self._message(batch, record.topic, record.key, site, message, refuse)
        except _UNUSABLE as error:
            refuse(f"it cannot be used: {error}")

    def _presence(
        self, batch: _Batch, site: Node, told: Presence, refuse: Callable[[str], None]
    ) -> None:
        at = _at(told.at_ms / 1000)
        if told.state is not None:
            forms.check(State, told.state.fields)
        self._heard(batch, site, at)
        batch.sessions.append(Came(site.site, at, told.online, told.bdseq))
        if told.state is not None and self._is_of(site, told.state, refuse):
            self._state(batch, site, told.state)

    def _message(
        self,
        batch: _Batch,
        topic: str,
        node: str,
        site: Node,
        message: Message,
        refuse: Callable[[str], None],
    ) -> None:
        if not self._is_of(site, message, refuse):
            return
        received = _at(message.received_ms / 1000)
        self._heard(batch, site, received)
        if topic == topics.STATE:
            self._state(batch, site, message)
            return
        # Also of what is refused from here on: it is kept, and is not to come again.
        if not message.replayed:
            batch.stored.setdefault(node, []).append(message.token)
        if topic == topics.EVENT:
            fields = {name: _clean(value) for name, value in message.fields.items()}
            batch.events.append(
                Happened(site.site, site.transformer, received, message.token, fields)
            )
            return
        start = _at(message.fields["start_s"])
        now = _at(self._wall())
        if why := out_of_time(start, now, self._config.raw_days):
            refuse(why)
        else:
            batch.summaries.append(
                series.Row(site.transformer, start, site.site, message.historical, received,
                           message.fields)
            )  # fmt: skip
            seen = batch.seen[site.site]
            seen.summary = start if seen.summary is None else max(seen.summary, start)

    @staticmethod
    def _is_of(site: Node, message: Message, refuse: Callable[[str], None]) -> bool:
        if why := site.strange(message):
            refuse(why)
        return why is None

    @staticmethod
    def _heard(batch: _Batch, site: Node, at: datetime.datetime) -> None:
        seen = batch.seen.setdefault(site.site, Seen(at))
        seen.heard = max(seen.heard, at)

    @staticmethod
    def _state(batch: _Batch, site: Node, message: Message) -> None:
        fields = {name: _clean(value) for name, value in message.fields.items()}
        batch.states.append(Known(site.site, _at(message.fields["at_s"]), fields))


def _is_presence(value: bytes) -> bool:
    found = json.loads(value)
    return isinstance(found, dict) and "online" in found


def _origin(record: Record) -> str:
    place = f":{record.partition}" if record.partition else ""
    return f"{record.topic}{place}:{record.offset}"


def _letter(record: Record, reason: str) -> tuple[str, str, Dead]:
    kind = record.topic.rpartition(".")[2]
    return _origin(record), record.key, Dead.of(kind, reason, record.value, record.at_ms)


async def _bury(db: Connection, dead: list[tuple[str, str, Dead]]) -> None:
    for origin, node, letter in dead:
        await db.execute(
            "INSERT INTO dead_letter (at, source, kind, reason, payload, origin) "
            "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (origin) DO NOTHING",
            (_at(letter.at_ms / 1000), _clean(node), letter.kind, _clean(letter.reason),
             letter.data, origin),
        )  # fmt: skip
