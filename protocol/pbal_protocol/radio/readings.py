"""Converts a compact reading back to a whole one, and decides which of the two is due. A node does
not need it.

What a compact reading leaves out comes with every n-th reading, which is then a Telemetry, or when
a TelemetryGet asks.
"""

import math

from pbal_protocol.errors import RangeError
from pbal_protocol.radio.compact import SAME
from pbal_protocol.radio.records import CompactTelemetry
from pbal_protocol.records import Telemetry

LEFT_OUT = ("q_var", "e_import_wh", "e_export_wh", "freq_hz")
_FLAG_UNSYNCED = 0x0010

EVERY = 20  # readings from one Telemetry to the next


def whole(short: CompactTelemetry, now_s: int, last: "Telemetry | None" = None) -> Telemetry:
    """Return the reading a compact one stands for, at site time `now_s`.

    What was left out is that of `last`, the home's latest Telemetry, or zero; of its reactive power
    no more than the current has room for beside the power, as the load may have become less. The
    whole second is the one nearest to `now_s` that ends in the same 16 bits, so it is right within
    nine hours.
    """
    out = Telemetry()
    for name in SAME:
        setattr(out, name, getattr(short, name))
    for name in LEFT_OUT:
        setattr(out, name, 0 if last is None else getattr(last, name))
    if short.flags & _FLAG_UNSYNCED:
        out.time_s = 0
    else:
        off = ((short.time_low_s - now_s + 0x8000) & 0xFFFF) - 0x8000
        out.time_s = max(0, now_s + off)
    out.p_w = short.p_kw * 1000
    apparent_va = out.vout_v * out.current_a
    room_var = math.sqrt(max(0.0, apparent_va**2 - out.p_w**2))
    # A little more is the same load, measured a moment apart and rounded.
    if abs(out.q_var) > room_var + 0.05 * apparent_va + 10:
        out.q_var = round(math.copysign(room_var, out.q_var))
    out.age_ms = round(short.age_s * 1000)
    out.dwell_left_s = short.dwell_left_min * 60
    return out


class Turns:
    """Whether the next reading is a whole one: the first, every n-th, and when asked."""

    def __init__(self, every: int = EVERY) -> None:
        self._left = 0
        self.every = EVERY
        self.ask(every)

    def ask(self, every: int = 0) -> None:
        """The next reading is whole; with `every`, from then on also one in every so many."""
        if not 0 <= every <= 255:
            raise RangeError("every %r readings: give 1 to 255, or 0 for no change" % every)
        if every:
            self.every = every
        self._left = 0

    def whole(self) -> bool:
        """Count one reading; True when it is a whole one."""
        if self._left <= 0:
            self._left = self.every - 1
            return True
        self._left -= 1
        return False

    def lost(self) -> None:
        """The whole reading that was just sent did not arrive: the next one is whole again."""
        self._left = 0
