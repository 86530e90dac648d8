"""A wait that another task may end early: between two frames of a bearer."""

from __future__ import annotations

import asyncio


class Sleeper:
    """One waiter at a time. A wake that comes before the wait ends the wait at once."""

    def __init__(self) -> None:
        self._woken = False
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """End the present wait, or the next one."""
        self._woken = True
        if self._waiter is not None:
            _set(self._waiter)

    async def until(self, at: float) -> None:
        """Wait until loop time `at`, or until woken."""
        if not self._woken:
            loop = asyncio.get_running_loop()
            self._waiter = loop.create_future()
            timer = loop.call_at(at, _set, self._waiter)
            try:
                await self._waiter
            finally:
                self._waiter = None
                timer.cancel()
        self._woken = False


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
