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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

WARNING, ALARM = 1, 2
LOOK = 8
LIVE_S = 1200  # at least, also with short windows: live_s
_HALF_SAMPLED = 50


@dataclass(frozen=True)
class Window:
    """The fields of a summary that detectors use; units as there, None where not known."""

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


def window(row: Mapping[str, Any]) -> Window:
    """Of a row of the table summary, or of a message's fields with `start_at`."""

    def three(form: str) -> Any:
        return tuple(row[form.format(p)] for p in "abc")

    return Window(
        row["start_at"], row["complete_percent"], three("i{}_mean_a"), three("i{}_max_a"),
        row["load_max_percent"], row["hotspot_c"], three("v{}_min_v"), three("v{}_mean_v"),
        three("v{}_max_v"), row["homes"], row["homes_fresh"],
    )  # fmt: skip


def live_s(window_s: int) -> int:
    """How old the latest of a site's windows of this length may be while it reports live."""
    return max(LIVE_S, 3 * window_s)


@dataclass(frozen=True)
class Finding:
    """What is wrong, and its severity."""

    severity: int
    words: str


Detector = Callable[[Sequence[Window], bool], Finding | None]


def _last(windows: Sequence[Window], many: int) -> Sequence[Window] | None:
    """The last windows that can be used; None: not enough of them."""
    known = [w for w in windows if w.complete_percent >= _HALF_SAMPLED]
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
        return Finding(WARNING, "hot spot was above 120 °C; not known now") if is_open else None
    if hot < (110.0 if is_open else 120.0):
        return None
    return Finding(ALARM if hot >= 140 else WARNING, f"hot spot estimated at {hot:.0f} °C")


def phase_load(window: Window) -> float | None:
    """The largest phase's mean current, of the rated current, percent: the load of its largest
    second, scaled by mean to largest."""
    most = max(window.largest_a)
    if window.load_max_percent is None or most <= 0:
        return None
    return window.load_max_percent * max(window.means_a) / most


def phase_overload(windows: Sequence[Window], is_open: bool) -> Finding | None:
    """A phase above its rated current."""
    told = [phase_load(w) for w in windows if w.complete_percent >= _HALF_SAMPLED]
    load = _lasting(told, over=100.0, back=95.0, long=6, short=3, is_open=is_open)
    if load is None:
        return None
    return Finding(ALARM if load > 130 else WARNING, f"a phase at {load:.0f} % of rated current")


def _known(values: Sequence[float | None]) -> list[float]:
    return [v for v in values if v is not None]


def voltage(windows: Sequence[Window], is_open: bool) -> Finding | None:
    """A home outside of the band."""
    seen = _last(windows, 3)
    if seen is None:
        return Finding(WARNING, "voltage was out of the band") if is_open else None
    low, high = (209.0, 251.0) if is_open else (207.0, 253.0)
    lows = [min(_known(w.lows_v), default=None) for w in seen]
    highs = [max(_known(w.highs_v), default=None) for w in seen]
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
    apart = [
        max(w.means_v) - min(w.means_v)  # type: ignore[type-var,operator]
        for w in windows
        if w.complete_percent >= _HALF_SAMPLED and None not in w.means_v
    ]
    found = _lasting(apart, over=20.0, back=12.0, long=2, short=2, is_open=is_open)
    if found is None:
        return None
    return Finding(ALARM, f"phase voltages {found:.0f} V apart: look at the neutral")


def stale_homes(windows: Sequence[Window], is_open: bool) -> Finding | None:
    """Too few homes whose reading is fresh."""
    stale = [100 - 100 * w.homes_fresh / w.homes for w in windows if w.homes]
    found = _lasting(stale, over=20.0, back=10.001, long=6, short=3, is_open=is_open)
    if found is None:
        return None
    return Finding(WARNING, f"{found:.0f} % of homes without a fresh reading")


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
