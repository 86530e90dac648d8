"""Capped exponential back-off with jitter, pure."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable


class Backoff:
    """Delays that double from `first_s` up to `cap_s`, each shortened at random by up to half.

    The jitter keeps many controllers, or many ports, from coming back in step.
    """

    def __init__(self, first_s: float, cap_s: float, rng: random.Random | None = None) -> None:
        self.first_s = first_s
        self.cap_s = cap_s
        self.failures = 0
        self._rng = rng or random.Random()

    def next(self) -> float:
        """The delay before the next attempt, in seconds; counts one more failure."""
        # The exponent is bounded so that years of failures never overflow a float.
        delay = min(self.cap_s, self.first_s * 2.0 ** min(self.failures, 40))
        self.failures += 1
        return delay * (1.0 - 0.5 * self._rng.random())

    def reset(self) -> None:
        """Success: start over."""
        self.failures = 0


async def pause(seconds: float, beat: Callable[[], None]) -> None:
    """Sleep, and tell the supervisor each second that the loop is alive."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0:
        beat()
        await asyncio.sleep(min(1.0, left))
