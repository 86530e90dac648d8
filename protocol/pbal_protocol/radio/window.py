"""A limit on airtime in any window, e.g. 36 s of an hour: what a node needs of the budget.

The limit is kept with counters of a sixtieth of the window. A transmission is charged to the
counters it lies in; any window lies within 61 counters in a row, and their sum never exceeds the
limit. So no sliding window ever holds more, at the cost of one part in sixty of the limit.
"""

from array import array

from pbal_protocol.compat import const

_PARTS = const(60)
_RING = const(64)  # a transmission may reach into future counters
_AHEAD = const(3)


class Spent:
    """At most `limit_us` on the air in any `window_s`."""

    def __init__(self, limit_us: int, window_s: int, used_us: int = 0) -> None:
        self.limit_us = limit_us
        part_ms: int = (1000 * window_s + _PARTS - 1) // _PARTS
        self._part_ms = part_ms
        self._used: array[int] = array("I", [0] * _RING)
        self._newest = 0  # number of the newest counter; it is at _used[newest % _RING]
        self._begun = False
        self._before_us = min(used_us, limit_us)

    def _turn(self, number: int) -> None:
        """Make `number` the newest counter."""
        if not self._begun:
            self._begun = True
            self._newest = number
            self._used[number % _RING] = self._before_us
            return
        step = number - self._newest
        if step > _RING:
            step = _RING
        while step > 0:
            step -= 1
            self._used[(number - step) % _RING] = 0
        if number > self._newest:
            self._newest = number

    def _sum(self, last: int) -> int:
        """What lies in the 61 counters that end with `last`, which may be a future one."""
        total = 0
        number = last - _PARTS
        while number <= self._newest:
            if number > self._newest - _RING:
                total += self._used[number % _RING]
            number += 1
        return total

    def _share(self, start_ms: int, us: int, number: int) -> int:
        """The most that a transmission can put into one counter; it may start 1 ms later."""
        before = 1000 * (self._part_ms * number - start_ms)  # us from its start to the counter's
        size = 1000 * self._part_ms
        if before <= 0:
            return min(us, size + before)
        return max(0, min(us, us - before + 1000, size))

    def fits(self, now_ms: int, us: int) -> bool:
        """Whether a transmission of `us` may start now."""
        now_ms = self._not_before(now_ms)
        number = now_ms // self._part_ms
        last = (now_ms + us // 1000 + 1) // self._part_ms
        self._turn(number)
        if last < self._newest:
            last = self._newest
        spent = 0
        while number <= last:
            spent = min(us, spent + self._share(now_ms, us, number))
            if self._sum(number) + spent > self.limit_us:
                return False
            number += 1
        return True

    def spend(self, now_ms: int, us: int) -> None:
        """Charge a transmission that starts now; one that `fits`."""
        now_ms = self._not_before(now_ms)
        number = now_ms // self._part_ms
        last = (now_ms + us // 1000 + 1) // self._part_ms
        while number <= last:
            share = self._share(now_ms, us, number)
            if share > 0:
                self._turn(number)
                self._used[number % _RING] += share
            number += 1

    def _not_before(self, now_ms: int) -> int:
        """The time to count with: a clock that steps back must not free airtime."""
        if self._begun and now_ms < self._part_ms * (self._newest - _AHEAD):
            return self._part_ms * self._newest
        return now_ms
