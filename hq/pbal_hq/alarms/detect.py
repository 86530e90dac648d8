"""Detectors: pure functions over a transformer's last windows, with hysteresis.

Each is given the last LOOK windows of a site, oldest first, and whether its alarm is open; it
returns what is wrong, or None. It raises only when all of its windows agree, and an open alarm ends
only when all of fewer, later windows are well inside, so a value at the limit raises once. A window
with less than half of its seconds sampled is not used. Windows are of five minutes; with longer
ones the same counts take longer. docs/hq-portal.md (Alarms) has the table of limits.

Sources: 120 and 140 °C are the limits of IEC 60076-7:2018, Table 2, for normal cyclic and long-time
emergency loading of distribution transformers. 207..253 V and 195.5 V are 230 V +-10 % and -15 %,
EN 50160, 4.2.2, there for means of 10 min; here they are the extremes of the homes, which is
stricter. A neutral that parts lets the phase voltages drift apart by their loads; 20 V is a choice.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

WARNING, ALARM = 1, 2
LOOK = 8
LIVE_S = 1200  # at least, also with short windows: live_s
_HALF_SAMPLED = 50


@dataclass(frozen=True)
class Window:
    """The fields of a summary that detectors use; units as there, None where not known.

    A window is looked at by each detector as long as it is among the last LOOK: what they ask of it
    is worked out once.
    """

    start_at: datetime
    complete_percent: int
    means_a: tuple[float, float, float]
    largest_a: tuple[float, float, float]
    load_max_percent: float | None
    hotspot_c: float | None
    lows_v: tuple[float | None, float | None, float | None]
    means_v: tuple[float | None, float | None, float | None]
    highs_v: tuple[float | None, float | None, float | None]
    homes: int
    homes_fresh: int

    #: Whether half of its seconds were sampled.
    is_usable: bool = field(init=False, repr=False, compare=False)
    #: At any home.
    lowest_v: float | None = field(init=False, repr=False, compare=False)
    highest_v: float | None = field(init=False, repr=False, compare=False)
    #: Between the means of two phases, at most.
    apart_v: float | None = field(init=False, repr=False, compare=False)
    #: The largest phase's mean current, of the rated current, percent: the load of its largest
    #: second, scaled by mean to largest.
    phase_load: float | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        means, most = _known(self.means_v), max(self.largest_a)
        load = self.load_max_percent
        vars(self).update(
            is_usable=self.complete_percent >= _HALF_SAMPLED,
            lowest_v=min(_known(self.lows_v), default=None),
            highest_v=max(_known(self.highs_v), default=None),
            apart_v=max(means) - min(means) if len(means) == len(self.means_v) else None,
            phase_load=None if load is None or most <= 0 else load * max(self.means_a) / most,
        )


def _known(values: Sequence[float | None]) -> list[float]:
    return [v for v in values if v is not None]


def _any_known(values: Sequence[float | None]) -> bool:
    return any(v is not None for v in values)


_pick = operator.itemgetter(
    "complete_percent", "ia_mean_a", "ib_mean_a", "ic_mean_a", "ia_max_a", "ib_max_a", "ic_max_a",
    "load_max_percent", "hotspot_c", "va_min_v", "vb_min_v", "vc_min_v", "va_mean_v", "vb_mean_v",
    "vc_mean_v", "va_max_v", "vb_max_v", "vc_max_v", "homes", "homes_fresh",
)  # fmt: skip


def window(row: Mapping[str, Any], start_at: datetime) -> Window:
    """Of a row of the table summary, or of a message's fields."""
    (complete, a, b, c, most_a, most_b, most_c, load, hot, low_a, low_b, low_c,
     va, vb, vc, high_a, high_b, high_c, homes, fresh) = _pick(row)  # fmt: skip
    return Window(
        start_at, complete, (a, b, c), (most_a, most_b, most_c), load, hot, (low_a, low_b, low_c),
        (va, vb, vc), (high_a, high_b, high_c), homes, fresh,
    )  # fmt: skip


def live_s(window_s: int) -> int:
    """How old the latest of a site's windows of this length may be while it reports live."""
    return max(LIVE_S, 3 * window_s)


@dataclass(frozen=True)
class Finding:
    """What is wrong, and its severity. `is_known` is false where an open alarm stays open only
    because what it is about is not known now."""

    severity: int
    words: str
    is_known: bool = True


Detector = Callable[[Sequence[Window], bool], Finding | None]


def _last(windows: Sequence[Window], many: int) -> Sequence[Window] | None:
    """The last windows that can be used; None: not enough of them."""
    known = [w for w in windows if w.is_usable]
    return known[-many:] if len(known) >= many else None


def _lasting(
    values: Sequence[float | None], *, over: float, back: float, long: int, short: int,
    is_open: bool,
) -> float | None:  # fmt: skip
    """The least of the last `long` values if all are above `over`; while open, the last one until
    the last `short` are all below `back`. None: no finding."""
    known = [v for v in values if v is not None]
    if is_open:
        last = known[-short:]
        return None if len(last) == short and max(last) < back else (known[-1] if known else over)
    last = known[-long:]
    return min(last) if len(last) == long and min(last) > over else None


def thermal_overload(windows: Sequence[Window], is_open: bool) -> Finding | None:
    """The hottest spot of the winding, by the site's model."""
    seen = _last(windows, 1)
    hot = None if seen is None else seen[-1].hotspot_c
    if hot is None:
        words = "hot spot was above 120 °C; not known now"
        return Finding(WARNING, words, is_known=False) if is_open else None
    if hot < (110.0 if is_open else 120.0):
        return None
    return Finding(ALARM if hot >= 140 else WARNING, f"hot spot estimated at {hot:.0f} °C")


def phase_overload(windows: Sequence[Window], is_open: bool) -> Finding | None:
    """A phase above its rated current."""
    told = [w.phase_load for w in windows if w.is_usable]
    load = _lasting(told, over=100.0, back=95.0, long=6, short=3, is_open=is_open)
    if load is None:
        return None
    words = f"a phase at {load:.0f} % of rated current"
    return Finding(ALARM if load > 130 else WARNING, words, _any_known(told))


def voltage(windows: Sequence[Window], is_open: bool) -> Finding | None:
    """A home outside of the band."""
    seen = _last(windows, 3)
    if seen is None:
        words = "voltage was out of the band"
        return Finding(WARNING, words, is_known=False) if is_open else None
    low, high = (209.0, 251.0) if is_open else (207.0, 253.0)
    lows = [w.lowest_v for w in seen]
    highs = [w.highest_v for w in seen]
    wrong = [
        (a is not None and a < low) or (b is not None and b > high)
        for a, b in zip(lows, highs, strict=True)
    ]
    if not (any(wrong) if is_open else all(wrong)):
        return None
    least, most = min(_known(lows), default=low), max(_known(highs), default=high)
    words = f"homes between {least:.0f} and {most:.0f} V"
    return Finding(ALARM if least < 195.5 else WARNING, words)


def neutral(windows: Sequence[Window], is_open: bool) -> Finding | None:
    """The phases' mean voltages apart, as when the neutral has parted."""
    apart = [w.apart_v for w in windows if w.is_usable]
    found = _lasting(apart, over=20.0, back=12.0, long=2, short=2, is_open=is_open)
    if found is None:
        return None
    words = f"phase voltages {found:.0f} V apart: look at the neutral"
    return Finding(ALARM, words, _any_known(apart))


def stale_homes(windows: Sequence[Window], is_open: bool) -> Finding | None:
    """Too few homes whose reading is fresh."""
    stale = [100 - 100 * w.homes_fresh / w.homes for w in windows if w.homes]
    found = _lasting(stale, over=20.0, back=10.001, long=6, short=3, is_open=is_open)
    if found is None:
        return None
    return Finding(WARNING, f"{found:.0f} % of homes without a fresh reading", _any_known(stale))


# What raises an alarm also keeps one open, so where none would be kept open none is raised.
DETECTORS: Mapping[str, Detector] = {
    "thermal overload": thermal_overload,
    "phase overload": phase_overload,
    "voltage": voltage,
    "neutral": neutral,
    "stale homes": stale_homes,
}
SILENCE = "silence"
KINDS = [*DETECTORS, SILENCE]


def silence(
    seen_at: datetime | None, now: datetime, window_s: int, newest_of_all: datetime | None
) -> Finding | None:
    """Nothing from a site. `newest_of_all`: when anything came from any site; where that is long
    ago, the fault is at HQ."""
    limit = timedelta(seconds=live_s(window_s))
    if seen_at is None or now - seen_at < limit:
        return None
    if newest_of_all is None or now - newest_of_all > timedelta(minutes=5):
        return None
    minutes = (now - seen_at).total_seconds() / 60
    return Finding(ALARM if minutes > 180 else WARNING, f"nothing heard for {minutes:.0f} min")
