"""The contract of a bus.

Records of one key stay in the order in which they were appended. `append` is atomic: all of it,
the records and the consumers' progress, is there after a crash, or none of it. What a group has not
noted as done it is given again.

A topic may have partitions: a key is always in the same one, and offsets count within it. Several
consumers of one group share the partitions; a compacted topic has the same ones, so that a
consumer finds there what belongs to the keys it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class New:
    """A record to append. `key`: whose order it keeps."""

    topic: str
    key: str
    value: bytes


@dataclass(frozen=True)
class Record:
    """A record as it is read. `at_ms`: when it was appended (unix, milliseconds)."""

    offset: int
    at_ms: int
    key: str
    value: bytes
    topic: str
    partition: int = 0


@dataclass(frozen=True)
class Done:
    """A consumer group's progress: everything of the partition up to `offset` is dealt with."""

    group: str
    topic: str
    offset: int
    partition: int = 0


def done_with(group: str, records: Iterable[Record]) -> list[Done]:
    """The progress of who has dealt with these and with all before them."""
    last: dict[tuple[str, int], int] = {}
    for record in records:
        place = (record.topic, record.partition)
        last[place] = max(record.offset, last.get(place, -1))
    return [Done(group, topic, offset, part) for (topic, part), offset in last.items()]


class Consumer(Protocol):
    """One of a group's consumers. All methods raise BusError."""

    # Another number whenever the keys that this consumer is given have changed: what was taken
    # before and is not done is given again, to it or to another.
    share: int

    async def take(self, limit: int, seconds: float) -> list[Record]:
        """The next records, waiting for the first of them; empty when the time is over.

        Look at `share` before they are used.
        """

    async def latest(self, topic: str) -> dict[str, bytes]:
        """A compacted topic: the latest value of each key of this consumer's share."""


class Bus(Protocol):
    """All methods raise BusError."""

    async def append(self, records: Sequence[New], done: Sequence[Done] = ()) -> None:
        """Append records and note progress, of one group; on return both are durable.

        In a compacted topic a record takes the place of the one before it of the same key. Progress
        is noted only for a consumer that is open, and fails when its share has changed.
        """

    def consumer(self, group: str, topics: Sequence[str]) -> AbstractAsyncContextManager[Consumer]:
        """One more consumer of a group, from where the group is done."""

    async def trim(self, groups: Mapping[str, Sequence[str]], keep_s: float) -> int:
        """Delete what is older than `keep_s` and what all consumers are done with; how many.

        `groups`: the groups that take each topic. 0 where the bus does that by itself.
        """


@runtime_checkable
class Measured(Protocol):
    """A bus that can say how far its consumers are behind."""

    async def lag(self, groups: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], int]:
        """How many records each group has before it, by (group, topic). Raises BusError.

        `groups`: the groups that take each topic.
        """
