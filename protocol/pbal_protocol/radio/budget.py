"""The airtime budget: what a plan allows one transmitter to send, and when. A node does with
window.py alone.

The caller asks `wait_ms`, sends, and calls `spend` with what it sent. Times are milliseconds of a
clock that does not go back; a transmission starts within the millisecond it was asked for. A
budget does not know what was sent before it was made: after a restart it is given what may have
been used.
"""

from pbal_protocol.errors import ForbiddenError, RangeError
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.window import Spent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pbal_protocol.radio.plans import Plan


class Window(Spent):
    """At most `limit_us` on the air in any `window_s`, and how long to wait."""

    def __init__(self, limit_us: int, window_s: int, used_us: int = 0) -> None:
        if not 0 < limit_us or not 0 < window_s <= 86400:
            raise RangeError("a limit of %r us in %r s" % (limit_us, window_s))
        super().__init__(limit_us, window_s, used_us)

    def spend(self, now_ms: int, us: int) -> None:
        """Charge a transmission that starts now. Raises ForbiddenError when it does not fit."""
        if not self.fits(now_ms, us):
            raise ForbiddenError("the airtime budget is used up")
        super().spend(now_ms, us)

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

    def used_us(self, now_ms: int) -> int:
        """What counts against the limit now."""
        now_ms = self._not_before(now_ms)
        number = now_ms // self._part_ms
        self._turn(number)
        return self._sum(max(number, self._newest))


def longest_bytes(plan: "Plan", channel: tuple[int, int], sf: int, most: int) -> int:
    """The longest frame, of at most `most` bytes, that may be sent at once on a channel (centre
    Hz, bandwidth Hz). Raises ForbiddenError for a channel that the plan does not allow.
    """
    dwell_us = plan.band(*channel).dwell_us
    while dwell_us and time_on_air_us(most, sf, channel[1]) > dwell_us:
        most -= 1
    return most


class Budget:
    """What one transmitter may send on its channels, each (centre Hz, bandwidth Hz).

    `used_us` is what it may have sent in each band before the budget was made. Raises
    ForbiddenError for channels that the plan does not allow, or too few to hop over.
    """

    def __init__(
        self, plan: "Plan", channels: tuple[tuple[int, int], ...], used_us: int = 0
    ) -> None:
        if not channels:
            raise RangeError("no channel given")
        self.region = plan.name  # nothing else of the plan is kept
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
                "spreading factor" % (us, self.region, dwell_us)
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
            raise ForbiddenError("the airtime budget of %s is used up" % self.region)
        _dwell, duty, busy = self._rules[channel]
        if duty is not None:
            duty.spend(now_ms, us)
        if busy is not None:
            busy.spend(now_ms, us)
