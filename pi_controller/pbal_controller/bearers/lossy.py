"""A bearer that loses what another one carries, at random: for tests, and for other bearers' tests.

```toml
[bearer.street]
kind = "lossy"
lose_down = 0.05
lose_up = 0.1
over = { kind = "rs485", port = "/dev/ttyUSB0" }
```
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field, field_validator

from pbal_controller.bearers.base import Answer, Bearer, Keeps, Request, Traffic, Where
from pbal_controller.bearers.kinds import Kind, find
from pbal_host.tables import Table
from pbal_protocol.codec import Record


class LossyConfig(Table):
    """Shares of frames that are lost, and the bearer that carries the others."""

    over: dict[str, Any]  # `kind`, and the keys of that kind
    lose_down: float = Field(default=0.0, ge=0, le=1)
    lose_up: float = Field(default=0.0, ge=0, le=1)
    seed: int = 1

    @field_validator("over")
    @classmethod
    def _inner(cls, over: dict[str, Any]) -> dict[str, Any]:
        inner_of(over)
        return over


def inner_of(over: dict[str, Any]) -> tuple[Kind, BaseModel]:
    """The kind and settings of the bearer beneath. Raises ValueError."""
    kind = find(str(over.get("kind", "rs485")))
    rest = {key: value for key, value in over.items() if key != "kind"}
    return kind, kind.settings.model_validate(rest)


@dataclass(frozen=True, slots=True)
class _Emptied:
    """The tag of a request whose frame does not arrive."""

    meant: Request


class _Losing:
    """Traffic between the real one and the bearer beneath, which loses some of it."""

    def __init__(self, traffic: Traffic, config: LossyConfig) -> None:
        self._traffic = traffic
        self._config = config
        self._random = random.Random(config.seed)
        self.lost_down = 0
        self.lost_up = 0

    def next_request(self, now: float) -> Request | float:
        todo = self._traffic.next_request(now)
        if not isinstance(todo, Request) or self._random.random() >= self._config.lose_down:
            return todo
        if todo.to is None:
            self.lost_down += 1
            return self._traffic.next_request(now)
        return self._emptied(todo)

    def ask(self, where: Where, now: float, room: int, waiting: bool) -> Request | None:
        todo = self._traffic.ask(where, now, room, waiting)
        if todo is None or self._random.random() >= self._config.lose_down:
            return todo
        return self._emptied(todo)

    def _emptied(self, todo: Request) -> Request:
        self.lost_down += 1
        # It takes its time on the medium, but the node must not get it: an empty one is sent.
        return Request(todo.to, b"", todo.sent, _Emptied(todo))

    def handle(self, request: Request, answer: Answer | None, now: float) -> None:
        if isinstance(request.tag, _Emptied):
            self._traffic.handle(request.tag.meant, None, now)
            return
        if answer is not None and self._random.random() < self._config.lose_up:
            self.lost_up += 1
            answer = None
        self._traffic.handle(request, answer, now)

    def offered(self, request: Request, answer: Answer, now: float) -> bool:
        if isinstance(request.tag, _Emptied) or self._random.random() < self._config.lose_up:
            self.lost_up += not isinstance(request.tag, _Emptied)
            return False
        return self._traffic.offered(request, answer, now)

    def unasked(self, where: Where, frame: bytes, now: float, more: bool = False) -> bool:
        if self._random.random() < self._config.lose_up:
            self.lost_up += 1
            return False
        return self._traffic.unasked(where, frame, now, more)

    def unheard(self, where: Where, now: float) -> None:
        self._traffic.unheard(where, now)

    def quality(self, where: Where, figures: dict[str, float]) -> None:
        self._traffic.quality(where, figures)

    def beacon(self, record: Record) -> bytes:
        return self._traffic.beacon(record)

    def foreign_beacon(self, frame: bytes, now: float) -> bool:
        return self._traffic.foreign_beacon(frame, now)

    def tell(self, where: Where, record: Record) -> None:
        self._traffic.tell(where, record)

    def lost(self) -> None:
        self._traffic.lost()


class LossyBearer:
    """The bearer beneath, which loses some of its frames."""

    def __init__(self, name: str, config: LossyConfig, traffic: Traffic) -> None:
        kind, settings = inner_of(config.over)
        self._losing = _Losing(traffic, config)
        self._inner: Bearer = kind.make(name, settings, self._losing)
        self.name = name
        self.room = self._inner.room
        self.always_seals = getattr(self._inner, "always_seals", None)

    @property
    def up(self) -> bool:
        """Whether the one beneath is."""
        return self._inner.up

    @property
    def reconnects(self) -> int:
        """Of the one beneath."""
        return self._inner.reconnects

    def reaches(self, where: Where) -> str:
        """As the one beneath says."""
        return self._inner.reaches(where)

    def cost_s(self, size: int) -> float:
        """As the one beneath says."""
        return self._inner.cost_s(size)

    def freshness_s(self, homes: int) -> float:
        """Each loss costs another round."""
        config = self._losing._config
        arrives = (1 - config.lose_down) * (1 - config.lose_up)
        return self._inner.freshness_s(homes) / arrives if arrives else float("inf")

    def drop(self, where: Where) -> None:
        """To the one beneath."""
        if isinstance(self._inner, Keeps):
            self._inner.drop(where)

    def renewed(self) -> None:
        """To the one beneath."""
        if isinstance(self._inner, Keeps):
            self._inner.renewed()

    def wake(self) -> None:
        """Wake the one beneath."""
        self._inner.wake()

    async def run(self, beat: Callable[[], None]) -> None:
        """Run the one beneath."""
        await self._inner.run(beat)

    def counts(self) -> dict[str, int]:
        """Of the one beneath, and what was lost."""
        losing = self._losing
        return self._inner.counts() | {
            "lost_down": losing.lost_down,
            "lost_up": losing.lost_up,
        }

    def as_dict(self) -> dict[str, Any]:
        """Of the one beneath, and what was lost."""
        return self._inner.as_dict() | {"kind": "lossy", **self.counts()}


def _locate(settings: BaseModel, address: int, at: object) -> Where:
    assert isinstance(settings, LossyConfig)
    kind, inner = inner_of(settings.over)
    return kind.locate(inner, address, at)


KIND = Kind("lossy", LossyConfig, _locate, LossyBearer)
