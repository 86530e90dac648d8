"""The queue from the rounds to the slower half of the controller: facts, in order, bounded."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from pbal_protocol.codec import Record

LIMIT = 10_000


@dataclass(frozen=True, slots=True)
class Received:
    """An authentic record of a home. `at` is loop time."""

    address: int
    record: Record
    at: float


@dataclass(frozen=True, slots=True)
class Sent:
    """A Switch left for the line. `at` is loop time."""

    address: int
    command_id: int
    at: float


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A home's own frames contradict each other: no commands until a person has looked."""

    address: int
    why: str


Fact = Received | Sent | Doubtful


class Inbox:
    """A bounded queue that the fast side fills without waiting.

    When full the oldest fact is dropped and counted: nodes repeat what was not acknowledged.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._items: deque[Fact] = deque()
        self._limit = limit
        self._waiter: asyncio.Future[None] | None = None
        self.dropped = 0

    def put(self, item: Fact) -> None:
        """Add a fact."""
        if len(self._items) >= self._limit:
            self._items.popleft()
            self.dropped += 1
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self, timeout_s: float) -> list[Fact]:
        """Everything there is, after waiting at most `timeout_s` for something."""
        if not self._items:
            loop = asyncio.get_running_loop()
            waiter = self._waiter = loop.create_future()
            timer = loop.call_later(timeout_s, _wake, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
        items = list(self._items)
        self._items.clear()
        return items


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
