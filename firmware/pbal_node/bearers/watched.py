"""What the loops of all bearers share: each is watched, and unauthenticated frames have a ration.

A loop that makes no progress is ended and restarted, which opens no contact; a reset would (S11).
"""

import asyncio
import time

from micropython import const

_BEARER = const(64)  # a place of an error, see faults.py
_STUCK_MS = const(9000)  # a loop without a turn
_CREDIT_US = const(400000)  # for unauthenticated frames, at once: ten sealed answers
_SHARE_US = const(400)  # more for each millisecond that passes
_BUSY_SHARE_US = const(200)  # while contacts move, ...
_BUSY_KEPT_US = const(200000)  # ... and so much is kept back then
_REFILL_MS = const(2000)  # longer than it takes to fill up


class Watch:
    """Watches a bearer's loop, which counts its `turns` here. One may take `stuck_ms`."""

    def __init__(self, now_ms, faults, stuck_ms=_STUCK_MS) -> None:
        self._faults = faults
        self._stuck_ms = stuck_ms
        self._task: "asyncio.Task | None" = None
        self._stuck = False
        self._turned_ms = now_ms()
        self.turns = 0  # since the last check

    def alive(self, now_ms: int, idle=False) -> bool:
        """S11: whether the loop makes progress; ask every few seconds. One that makes none for its
        limit, though it is not `idle`, is ended here, and `once` returns.
        """
        if self.turns or idle:
            self.turns = 0
            self._turned_ms = now_ms
        elif now_ms - self._turned_ms >= self._stuck_ms and self._task is not None:
            self._turned_ms = now_ms
            self._stuck = True
            self._task.cancel()
            return False
        return True

    async def once(self, loop) -> bool:
        """Runs `loop` until it ends: True when it made no progress. Reports its error. Raises
        CancelledError when the application ends.
        """
        self._task = task = asyncio.create_task(loop)
        try:
            await task
        except asyncio.CancelledError:
            if not self._stuck:
                task.cancel()
                raise
        except Exception as e:
            self._faults.note(_BEARER, e)
        self._task = None
        stuck, self._stuck = self._stuck, False
        return stuck


class Ration:
    """The share of the node's time for frames that are not authentic; a smaller one while contacts
    move. Authentic frames are not charged.
    """

    def __init__(self, now_ms, selector) -> None:
        self._now_ms = now_ms
        self._selector = selector
        self._at_ms = now_ms()
        self._credit_us = _CREDIT_US

    def left_us(self) -> int:
        """What is left of it, in microseconds."""
        now_ms = self._now_ms()
        busy = self._selector.busy
        gone_ms = min(now_ms - self._at_ms, _REFILL_MS)
        self._at_ms = now_ms
        more = gone_ms * (_BUSY_SHARE_US if busy else _SHARE_US)
        self._credit_us = credit = min(self._credit_us + more, _CREDIT_US)
        return credit - _BUSY_KEPT_US if busy else credit

    def charge(self, start_us) -> None:
        """What began at `start_us` was not authentic."""
        self._credit_us -= time.ticks_diff(time.ticks_us(), start_us)
