"""The bus over Kafka, by confluent-kafka: for roles in processes on many computers.

Every append is one of Kafka's transactions: its records and the progress of the consumer that they
come from are there together or not at all, and consumers see committed records only. Kafka refuses
the progress of a consumer that was declared dead meanwhile, and with it all of that append. A bus
that was killed blocks what it had begun for at most `_TRANSACTION_S`; one with the same `instance`
that starts again ends it at once.

Redpanda speaks the same protocol; it was not tested.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from pbal_hq.bus.base import Consumer, Done, New
from pbal_hq.bus.behind import behind
from pbal_hq.bus.cluster import (
    ANSWER_S,
    PREFIX,
    QUIET,
    Trouble,
    answered,
    client,
    group_id,
    patiently,
)
from pbal_hq.bus.consumer import KafkaConsumer
from pbal_hq.errors import BusError

log = logging.getLogger(__name__)

_TRANSACTION_S = 10

T = TypeVar("T")


class KafkaBus:
    """One bus. An async context; opening raises BusError, BusAway where it may be tried again.

    Parameters
    ----------
    settings : from `connection`.
    instance : the same at every start of this process, and no other's; "": a new one each time.
    """

    def __init__(self, settings: Mapping[str, Any], instance: str = "") -> None:
        self._settings = dict(settings)
        self._instance = instance or secrets.token_hex(8)
        self._senders: dict[str, _Sender] = {}
        self._consumers: dict[str, KafkaConsumer] = {}
        self._admin: AdminClient | None = None
        self._trouble = Trouble()

    async def __aenter__(self) -> KafkaBus:
        if self._admin is None:
            # Who opens it is told by the error.
            self._admin, self._trouble = client(self._settings, quiet=True)
        await answered(self._admin, self._trouble)
        self._trouble.quiet = False
        return self

    async def __aexit__(self, *_: object) -> None:
        for sender in self._senders.values():
            await sender.close()
        self._senders.clear()

    async def append(self, records: Sequence[New], done: Sequence[Done] = ()) -> None:
        """Append records and note the progress of one group's consumer of this bus, in one
        transaction. Raises BusError; then none of it is there, or, when even the cluster's answer
        is missing, all of it may be.
        """
        if not records and not done:
            return
        groups = {each.group for each in done}
        if len(groups) > 1:
            raise BusError(f"progress of several groups in one append: {sorted(groups)}")
        group = next(iter(groups), "")
        consumer = self._consumers.get(group)
        if group and consumer is None:
            raise BusError(f"the group {group} has no consumer here, whose progress could be noted")
        if group not in self._senders:
            name = f"{PREFIX}{self._instance}.{group or 'bus'}"
            self._senders[group] = _Sender(self._settings, name)
        await self._senders[group].send(records, done, consumer)

    @contextlib.asynccontextmanager
    async def consumer(self, group: str, names: Sequence[str]) -> AsyncIterator[Consumer]:
        """A consumer of the group: one for each group and bus."""
        assert self._admin is not None, "the bus is not open"
        if group in self._consumers:
            raise BusError(f"the group {group} has a consumer here already")
        made = KafkaConsumer(self._settings, group_id(group), names, self._admin, Trouble())
        self._consumers[group] = made
        try:
            await made.open()
            yield made
        finally:
            del self._consumers[group]
            await made.close()

    async def trim(self, groups: Mapping[str, Sequence[str]], keep_s: float) -> int:
        """Kafka deletes by the topics' own retention."""
        return 0

    async def lag(self, groups: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], int]:
        """How many records each group has before it, as Kafka counts them: see `behind`.

        Without what our user may not see. Raises BusError.
        """
        assert self._admin is not None, "the bus is not open"
        try:
            return await asyncio.to_thread(behind, self._admin, groups)
        except KafkaException as error:
            raise self._trouble.told(error) from None


class _Sender:
    """One transactional producer, and its thread: one transaction after the other."""

    def __init__(self, settings: Mapping[str, Any], name: str) -> None:
        self._trouble = Trouble()
        self._settings = {
            **settings,
            "error_cb": self._trouble,
            "transactional.id": name,
            "transaction.timeout.ms": _TRANSACTION_S * 1000,
            # Given up by us before the cluster does, which would shut this producer out.
            "message.timeout.ms": _TRANSACTION_S * 700,
            "enable.idempotence": True,
            # Java's own: Storm and Druid find a key where Python put it.
            "partitioner": "murmur2_random",
            "compression.type": "lz4",
            "linger.ms": 2,
        }
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pbal-hq kafka")
        self._producer: Producer | None = None

    async def send(
        self, records: Sequence[New], done: Sequence[Done], consumer: KafkaConsumer | None
    ) -> None:
        # The thread finishes a transaction also for a caller that was cancelled.
        await asyncio.shield(self._run(self._send, records, done, consumer))

    async def close(self) -> None:
        try:
            await self._run(self._forget)
        finally:
            self._thread.shutdown()

    async def _run(self, work: Callable[..., T], *values: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *values)

    # -- in the thread ----------------------------------------------------------------------

    def _forget(self) -> None:
        if self._producer is not None:
            gone, self._producer = self._producer, None
            with contextlib.suppress(KafkaException):
                gone.purge()
                gone.flush(1.0)

    def _send(
        self, records: Sequence[New], done: Sequence[Done], consumer: KafkaConsumer | None
    ) -> None:
        refused: list[KafkaError] = []
        try:
            producer = self._opened()
            producer.begin_transaction()
            for new in records:
                self._produce(producer, new, refused)
            if done and consumer is not None:
                places = [TopicPartition(d.topic, d.partition, d.offset + 1) for d in done]
                patiently(
                    lambda: producer.send_offsets_to_transaction(
                        places, consumer.metadata(), ANSWER_S
                    )
                )
            patiently(lambda: producer.commit_transaction(ANSWER_S))
        except (KafkaException, BufferError) as error:
            self._abandon(error)
            raise self._trouble.told(KafkaException(refused[0]) if refused else error) from None
        self._trouble.over()

    def _opened(self) -> Producer:
        if self._producer is None:
            made = Producer(self._settings, logger=QUIET)
            patiently(lambda: made.init_transactions(ANSWER_S))
            self._producer = made
        return self._producer

    @staticmethod
    def _produce(producer: Producer, new: New, refused: list[KafkaError]) -> None:
        def delivered(error: KafkaError | None, _: object) -> None:
            if error is not None:
                refused.append(error)

        for _ in range(600):
            try:
                producer.produce(new.topic, new.value, new.key.encode(), on_delivery=delivered)
                return
            except BufferError:
                producer.poll(0.1)  # its memory is full: until some of it is sent
        raise BufferError("nothing can be sent")

    def _abandon(self, error: Exception) -> None:
        """End a transaction that failed. Where that fails too, the next producer does it."""
        kind = error.args[0] if isinstance(error, KafkaException) else None
        if self._producer is None:
            return
        try:
            if kind is None or not kind.fatal():
                self._producer.abort_transaction(ANSWER_S)
                return
        except KafkaException as again:
            log.info("a transaction is left to its end", extra={"why": again.args[0].str()})
        self._forget()
