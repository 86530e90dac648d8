"""What the loops of all bearers share: each is watched.

A loop that makes no progress is ended and restarted, which opens no contact; a reset would (S11).
"""

import asyncio

from micropython import const

_BEARER = const(64)  # a place of an error, see faults.py
_STUCK_MS = const(9000)  # a loop without a turn


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
