"""The share of the node's time for frames that are not authentic, on a line or a network. A radio
has none: its frames are few.
"""

import time

from micropython import const

_CREDIT_US = const(400000)  # for unauthenticated frames, at once: ten sealed answers
_SHARE_US = const(400)  # more for each millisecond that passes
_BUSY_SHARE_US = const(200)  # while contacts move, ...
_BUSY_KEPT_US = const(200000)  # ... and so much is kept back then
_REFILL_MS = const(2000)  # longer than it takes to fill up


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
