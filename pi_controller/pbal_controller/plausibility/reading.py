"""What is impossible in one reading, or one home's readings over time: checks without other homes.

Each check returns in words what is impossible, or nothing. Times are monotonic seconds.
"""

from __future__ import annotations

import math

from pbal_protocol import records as r

#: No mains gives more; a line-to-line voltage is 400 V.
_MOST_V = 300.0
_DEAD_V = 50.0
#: Power against voltage times current: relative errors and rounding of the worst meter, W and VA.
_POWER_SHARE, _POWER_W = 1.15, 60.0
_APPARENT_SHARE, _APPARENT_VA = 1.25, 100.0
#: The output is wired to one of the supplies; two sensors of a board may differ by so much.
_OUTPUT_V = 25.0
#: So many times its rated current a fuse carries for so many seconds and no longer; slower than
#: any gG fuse by IEC 60269-1, whose 63 A link blows within 5 s at 320 A and an hour at 101 A.
FUSE_CURVE = ((5.1, 5.0), (3.0, 60.0), (2.0, 300.0), (1.6, 3600.0))
#: The counter and the power may differ by this share and this much, over so long.
_ENERGY_SHARE, _ENERGY_WH, _ENERGY_S = 0.3, 50.0, 900.0
_ENERGY_GAP_S = 30.0


def contradiction(t: r.Telemetry) -> str:
    """Which values of one reading contradict each other; empty when none do."""
    for name, volts in (("A", t.va_v), ("B", t.vb_v), ("C", t.vc_v), ("the output", t.vout_v)):
        if not 0 <= volts <= _MOST_V:
            return f"{volts:.0f} V at {name} is no mains voltage"
    if t.vout_v < _DEAD_V:
        return ""
    product = t.vout_v * abs(t.current_a)
    if abs(t.p_w) > _POWER_SHARE * product + _POWER_W:
        return f"{t.p_w:.0f} W do not fit {t.vout_v:.0f} V and {t.current_a:.1f} A"
    if math.hypot(t.p_w, t.q_var) > _APPARENT_SHARE * product + _APPARENT_VA:
        return (
            f"{t.p_w:.0f} W with {t.q_var:.0f} var do not fit {t.vout_v:.0f} V and "
            f"{t.current_a:.1f} A"
        )
    if t.state == r.STATE_CLOSED and t.phase in (1, 2, 3):
        supply = (t.va_v, t.vb_v, t.vc_v)[t.phase - 1]
        if abs(t.vout_v - supply) > _OUTPUT_V:
            return (
                f"{t.vout_v:.0f} V at the output on phase {'ABC'[t.phase - 1]}, which has "
                f"{supply:.0f} V"
            )
    return ""


def claimed_a(t: r.Telemetry) -> float:
    """The largest current that a reading implies, A."""
    by_power = math.hypot(t.p_w, t.q_var) / t.vout_v if t.vout_v >= _DEAD_V else 0.0
    return max(abs(t.current_a), by_power)


class Fuse:
    """One home's service fuse: for how long it has carried how much."""

    def __init__(self, rated_a: float) -> None:
        self._rated_a = rated_a
        self._since = [math.inf] * len(FUSE_CURVE)

    def forget(self) -> None:
        """Nothing is known of the time since the last reading."""
        self._since = [math.inf] * len(FUSE_CURVE)

    def blown(self, now: float, amps: float) -> str:
        """Why the fuse cannot have carried this; empty when it can."""
        for index, (times, seconds) in enumerate(FUSE_CURVE):
            if amps <= times * self._rated_a:
                self._since[index] = math.inf
                continue
            self._since[index] = min(self._since[index], now)
            if now - self._since[index] >= seconds:
                return (
                    f"{amps:.0f} A: a fuse of {self._rated_a:g} A blows when it carries more than "
                    f"{times * self._rated_a:.0f} A for {seconds:.0f} s (home.fuse_a)"
                )
        return ""


class Energy:
    """One home's energy counter beside the sum of its power."""

    def __init__(self) -> None:
        self._began = self._last = -math.inf
        self._count_wh = 0
        self._sum_wh = 0.0
        self._power_w = 0.0
        self._misfits = 0

    def differs(self, now: float, t: r.Telemetry) -> str:
        """Why the counter does not fit the power, over two windows in a row; empty if it does."""
        count = int(t.e_import_wh) + int(t.e_export_wh)
        power = abs(t.p_w)
        if now - self._last > _ENERGY_GAP_S or count < self._count_wh:
            self._began, self._count_wh, self._sum_wh, self._misfits = now, count, 0.0, 0
        else:
            self._sum_wh += 0.5 * (power + self._power_w) * (now - self._last) / 3600
        self._last, self._power_w = now, power
        if now - self._began < _ENERGY_S:
            return ""
        counted, summed = count - self._count_wh, self._sum_wh
        self._began, self._count_wh, self._sum_wh = now, count, 0.0
        if abs(counted - summed) <= _ENERGY_SHARE * max(counted, summed) + _ENERGY_WH:
            self._misfits = 0
            return ""
        self._misfits += 1
        if self._misfits < 2:
            return ""
        return f"its counter gained {counted} Wh while its power made {summed:.0f} Wh"
