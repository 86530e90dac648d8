"""In place of a LoRa bearer's radio thread: what a test's air gives it, the bearer receives."""

from __future__ import annotations

import asyncio
from collections import deque

from pbal_controller.bearers.lora.driver import Received


class FakeRadioThread:
    """Receives what `hear` is given. Sending, and what else is on the air, is the test's."""

    def __init__(self, opener: object, room: int) -> None:
        self.dropped = self.damaged = 0
        self._queue: deque[Received] = deque()
        self._came = asyncio.Event()

    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass

    def tune(self, at_s: float, hz: int, sf: int) -> None:
        pass

    def forget(self) -> None:
        pass

    def quietest_dbm(self) -> float | None:
        return None

    def hear(self, received: Received) -> None:
        """It came in now."""
        self._queue.append(received)
        self._came.set()

    async def receive(self, until_s: float) -> Received | None:
        loop = asyncio.get_running_loop()
        while not self._queue:
            left_s = until_s - loop.time()
            if left_s <= 0:
                return None
            self._came.clear()
            try:
                await asyncio.wait_for(self._came.wait(), left_s)
            except TimeoutError:
                return None
        return self._queue.popleft()
