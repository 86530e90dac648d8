"""The figures a planner asks for, from the exact power flow of every step.

Voltage unbalance factor VUF = |V2| / |V1| (negative over positive sequence). PVUR = largest
deviation of a phase voltage from the mean of the three, over that mean. EN 50160 looks at
10-minute values (root mean square, IEC 61000-4-30) and asks that 95 % of each week's stay
within the limit: 2 % for VUF, +-10 % for the supply voltage, which must besides stay within
+10 % and -15 % all the time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..feeder.model import A, Complex, Real
from .controllers import Trajectory
from .street import CHUNK, Street
from .thermal import Ageing, ageing

Single = NDArray[np.float32]
Progress = Callable[[int], None]

VUF_LIMIT = 0.02
VOLTAGE_BAND = 0.10
VOLTAGE_FLOOR = 0.15
"""No 10-minute voltage may be lower than rated by more."""
TEN_MINUTES = 600
WEEK = 7 * 86400


def sequence(v: Complex) -> tuple[Complex, Complex]:
    """Positive and negative sequence of phase voltages [..., 3]."""
    # A = -1/2 + j s and A^2 = -1/2 - j s: what they have in common is taken once.
    both = v[..., 0] - 0.5 * (v[..., 1] + v[..., 2])
    apart = (1j * A.imag) * (v[..., 1] - v[..., 2])
    return (both + apart) / 3, (both - apart) / 3


def vuf(v: Complex) -> Real:
    """Voltage unbalance factor, 0..1, of phase voltages [..., 3]."""
    positive, negative = sequence(v)
    return np.asarray(np.abs(negative) / np.abs(positive))


def pvur(magnitude: NDArray[np.floating]) -> Real:
    """Phase voltage unbalance rate, 0..1, of phase voltage magnitudes [..., 3]."""
    # Phase by phase: reductions over an axis of three take many times as long.
    one, two, three = (magnitude[..., p] for p in range(3))
    mean = (one + two + three) / 3
    apart = np.maximum(np.abs(one - mean), np.abs(two - mean))
    return np.asarray(np.maximum(apart, np.abs(three - mean)) / mean)


def ten_minute_rms(values: NDArray[np.floating], step_s: int) -> Real:
    """Root mean square over each whole 10 minutes: [T, ...] -> [T / n, ...].

    Steps longer than 10 minutes are taken as they are.
    """
    n = max(1, TEN_MINUTES // step_s)
    whole = len(values) // n * n
    square = np.asarray(values[:whole], dtype=float) ** 2
    return np.asarray(np.sqrt(square.reshape(-1, n, *values.shape[1:]).mean(axis=1)))


@dataclass(frozen=True)
class WeeklyTest:
    """The EN 50160 test: share of 10-minute values within the limit, per week and site."""

    share_within: Real
    """[weeks, sites], 0..1; the last week may be incomplete."""
    complete_weeks: int

    @property
    def passed(self) -> bool:
        """True if every week at every site has 95 % within the limit."""
        return bool((self.share_within >= 0.95).all())

    @property
    def sites_failed(self) -> int:
        """Number of sites that fail in any week."""
        return int((self.share_within < 0.95).any(axis=0).sum())


def weekly_test(within: NDArray[np.bool_], step_s: int) -> WeeklyTest:
    """Splits 10-minute verdicts [N, sites] of profiles at `step_s` into weeks. A last week shorter
    than a day joins the one before."""
    # A step that does not divide ten minutes gives the next shorter stretch of whole steps.
    per_week = round(WEEK / (step_s * max(1, TEN_MINUTES // step_s)))
    bounds = list(range(0, len(within), per_week)) or [0]
    if len(bounds) > 1 and len(within) - bounds[-1] < per_week / 7:
        bounds.pop()
    ends = [*bounds[1:], len(within)]
    shares = [within[a:b].mean(axis=0) for a, b in zip(bounds, ends, strict=True)]
    return WeeklyTest(np.array(shares), len(within) // per_week)


def duration_curve(values: NDArray[np.floating], points: int = 201) -> tuple[Real, Real]:
    """Share of time in percent, and the value exceeded for that share of time."""
    share = np.linspace(0, 100, points)
    return share, np.asarray(np.percentile(values, 100 - share))


@dataclass(frozen=True)
class Outcome:
    """One controller's full result over the study period (T steps, N ten-minute values)."""

    trajectory: Trajectory
    step_s: int
    phase_a: Single
    """Phase currents at the transformer, A, [T, 3]."""
    neutral_a: Single
    losses_w: Single
    load_w: Single
    vuf_worst: Single
    """VUF of the worst home's bus, [T]."""
    pvur_worst: Single
    vuf_10: Single
    """10-minute VUF at the transformer (column 0) and every home's bus, [N, 1 + H]."""
    volts_10: Single
    """10-minute voltage at every home's meter, [N, H]."""
    volts_low: Single
    volts_high: Single
    """Lowest and highest single-step voltage of each home, [H]."""
    hot_spot_c: Single | None
    ageing: Ageing | None


def judge(
    street: Street, trajectory: Trajectory, ambient_c: float, progress: Progress | None = None
) -> Outcome:
    """Runs the power flow over a whole trajectory, in blocks of whole ten minutes."""
    steps = len(trajectory.phases)
    n10 = max(1, TEN_MINUTES // street.step_s)
    block = CHUNK // n10 * n10
    parts: list[tuple[Single, ...]] = []
    tens: list[tuple[Single, Single]] = []
    low = np.full(street.feeder.n_homes, np.inf)
    high = np.full(street.feeder.n_homes, -np.inf)
    for a in range(0, steps, block):
        b = min(a + block, steps)
        flow = street.flow.solve(street.power(a, b), trajectory.phases[a:b])
        home_vuf = vuf(flow.bus_voltage)
        home_pvur = pvur(np.abs(flow.bus_voltage))
        everywhere = np.column_stack([vuf(flow.lv_voltage), home_vuf])
        parts.append(
            (
                np.abs(flow.lv_current).astype(np.float32),
                np.abs(flow.neutral).astype(np.float32),
                flow.losses_w.astype(np.float32),
                flow.load_w.astype(np.float32),
                home_vuf.max(axis=1).astype(np.float32),
                home_pvur.max(axis=1).astype(np.float32),
            )
        )
        tens.append(
            (
                ten_minute_rms(everywhere, street.step_s).astype(np.float32),
                ten_minute_rms(flow.home_voltage, street.step_s).astype(np.float32),
            )
        )
        low = np.minimum(low, flow.home_voltage.min(axis=0))
        high = np.maximum(high, flow.home_voltage.max(axis=0))
        if progress is not None:
            progress(b - a)
    series = [np.concatenate(column) for column in zip(*parts, strict=True)]
    phase_a = series[0]
    rated = street.feeder.transformer.rated_current_a
    age, hot = (None, None) if rated <= 0 else ageing(phase_a, rated, street.step_s, ambient_c)
    return Outcome(
        trajectory=trajectory,
        step_s=street.step_s,
        phase_a=phase_a,
        neutral_a=series[1],
        losses_w=series[2],
        load_w=series[3],
        vuf_worst=series[4],
        pvur_worst=series[5],
        vuf_10=np.concatenate([t[0] for t in tens]),
        volts_10=np.concatenate([t[1] for t in tens]),
        volts_low=low.astype(np.float32),
        volts_high=high.astype(np.float32),
        hot_spot_c=None if hot is None else hot.astype(np.float32),
        ageing=age,
    )


def _mean(values: NDArray[np.floating]) -> float:
    return float(np.mean(values, dtype=np.float64))


def summarise(
    outcome: Outcome, base: Outcome, street: Street, relays: NDArray[np.bool_], tariff: float
) -> dict[str, Any]:
    """The figures of one controller, and how far they are from `base` (as built)."""
    days = len(outcome.neutral_a) * outcome.step_s / 86400
    hours = outcome.step_s / 3600
    of_homes = outcome.trajectory.switchings()
    # Homes of a shared cable are moved by one relay, at once.
    count, relays = of_homes[street.feeder.first_at], relays[street.feeder.first_at]
    allowed = relays if outcome.trajectory.name in ("pbal", "hindsight") else np.ones_like(relays)
    per_day = count[allowed] / days if allowed.any() else np.zeros(1)
    result: dict[str, Any] = {
        "title": outcome.trajectory.title,
        "neutral_a": {
            "mean": _mean(outcome.neutral_a),
            "rms": float(np.sqrt(_mean(outcome.neutral_a.astype(float) ** 2))),
            "p95": float(np.percentile(outcome.neutral_a, 95)),
            "max": float(outcome.neutral_a.max()),
            "cut": _cut(_mean(outcome.neutral_a), _mean(base.neutral_a)),
        },
        "phase_a": {
            "p99": [float(x) for x in np.percentile(outcome.phase_a, 99, axis=0)],
            "max": [float(x) for x in outcome.phase_a.max(axis=0)],
        },
        "peak_10min": _peak(outcome, street.feeder.transformer.rated_current_a),
        "switchings": {
            "per_home_per_day": float(per_day.mean()),
            "per_day": float(count.sum() / days),
            "total": int(count.sum()),
            "least_per_day": float(per_day.min()),
            "median_per_day": float(np.median(per_day)),
            "p90_per_day": float(np.percentile(per_day, 90)),
            "most_per_day": float(per_day.max()),
            "homes": [int(n) for n in of_homes],
        },
        "energy_kwh": _mean(outcome.load_w) * len(outcome.load_w) * hours / 1000,
        **outcome.trajectory.facts,
    }
    if street.feeder.exact:
        lost = _mean(outcome.losses_w) * len(outcome.losses_w) * hours / 1000
        lost_base = _mean(base.losses_w) * len(base.losses_w) * hours / 1000
        result["losses"] = {
            "kwh": lost,
            "share_of_energy": lost / result["energy_kwh"] if result["energy_kwh"] > 0 else None,
            "cut": _cut(lost, lost_base),
            "saved_kwh_per_year": (lost_base - lost) / days * 365,
            "cost": lost * tariff,
            "saved_per_year": (lost_base - lost) / days * 365 * tariff,
        }
        result["voltage"] = _voltage(outcome, street)
        result["vuf"] = _unbalance(outcome)
        result["pvur"] = {
            "mean": _mean(outcome.pvur_worst),
            "p95": float(np.percentile(outcome.pvur_worst, 95)),
            "max": float(outcome.pvur_worst.max()),
        }
    if outcome.ageing is not None and base.ageing is not None:
        result["transformer"] = {
            "peak_load": outcome.ageing.peak_load,
            "peak_hot_spot_c": outcome.ageing.peak_hot_spot_c,
            "life_used_h": outcome.ageing.life_used_h,
            "ageing_rate": outcome.ageing.relative_rate,
            "ageing_cut": _cut(outcome.ageing.life_used_h, base.ageing.life_used_h),
        }
    return result


def _peak(outcome: Outcome, rated_a: float) -> dict[str, Any]:
    """The highest 10-minute current of any phase, which decides whether a fuse blows, A; and as a
    share of the transformer's rating, None where that is not known."""
    tens: NDArray[np.floating] = outcome.phase_a
    if outcome.step_s < TEN_MINUTES <= len(tens) * outcome.step_s:
        tens = ten_minute_rms(tens, outcome.step_s)
    highest = float(tens.max())
    return {"phase_a": highest, "loading": highest / rated_a if rated_a > 0 else None}


def _cut(value: float, base: float) -> float:
    """Reduction against the base, 0..1; 0 where there is nothing to reduce."""
    return 1 - value / base if base > 0 else 0.0


def _voltage(outcome: Outcome, street: Street) -> dict[str, Any]:
    base = np.array([h.v_base for h in street.feeder.homes])
    ratio = outcome.volts_10 / base
    test = weekly_test(np.abs(ratio - 1) <= VOLTAGE_BAND, outcome.step_s)
    always = (ratio >= 1 - VOLTAGE_FLOOR) & (ratio <= 1 + VOLTAGE_BAND)
    failed = (test.share_within < 0.95).any(axis=0) | ~always.all(axis=0)
    low, high = int(np.argmin(outcome.volts_low)), int(np.argmax(outcome.volts_high))
    return {
        "min_v": float(outcome.volts_low[low]),
        "min_home": street.feeder.homes[low].name,
        "max_v": float(outcome.volts_high[high]),
        "max_home": street.feeder.homes[high].name,
        "en50160_passed": not bool(failed.any()),
        "en50160_homes_failed": int(failed.sum()),
        "share_outside_band": float((np.abs(ratio - 1) > VOLTAGE_BAND).mean()),
        "complete_weeks": test.complete_weeks,
    }


def _unbalance(outcome: Outcome) -> dict[str, Any]:
    test = weekly_test(outcome.vuf_10 <= VUF_LIMIT, outcome.step_s)
    p95 = np.percentile(outcome.vuf_10, 95, axis=0)
    return {
        "transformer_p95": float(p95[0]),
        "worst_home_p95": float(p95[1:].max()),
        "max_10min": float(outcome.vuf_10.max()),
        "en50160_passed": test.passed,
        "en50160_sites_failed": test.sites_failed,
        "worst_week_share_within": float(test.share_within.min()),
        "complete_weeks": test.complete_weeks,
    }
