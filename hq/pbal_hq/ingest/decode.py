"""Raw messages to summaries, events, states and dead letters; and what to ask nodes for.

The results of a batch, the state of its nodes and the progress are one append of the bus: after a
crash each raw message counts once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from pbal_hq.bus import Bus, Consumer, New, Record, done_with, topics
from pbal_hq.config import IngestConfig
from pbal_hq.ingest.session import Node, Verdict
from pbal_hq.ingest.wording import DEVICE_KINDS, KINDS, BadRecord, Dead, Message, Out, Presence, Raw
from pbal_hq.metrics import counts
from pbal_uplink import MESSAGES, BadMessage, Event, State, Summary, metrics
from pbal_uplink import Message as Said
from pbal_uplink.sparkplug import Payload

log = logging.getLogger(__name__)

GROUP = "decode"
_BATCH = 500
_PACKED = {cls.NAME for cls in MESSAGES.values()}
_TOPIC: dict[type[Said], str] = {Summary: topics.SUMMARY, Event: topics.EVENT}


class Decoder:
    """One consumer of the raw topic."""

    def __init__(
        self, bus: Bus, config: IngestConfig, wall: Callable[[], float] = time.time
    ) -> None:
        self._bus = bus
        self._config = config
        self._wall = wall
        self._nodes: dict[str, Node] = {}
        self._waiting: set[str] = set()  # nodes with a gap
        self.taken_total = 0
        self.dead_total = 0
        self.rebirths_total = 0

    def _now_ms(self) -> int:
        return int(self._wall() * 1000)

    async def run(self, beat: Callable[[], None]) -> None:
        """Decode until cancelled. Raises BusError."""
        async with self._bus.consumer(GROUP, (topics.RAW,)) as consumer:
            share = None
            while True:
                records = await consumer.take(_BATCH, 1.0)
                if consumer.share != share:
                    share = consumer.share
                    await self._load(consumer)
                if records or self._waiting:
                    out, changed = self.batch(records)
                    if out or changed or records:
                        out += [New(topics.NODE, key, self._nodes[key].encode()) for key in changed]
                        await self._bus.append(out, done_with(GROUP, records))
                beat()

    async def _load(self, consumer: Consumer) -> None:
        """What was known of the nodes that are this consumer's now."""
        kept = await consumer.latest(topics.NODE)
        self._nodes = {}
        for key, value in kept.items():
            try:
                self._nodes[key] = Node.decode(value)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                # As a node that is new: it is asked for a birth.
                log.warning("a node's state cannot be read", extra={"node": key, "why": str(error)})
        self._waiting = {key for key, node in self._nodes.items() if node.gap_ms is not None}

    def batch(self, records: list[Record]) -> tuple[list[New], list[str]]:
        """The results of these raw records, and which nodes changed."""
        out: list[New] = []
        changed: dict[str, None] = {}
        for record in records:
            try:
                raw = Raw.decode(record.value)
            except BadRecord as error:
                raw = Raw("", 0, record.value)
                out += self._dead(record.key, raw, str(error), record.at_ms)
                continue
            out += self._one(record, raw)
            changed[record.key] = None
        now_ms = self._now_ms()
        for key in list(self._waiting):
            node = self._nodes[key]
            if node.is_missing(now_ms, self._config.reorder_s * 1000):
                changed[key] = None
                out += self._ask(key, node, "a message is missing")
            if node.gap_ms is None:
                self._waiting.discard(key)
        return out, list(changed)

    def _one(self, record: Record, raw: Raw) -> list[New]:
        key, at_ms = record.key, record.at_ms
        self.taken_total += 1
        node = self._nodes.setdefault(key, Node())
        source = key
        if raw.device and raw.kind in DEVICE_KINDS:
            key = f"{source}/{raw.device}"
            verdict = node.take_device(raw.kind, raw.device, raw.payload, record.offset, at_ms)
        elif raw.kind in KINDS and not raw.device:
            verdict = node.take(raw.kind, raw.payload, record.offset, at_ms)
        else:
            return self._dead(key, raw, f"{raw.kind} is not for pbal's HQ", at_ms)
        out: list[New] = []
        if verdict.dead:
            out += self._dead(key, raw, verdict.dead, at_ms)
        said: list[tuple[Said, Message]] = []
        if verdict.payload is not None:
            try:
                said = _messages(verdict.payload, at_ms)
            except BadMessage as error:
                out += self._dead(key, raw, str(error), at_ms)
        for device in verdict.gone:
            went = Presence(False, None, at_ms)
            out.append(New(topics.STATE, f"{source}/{device}", went.encode()))
        if verdict.online is not None:
            counts.SESSIONS.labels("birth" if verdict.online else "death").inc()
            out.append(self._presence(key, node, verdict, said, at_ms))
            log.info("site came" if verdict.online else "site went", extra={"node": key})
        out += [
            New(self._topic(message), key, kept.encode())
            for message, kept in said
            if verdict.online is None or not isinstance(message, State)
        ]
        if node.gap_ms is not None:
            self._waiting.add(source)
        if verdict.rebirth:
            out += self._ask(source, node, verdict.dead or "it was not born")
        return out

    @staticmethod
    def _topic(message: Said) -> str:
        return _TOPIC.get(type(message), topics.STATE)

    @staticmethod
    def _presence(
        key: str, node: Node, verdict: Verdict, said: list[tuple[Said, Message]], at_ms: int
    ) -> New:
        states = [kept for message, kept in said if isinstance(message, State)]
        state = states[-1] if states else None
        online = bool(verdict.online)
        return New(topics.STATE, key, Presence(online, node.bdseq, at_ms, state).encode())

    def _dead(self, key: str, raw: Raw, reason: str, at_ms: int) -> list[New]:
        self.dead_total += 1
        dead = Dead.of(raw.kind or "raw", reason, raw.payload, at_ms)
        return [New(topics.DEAD, key, dead.encode())]

    def _ask(self, key: str, node: Node, why: str) -> list[New]:
        c = self._config
        if not node.may_ask(self._now_ms(), c.rebirth_first_s * 1000, c.rebirth_last_s * 1000):
            return []
        self.rebirths_total += 1
        counts.REBIRTHS.inc()
        log.info("a rebirth is asked for", extra={"node": key, "why": why})
        return [New(topics.OUT, key, Out(rebirth=True).encode())]


def _messages(payload: Payload, at_ms: int) -> list[tuple[Said, Message]]:
    """The messages of a payload, each with its record. Raises BadMessage."""
    # The packed ones come first and in this order; their bytes are at hand for the token.
    packed = [
        metrics.token_of(metric.value)
        for metric in payload.metrics
        if isinstance(metric.value, bytes) and metric.name in _PACKED
    ]
    found = metrics.messages(payload.metrics)
    tokens = packed + [metrics.token(said) for said, _ in found[len(packed) :]]
    return [
        (said, Message(f"{token:016x}", at_ms, historical, said.as_dict()))
        for (said, historical), token in zip(found, tokens, strict=True)
    ]
