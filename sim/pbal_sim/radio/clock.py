"""A clock that moves only when a program waits: for tests, and for runs of many hours."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace


class VirtualClock:
    """Microseconds since the beginning. Call it for the time; `watch` is told of every step."""

    def __init__(self) -> None:
        self.us = 0
        self.watch: list[Callable[[], None]] = []

    def __call__(self) -> int:
        return self.us

    def advance(self, us: float) -> None:
        """Let time pass; the watchers are called, and run what has become due."""
        self.us += max(0, round(us))
        for look in self.watch:
            look()

    def time_module(self, look_us: int = 20) -> SimpleNamespace:
        """A stand-in for a driver's `time`: reading the clock takes `look_us`, sleeping what it
        says.
        """

        def now() -> float:
            self.advance(look_us)
            return self.us / 1e6

        return SimpleNamespace(
            time=now,
            monotonic=now,
            perf_counter=now,
            sleep=lambda seconds: self.advance(1e6 * seconds),
        )
