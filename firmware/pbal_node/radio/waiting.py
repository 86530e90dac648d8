"""asyncio on top of the driver: wait until something happened, with or without the interrupt.

DIO0 sets a ThreadSafeFlag; a task sets it too, every `poll_ms`, so a line that is not connected or
an edge that was lost costs time and no frame. The chip is checked every `check_ms`.
"""

import asyncio
import time

from micropython import const

from pbal_node.radio import sx127x

_POLL_MS = const(20)
_CHECK_MS = const(10000)


class Waiter:
    """Waits for one chip. `tick` must run as a task."""

    def __init__(self, radio, dio0=None, poll_ms=_POLL_MS, check_ms=_CHECK_MS) -> None:
        self._radio = radio
        self._flag = asyncio.ThreadSafeFlag()
        self._poll_ms = poll_ms
        self._check_ms = check_ms
        self._checked_ms = time.ticks_ms()
        radio.flag = self._flag
        if dio0 is not None:
            dio0.irq(handler=radio.on_dio0, trigger=dio0.IRQ_RISING)

    async def tick(self) -> None:
        """The fallback: poll although DIO0 gave no edge."""
        while True:
            await asyncio.sleep_ms(self._poll_ms)
            self._flag.set()

    async def event(self, timeout_ms: int = 0) -> int:
        """Return what `poll` found, once it is something; NOTHING after `timeout_ms`, unless that
        is 0. Raises RadioError.
        """
        radio = self._radio
        start_ms = time.ticks_ms()
        while True:
            found = radio.poll()
            if found:
                return found
            now_ms = time.ticks_ms()
            if timeout_ms and time.ticks_diff(now_ms, start_ms) >= timeout_ms:
                return sx127x.NOTHING
            if time.ticks_diff(now_ms, self._checked_ms) >= self._check_ms:
                self._checked_ms = now_ms
                if not radio.check():
                    return sx127x.FAILED
            await self._flag.wait()
