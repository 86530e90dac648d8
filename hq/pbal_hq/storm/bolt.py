"""The bolt: the detectors over the partitions of hq.summary that Storm gives to one of its tasks.

All records of a partition come to one task, in order. A task that has none of a partition's memory
(it is new, or took the place of one that died) first reads what the partition had in the last hours
before the record at hand; so it says what the one before it would have said, to the byte.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from pbal_hq import kafkabus
from pbal_hq.alarms import detect
from pbal_hq.bus import topics
from pbal_hq.config import load
from pbal_hq.errors import BusError
from pbal_hq.ingest.wording import BadRecord
from pbal_hq.storm.multilang import Shell, run
from pbal_hq.storm.stream import Stream
from pbal_hq.storm.topology import GROUP

# What the detectors look at, in windows of up to a quarter of an hour.
REBUILD_S = detect.LOOK * 900


class Past(Protocol):
    """What a partition had before."""

    def before(self, partition: int, offset: int) -> Iterable[tuple[str, bytes]]:
        """Key and value of the records of the last REBUILD_S before this one. Raises BusError."""


class Detect:
    """The process of one task."""

    def __init__(self, past: Past) -> None:
        self._past = past
        self._streams: dict[int, Stream] = {}

    def __call__(self, values: Sequence[Any]) -> Iterator[tuple[str, str]]:
        """(topic, partition, offset, key, value) -> key and value for hq.alarm."""
        _, partition, offset, key, value = values
        if partition not in self._streams:
            stream = Stream()
            for old_key, old in self._past.before(partition, offset):
                _take(stream, old_key, old)
            self._streams[partition] = stream
        said = _take(self._streams[partition], key, value.encode())
        if said is not None:
            yield key, said.decode()


def _take(stream: Stream, key: str, value: bytes) -> bytes | None:
    try:
        said = stream.take(key, value)
    except BadRecord:
        return None  # the store makes a dead letter of it
    return None if said is None else said.encode()


class KafkaPast:
    """What Kafka has of hq.summary. `settings`: of a user that may read it."""

    _WAIT_S = 30.0

    def __init__(self, settings: dict[str, Any]) -> None:
        self._settings = settings

    def before(self, partition: int, offset: int) -> Iterator[tuple[str, bytes]]:
        """As `Past` has it."""
        import confluent_kafka as ck

        consumer = ck.Consumer({
            **self._settings, "group.id": GROUP, "enable.auto.commit": False,
            "isolation.level": "read_committed", "auto.offset.reset": "error",
        })  # fmt: skip
        try:
            consumer.assign([ck.TopicPartition(topics.SUMMARY, partition, offset)])
            at_ms = self._next(consumer).timestamp()[1]
            since = ck.TopicPartition(topics.SUMMARY, partition, at_ms - 1000 * REBUILD_S)
            (first,) = consumer.offsets_for_times([since], timeout=self._WAIT_S)
            if not 0 <= first.offset < offset:
                return
            consumer.assign([first])
            while (found := self._next(consumer)).offset() < offset:
                yield (found.key() or b"").decode(), found.value() or b""
        except ck.KafkaException as error:
            raise BusError(f"what {topics.SUMMARY} had before cannot be read: {error}") from None
        finally:
            consumer.close()

    def _next(self, consumer: Any) -> Any:
        found = consumer.poll(self._WAIT_S)
        if found is None or found.error():
            why = "no answer" if found is None else found.error().str()
            raise BusError(f"what {topics.SUMMARY} had before cannot be read: {why}")
        return found


def main(words: Sequence[str]) -> None:
    """`python -m pbal_hq.storm.bolt CONFIG USER`, started by a worker."""
    config, user = words
    # Not a byte of ours between Storm's: whoever prints, prints into the worker's log.
    shell = Shell(sys.stdin.buffer, sys.stdout.buffer)
    sys.stdout = sys.stderr
    run(shell, Detect(KafkaPast(kafkabus.settings(load(Path(config)), user))))


if __name__ == "__main__":
    main(sys.argv[1:])
