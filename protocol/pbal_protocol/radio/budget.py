"""The airtime budget: what a plan allows one transmitter to send, and when.

A limit over "any window of W" is kept with counters of W / 60. A transmission is charged to the
counters it lies in; any window of W lies within 61 counters in a row, and their sum never exceeds
the limit. So no sliding window ever holds more, at the cost of one part in sixty of the limit.

The caller asks `wait_ms`, sends, and calls `spend` with what it sent. Times are milliseconds of a
clock that does not go back; a transmission starts within the millisecond it was asked for. A
budget does not know what was sent before it was made: after a restart it is given what may have
been used.
"""

from array import array

from pbal_protocol.compat import const
from pbal_protocol.errors import ForbiddenError, RangeError
from pbal_protocol.radio.plans import Plan

_PARTS = const(60)
_RING = const(64)  # a transmission may reach into future counters
_AHEAD = const(3)


class Window:
    """At most `limit_us` on the air in any `window_s`."""

    def __init__(self, limit_us: int, window_s: int, used_us: int = 0) -> None:
        if not 0 < limit_us or not 0 < window_s <= 86400:
            raise RangeError("a limit of %r us in %r s" % (limit_us, window_s))
        self.limit_us = limit_us
        part_ms: int = (1000 * window_s + _PARTS - 1) // _PARTS
        self._part_ms = part_ms
        self._used: array[int] = array("L", [0] * _RING)
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

    def wait_ms(self, now_ms: int, us: int) -> int:
        """Return 0 when a transmission of `us` may start now, else after how many ms to ask again.

        Raises ForbiddenError when it exceeds the limit by itself.
        """
        if us > self.limit_us:
            raise ForbiddenError("%d us on the air: %d are allowed" % (us, self.limit_us))
        if self.fits(now_ms, us):
            return 0
        now_ms = self._not_before(now_ms)
        number = max(now_ms // self._part_ms, self._newest)
        while True:
            number += 1
            if self._sum(number) + us <= self.limit_us:
                return self._part_ms * number - now_ms

    def spend(self, now_ms: int, us: int) -> None:
        """Charge a transmission that starts now. Raises ForbiddenError when it does not fit."""
        if not self.fits(now_ms, us):
            raise ForbiddenError("the airtime budget is used up")
        now_ms = self._not_before(now_ms)
        number = now_ms // self._part_ms
        last = (now_ms + us // 1000 + 1) // self._part_ms
        while number <= last:
            share = self._share(now_ms, us, number)
            if share > 0:
                self._turn(number)
                self._used[number % _RING] += share
            number += 1

    def used_us(self, now_ms: int) -> int:
        """What counts against the limit now."""
        now_ms = self._not_before(now_ms)
        number = now_ms // self._part_ms
        self._turn(number)
        return self._sum(max(number, self._newest))

    def _not_before(self, now_ms: int) -> int:
        """The time to count with: a clock that steps back must not free airtime."""
        if self._begun and now_ms < self._part_ms * (self._newest - _AHEAD):
            return self._part_ms * self._newest
        return now_ms


class Budget:
    """What one transmitter may send on its channels, each (centre Hz, bandwidth Hz).

    `used_us` is what it may have sent in each band before the budget was made. Raises
    ForbiddenError for channels that the plan does not allow, or too few to hop over.
    """

    def __init__(self, plan: Plan, channels: tuple[tuple[int, int], ...], used_us: int = 0) -> None:
        if not channels:
            raise RangeError("no channel given")
        self.plan = plan
        self.channels = channels
        self.refused = 0
        if len(set(channels)) != len(channels):
            raise RangeError("a channel is given twice")
        bands = [plan.band(hz, bw_hz) for hz, bw_hz in channels]
        duty: dict[int, Window] = {}
        self._rules = []
        for band in bands:
            row = plan.bands.index(band)
            if band.hops > bands.count(band):
                raise ForbiddenError(
                    "%s: %d channels of %d to %d Hz must take turns, and %d are given; wider "
                    "channels may stay put where the plan has them"
                    % (plan.name, band.hops, band.bw_min_hz, band.bw_max_hz, bands.count(band))
                )
            if band.duty_permille and row not in duty:
                limit_us = 1000 * band.duty_permille * band.duty_s
                duty[row] = Window(limit_us, band.duty_s, used_us)
            busy = None
            if band.occupancy_us:
                busy = Window(band.occupancy_us, band.occupancy_s, used_us)
            self._rules.append((band.dwell_us, duty.get(row), busy))

    def wait_ms(self, now_ms: int, channel: int, us: int) -> int:
        """Return 0 when `us` may be sent now on `channels[channel]`, else the ms to wait.

        Raises ForbiddenError when the plan never allows it.
        """
        dwell_us, duty, busy = self._rules[channel]
        if dwell_us and us > dwell_us:
            self.refused += 1
            raise ForbiddenError(
                "%d us on the air: %s allows %d at a time; send fewer bytes or use a lower "
                "spreading factor" % (us, self.plan.name, dwell_us)
            )
        wait = 0
        if duty is not None:
            wait = duty.wait_ms(now_ms, us)
        if busy is not None:
            wait = max(wait, busy.wait_ms(now_ms, us))
        if wait:
            self.refused += 1
        return wait

    def spend(self, now_ms: int, channel: int, us: int) -> None:
        """Charge what is sent now. Raises ForbiddenError, and charges nothing, when the plan
        forbids it.
        """
        if self.wait_ms(now_ms, channel, us):
            raise ForbiddenError("the airtime budget of %s is used up" % self.plan.name)
        _dwell, duty, busy = self._rules[channel]
        if duty is not None:
            duty.spend(now_ms, us)
        if busy is not None:
            busy.spend(now_ms, us)
