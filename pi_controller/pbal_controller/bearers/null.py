"""A bearer that carries nothing: every node is silent.

For a home that is configured before its wires are there, and as the smallest whole bearer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, Field

from pbal_controller.bearers.base import Request, Traffic, Where
from pbal_controller.bearers.kinds import Kind
from pbal_controller.bearers.sleeper import Sleeper
from pbal_host.tables import Table

ROOM = 240


class NullConfig(Table):
    """`answer_timeout_ms`: how long each silence takes."""

    answer_timeout_ms: float = Field(default=60.0, ge=1, le=60_000)


class NullBearer:
    """Takes every frame and never answers."""

    room = ROOM
    up = True
    reconnects = 0

    def __init__(self, name: str, config: NullConfig, traffic: Traffic) -> None:
        self.name = name
        self.timeouts = 0
        self._silence_s = config.answer_timeout_ms / 1e3
        self._traffic = traffic
        self._sleeper = Sleeper()

    def reaches(self, where: Where) -> str:
        """No node is ever reached."""
        return "this bearer carries nothing"

    def cost_s(self, size: int) -> float:
        """A silence, however long the frame."""
        return self._silence_s

    def freshness_s(self, homes: int) -> float:
        """There are no readings."""
        return float("inf")

    def wake(self) -> None:
        """End the present wait."""
        self._sleeper.wake()

    async def run(self, beat: Callable[[], None]) -> None:
        """Let one request after another time out."""
        loop = asyncio.get_running_loop()
        while True:
            beat()
            todo = self._traffic.next_request(loop.time())
            if not isinstance(todo, Request):
                await self._sleeper.until(min(todo, loop.time() + 1.0))
                continue
            if todo.sent is not None:
                todo.sent()
            if todo.to is not None:
                await asyncio.sleep(self._silence_s)
                self.timeouts += 1
                self._traffic.handle(todo, None, loop.time())

    def counts(self) -> dict[str, int]:
        """Silences."""
        return {"requests": self.timeouts, "answers": 0, "timeouts": self.timeouts}

    def as_dict(self) -> dict[str, Any]:
        """For the status API."""
        return {"name": self.name, "kind": "null", **self.counts()}


def _locate(settings: BaseModel, address: int, at: object) -> Where:
    return address if at is None else str(at)


KIND = Kind("null", NullConfig, _locate, NullBearer)
