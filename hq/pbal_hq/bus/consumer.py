"""One consumer of a group of Kafka's, for `KafkaBus`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import confluent_kafka as ck
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from pbal_hq.bus.base import Record
from pbal_hq.bus.cluster import ANSWER_S, QUIET, Trouble
from pbal_hq.errors import BusError

# Who is not heard for so long is dead, and its partitions go to others.
_SESSION_S = 10
_LOAD_S = 120.0
# Kafka itself goes on after these; they say that something is not there at this moment.
_PASSING = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT)

T = TypeVar("T")


class KafkaConsumer:
    """All of its calls go through one thread."""

    def __init__(
        self,
        settings: Mapping[str, Any],
        group: str,
        names: Sequence[str],
        admin: AdminClient,
        trouble: Trouble,
    ) -> None:
        self.share = 0
        self._trouble = trouble
        self._common = {
            **settings,
            "group.id": group,
            "error_cb": trouble,
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
        }
        self._names = list(names)
        self._admin = admin
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=group)
        self._consumer: ck.Consumer | None = None
        self._taken: list[ck.Message] = []

    async def open(self) -> None:
        """Join the group."""
        await self._do(self._open)

    async def close(self) -> None:
        """Leave it: others go on at once from where this one was done."""
        try:
            await self._do(self._close)
        finally:
            self._thread.shutdown()

    async def take(self, limit: int, seconds: float) -> list[Record]:
        """The next records; empty when the time is over. Raises BusError."""
        return await self._do(self._take, limit, seconds)

    async def latest(self, topic: str) -> dict[str, bytes]:
        """What is committed of a compacted topic, of our partitions. Raises BusError."""
        return await self._do(self._latest, topic)

    def metadata(self) -> object:
        """Who we are in the group, for a transaction with our progress."""
        return self._opened.consumer_group_metadata()

    async def _do(self, work: Callable[..., T], *values: object) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.shield(loop.run_in_executor(self._thread, work, *values))
        except KafkaException as error:
            raise self._trouble.told(error) from None

    @property
    def _opened(self) -> ck.Consumer:
        assert self._consumer is not None, "the consumer is not open"
        return self._consumer

    # -- in the thread ----------------------------------------------------------------------

    def _open(self) -> None:
        self._consumer = ck.Consumer(
            {
                **self._common,
                "session.timeout.ms": _SESSION_S * 1000,
                "heartbeat.interval.ms": 2000,
                # The same partition of all topics goes to the same consumer.
                "partition.assignment.strategy": "range",
                "fetch.wait.max.ms": 200,
            },
            logger=QUIET,
        )
        self._consumer.subscribe(
            self._names, on_assign=self._moved, on_revoke=self._moved, on_lost=self._moved
        )

    def _close(self) -> None:
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _moved(self, consumer: ck.Consumer, places: Sequence[TopicPartition]) -> None:
        # Kafka gives again what is not done of what we took before.
        self.share += 1
        self._taken.clear()

    def _take(self, limit: int, seconds: float) -> list[Record]:
        self._taken = []
        # One by one: `_moved` may come within any of these calls.
        message = self._opened.poll(seconds)
        while message is not None:
            if (error := message.error()) is None:
                self._taken.append(message)
            elif not (error.retriable() or error.code() in _PASSING):
                raise KafkaException(error)
            if len(self._taken) >= limit:
                break
            message = self._opened.poll(0)
        if self._taken:
            self._trouble.over()
        return [_record(each) for each in self._taken]

    def _latest(self, topic: str) -> dict[str, bytes]:
        mine = sorted({place.partition for place in self._opened.assignment()})
        if not mine:
            return {}
        ends = self._ends(topic, mine)
        found: dict[str, bytes] = {}
        reader = ck.Consumer({**self._common, "enable.partition.eof": True}, logger=QUIET)
        try:
            reader.assign([TopicPartition(topic, part, ck.OFFSET_BEGINNING) for part in ends])
            until = time.monotonic() + _LOAD_S
            while ends:
                if time.monotonic() > until:
                    raise BusError(
                        f"Kafka: {topic} could not be read to its end; is a broker down?"
                    )
                message = reader.poll(1.0)
                if message is None:
                    continue
                if (error := message.error()) is None:
                    _keep(found, message)
                    continue
                if error.code() == KafkaError._PARTITION_EOF:
                    # Before the end a transaction is open: the end comes again when it is over.
                    if message.offset() >= ends.get(message.partition(), 0):
                        ends.pop(message.partition(), None)
                elif not (error.retriable() or error.code() in _PASSING):
                    raise KafkaException(error)
        finally:
            reader.close()
        return found

    def _ends(self, topic: str, parts: Sequence[int]) -> dict[int, int]:
        """Behind the last record of each partition, committed or not."""
        asked = {TopicPartition(topic, part): OffsetSpec.latest() for part in parts}
        answers = self._admin.list_offsets(
            asked, isolation_level=ck.IsolationLevel.READ_UNCOMMITTED, request_timeout=ANSWER_S
        )
        return {place.partition: each.result(ANSWER_S).offset for place, each in answers.items()}


def _key(message: ck.Message) -> str:
    return (message.key() or b"").decode(errors="replace")


def _keep(found: dict[str, bytes], message: ck.Message) -> None:
    if (value := message.value()) is None:
        found.pop(_key(message), None)
    else:
        found[_key(message)] = value


def _record(message: ck.Message) -> Record:
    return Record(
        message.offset(),
        message.timestamp()[1],
        _key(message),
        message.value() or b"",
        message.topic(),
        message.partition(),
    )
