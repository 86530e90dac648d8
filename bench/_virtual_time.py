"""The real controller in virtual time: an event loop whose clock moves when everything waits.

Nothing real is waited for: threads' work is done at once, in the loop, and takes no time. The air
of pbal_sim.radio follows the same clock.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from unittest import mock

from pbal_sim.radio import Air

T = TypeVar("T")

BEGIN_S = 1_800_000_000.0  # unix time at which a run begins
_STEP_S = 1e-6  # work takes time as well


class VirtualLoop(asyncio.SelectorEventLoop):
    """`now_s`: seconds since the beginning. `air` is kept up to date with it."""

    def __init__(self) -> None:
        loop = self
        self.now_s = 0.0
        self.air: Air | None = None

        class Jump(selectors.SelectSelector):
            def select(self, timeout: float | None = None) -> list[tuple[Any, int]]:
                loop.pass_time(timeout)
                return super().select(0)

        super().__init__(Jump())

    def time(self) -> float:
        return self.now_s

    def unix_s(self) -> float:
        """The site's time."""
        return BEGIN_S + self.now_s

    def us(self) -> int:
        """For the air."""
        return round(1e6 * self.now_s)

    def pass_time(self, wait_s: float | None) -> None:
        """To the next thing that is due, here or on the air."""
        air = self.air
        due_us = air.next_us() if air is not None else None
        if due_us is not None:
            until_s = max(0.0, due_us / 1e6 - self.now_s)
            wait_s = until_s if wait_s is None else min(wait_s, until_s)
        self.now_s += max(wait_s or 0.0, _STEP_S)
        if air is not None:
            air.catch_up()

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        """What stands in the place of a socket calls by itself."""
        if isinstance(fd, int) or fd.fileno() >= 0:
            super().add_reader(fd, callback, *args)

    def remove_reader(self, fd: Any) -> bool:
        """As above."""
        return (isinstance(fd, int) or fd.fileno() >= 0) and super().remove_reader(fd)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> Any:
        """Done at once."""
        done: asyncio.Future[T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done


def play(what: Callable[[VirtualLoop], Coroutine[Any, Any, T]]) -> T:
    """Run it from its begin to its end; `time` tells the loop's time meanwhile."""
    loop = VirtualLoop()
    clocks = {
        "monotonic": loop.time,
        "monotonic_ns": lambda: round(1e9 * loop.now_s),
        "time": loop.unix_s,
        "time_ns": lambda: round(1e9 * loop.unix_s()),
    }
    with mock.patch.multiple(time, **clocks), asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(what(loop))
