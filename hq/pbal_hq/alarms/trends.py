"""Detectors of what changes slowly: pure functions over a transformer's last hours and days.

Each is given the Past of one transformer and whether its alarm is open; it returns what is wrong,
or None. docs/hq-portal.md (Alarms) has formulas, limits and how often each raises on normal data
(`python -m bench.false_alarms`).

The figures before are compared by median and by the median absolute deviation (MAD), times 1.4826
the standard deviation of a normal distribution (Rousseeuw and Croux 1993, JASA 88, 1273): one odd
day moves neither. A change that stays for five weeks is the usual level from then on.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pbal_hq.alarms.band import WEEK, Band
from pbal_hq.alarms.detect import ALARM, WARNING, Finding

HOUR_S, DAY_S = 3600.0, 86_400.0
WEAR_DAYS = 30
RECENT_DAYS, BEFORE_DAYS = 7, 28
_MAD_TO_SIGMA = 1.4826
PHASES = "ABC"


@dataclass(frozen=True)
class Hour:
    """One hour's sums: means in A; `link_percent`: the worst link's worst window, None where no
    link was counted."""

    sampled_s: float
    means_a: tuple[float, float, float]
    neutral_a: float
    link_percent: float | None


@dataclass(frozen=True)
class Day:
    """One day's sums (UTC): means in A and V, the homes' energies in kWh."""

    sampled_s: float
    means_a: tuple[float, float, float]
    neutral_a: float
    means_v: tuple[float | None, float | None, float | None]
    import_kwh: float
    export_kwh: float


@dataclass(frozen=True)
class Past:
    """What the detectors look at, oldest first.

    hours : the last 24 full hours. week_before : the same hours a week earlier.
    days : the last RECENT_DAYS + BEFORE_DAYS full days; None for a day without data.
    runs : the planner moves homes. metered : the transformer has a meter of its own.
    worst_home : (address, switchings in the last WEAR_DAYS days) of the home with most.
    plan_per_day : switchings a day that a home's relays are planned for.
    band : the voltages of the last 7 days; None where no home left the band for a moment.
    """

    hours: Sequence[Hour] = ()
    week_before: Sequence[Hour] = ()
    days: Sequence[Day | None] = ()
    runs: bool = False
    metered: bool = False
    worst_home: tuple[int, int] | None = None
    plan_per_day: float = 3.0
    band: Band | None = None


Trend = Callable[[Past, bool], Finding | None]


def lasting_imbalance(past: Past, is_open: bool) -> Finding | None:
    """One phase carries more than its share through a day, though pbal moves homes: what is left
    has to be rewired. The phase with the largest mean over the hours with 10 A a phase: how far it
    is above the mean of the three, and in how many of these hours it is the largest."""
    known = [h for h in past.hours if h.sampled_s >= HOUR_S / 2 and sum(h.means_a) >= 30]
    if not past.runs or len(known) < 12:
        return Finding(WARNING, "imbalance that lasts; too little data now") if is_open else None
    mean = [statistics.fmean(h.means_a[k] for h in known) for k in range(3)]
    high, low = max(range(3), key=mean.__getitem__), min(range(3), key=mean.__getitem__)
    above = 3 * mean[high] / sum(mean) - 1
    most = [h for h in known if h.means_a[high] == max(h.means_a)]
    least_above, least_share = (0.15, 0.5) if is_open else (0.25, 0.75)
    if above < least_above or len(most) / len(known) < least_share:
        return None
    return Finding(
        WARNING,
        f"phase {PHASES[high]} {100 * above:.0f} % above the mean, the largest in {len(most)} of"
        f" {len(known)} h although homes are moved: rewire {(mean[high] - mean[low]) / 2:.0f} A"
        f" from {PHASES[high]} to {PHASES[low]}",
    )


def _link(hours: Sequence[Hour]) -> float | None:
    known = [h.link_percent for h in hours if h.link_percent is not None]
    return statistics.median(known) if len(known) >= 12 else None


def falling_link(past: Past, is_open: bool) -> Finding | None:
    """The worst link: the median over a day of each hour's worst window, against a week before."""
    now, before = _link(past.hours), _link(past.week_before)
    if now is None:
        return Finding(WARNING, "links were poor; too little data now") if is_open else None
    fell = before is not None and now < before - (2 if is_open else 5)
    poor, good = (85, 96) if is_open else (80, 95)
    if now >= poor and not (now < good and fell):
        return None
    words = "" if before is None else f", {before:.0f} % a week before"
    return Finding(ALARM if now < 50 else WARNING, f"{now:.0f} % of polls answered{words}")


def relay_wear(past: Past, is_open: bool) -> Finding | None:
    """The home that is switched most, against the plan. Above 1.5 times the plan and three
    standard deviations of a Poisson count."""
    if past.worst_home is None:
        return None
    address, count = past.worst_home
    plan = WEAR_DAYS * past.plan_per_day
    limit = 1.2 * plan if is_open else 1.5 * plan + 3 * math.sqrt(plan)
    if count <= limit:
        return None
    words = (
        f"home {address} was switched {count} times in {WEAR_DAYS} days,"
        f" {count / WEAR_DAYS:.1f} a day; planned are {past.plan_per_day:g}"
    )
    return Finding(ALARM if count > 3 * plan else WARNING, words)


def loss_ratio(day: Day) -> float | None:
    """Losses in winding and main line of equal resistance in phases and neutral, against those of
    the same current shared by three phases: (Ia^2 + Ib^2 + Ic^2 + In^2) / 3 I^2 of the day's means.
    1: balanced. None below 3 A or half a day."""
    mean = sum(day.means_a) / 3
    if day.sampled_s < DAY_S / 2 or mean < 3:
        return None
    return (sum(i * i for i in day.means_a) + day.neutral_a**2) / (3 * mean * mean)


def homes_share(day: Day) -> float | None:
    """The homes' energy, of the apparent energy through the transformer's meter (kWh / kVAh).

    About the power factor, less what is not metered: its level says little, its fall much. None
    without a voltage, below 10 kVAh, or where homes fed in more than a twentieth."""
    if day.sampled_s < DAY_S / 2 or None in day.means_v:
        return None
    pairs = zip(day.means_a, day.means_v, strict=True)
    apparent_kvah = sum(i * v for i, v in pairs if v is not None) * day.sampled_s / 3.6e6
    if apparent_kvah < 10 or day.export_kwh > 0.05 * day.import_kwh:
        return None
    return (day.import_kwh - day.export_kwh) / apparent_kvah


def _against(
    values: Sequence[float | None], recent: int
) -> tuple[list[float], float, float] | None:
    """(the last `recent` days' known values, median and standard deviation of those before)."""
    before = [v for v in values[:-RECENT_DAYS] if v is not None]
    last = [v for v in values[-recent:] if v is not None]
    if len(before) < BEFORE_DAYS // 2 or len(last) < recent - 2:
        return None
    middle = statistics.median(before)
    spread = statistics.median(abs(v - middle) for v in before)
    return last, middle, _MAD_TO_SIGMA * spread


def rising_losses(past: Past, is_open: bool) -> Finding | None:
    """The loss ratio's median over a week, against the four weeks before."""
    found = _against([loss_ratio(d) if d else None for d in past.days], RECENT_DAYS)
    if found is None:
        return Finding(WARNING, "losses were rising; too little data now") if is_open else None
    last, middle, sigma = found
    rise, limit = statistics.median(last) - middle, max(0.10, 3 * sigma)
    if rise <= (limit / 2 if is_open else limit):
        return None
    words = (
        f"losses by imbalance {100 * rise / middle:.0f} % above the four weeks before:"
        f" {middle + rise:.2f} times those of balanced phases"
    )
    return Finding(WARNING, words)


def residual_energy(past: Past, is_open: bool) -> Finding | None:
    """What the homes' meters tell of what the transformer's meter carries, each of the last three
    days, against the four weeks before."""
    if not past.metered:
        return None
    found = _against([homes_share(d) if d else None for d in past.days], 3)
    if found is None or len(found[0]) < (1 if is_open else 3):
        return Finding(WARNING, "energy was missing; too little data now") if is_open else None
    last, middle, sigma = found
    limit = max(0.08, 4 * sigma)
    fall = middle - max(last)
    if fall <= (limit / 2 if is_open else limit):
        return None
    words = (
        f"homes' meters tell {100 * fall:.0f} points less of what the transformer carries than"
        " in the four weeks before: theft, a bypass or a load without a meter"
    )
    return Finding(ALARM if fall > 0.25 else WARNING, words)


def voltage_week(past: Past, is_open: bool) -> Finding | None:
    """The limits of EN 50160 for a week, where they are surely broken (band.py)."""
    band = past.band
    if band is None:
        return None
    if band.known < WEEK / 2:
        words = "voltage was out of the band; too little data now"
        return Finding(WARNING, words) if is_open else None
    outside = 100 - band.most_percent
    if outside <= (4.0 if is_open else 5.0) and not band.far:
        return None
    words = (
        f"10-minute means outside 207 to 253 V in at least {outside:.1f} % of 7 days, {band.far} of"
        " them below 195.5 or above 253 V; EN 50160 allows 5 % and none"
    )
    return Finding(ALARM if band.far else WARNING, words)


TRENDS: Mapping[str, Trend] = {
    "lasting imbalance": lasting_imbalance,
    "link quality": falling_link,
    "relay wear": relay_wear,
    "rising losses": rising_losses,
    "residual energy": residual_energy,
    "voltage of a week": voltage_week,
}
