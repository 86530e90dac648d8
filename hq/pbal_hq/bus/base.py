"""The contract of a bus.

Records of one key stay in the order in which they were appended. `append` is atomic: all of it,
the records and the consumers' progress, is there after a crash, or none of it. What a group has not
committed it is given again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True)
class Done:
    """A consumer group's progress: everything of the topic up to `offset` is dealt with."""

    group: str
    topic: str
    offset: int


class Bus(Protocol):
    """All methods raise BusError."""

    async def append(self, records: Sequence[New], done: Sequence[Done] = ()) -> None:
        """Append records and note progress; on return both are durable.

        In a compacted topic a record takes the place of the one before it of the same key.
        """

    async def latest(self, topic: str) -> dict[str, bytes]:
        """A compacted topic: the latest value of each key."""

    async def read(self, topic: str, after: int, limit: int) -> list[Record]:
        """Records with an offset above `after`, in order; empty when there is none."""

    async def committed(self, group: str, topic: str) -> int:
        """Up to where a group is done; -1 at the beginning."""

    async def wait(self, topics: Sequence[str], seconds: float) -> None:
        """Return soon after something was appended to one of these, or when the time is over."""


@runtime_checkable
class Measured(Protocol):
    """A bus that can say how far its consumers are behind."""

    async def lag(self, groups: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], int]:
        """How many records each group has before it, by (group, topic). Raises BusError.

        `groups`: the groups that take each topic.
        """
