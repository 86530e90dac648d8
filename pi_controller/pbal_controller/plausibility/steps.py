"""Whether other measurements confirm a change of current that a home reports.

A step in one home's reports (a switching of the home is a step on two phases) must show

* at the transformer's meter, where there is one: both what left and what came must be seen;
* in the home's own voltage, beside the voltage that the other homes see on that phase.

Steps are judged over windows of six looks: two before, two after, and a step that is over in
between, so that readings of different age agree. Only windows count in which the home's own step is
most of what changed. Loads without a node step too, at any moment: readings of one look that were
taken before and after it differ. How much the other homes' voltages disagree on the change on a
phase bounds how well it is known. A verdict needs enough evidence:

* voltage: the mean of the last 3, 8 or 32 steps is beyond the limit by four standard errors;
* meter: the last K steps in a row were not seen. A load without a node may switch at the same time
  and hide a step; how often it does is counted over the other homes, and K is so large that this
  happens K times in a row with a probability of one in ten million.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LOOKS = 6
_STEP_A = 4.0
#: Of a step: how much the looks before, and those after, may differ; and all the others do.
_STEADY, _OTHERS = 0.2, 0.5
_COUNTS = (3, 8, 32)
_SIGMAS = 4.0
#: The meter must see at least half of the step that a home reports.
_FOLLOW = 0.5
#: No line drops more, ohm; 63 A would then drop all of the voltage.
_MOST_OHM = 2.0
#: What rounding and meters leave of a quiet window at least, A and V.
_LEAST_A, _LEAST_V = 0.25, 0.15
_NOISE = 240
_NOISE_MIN = 12
#: The lower quarter of a normal spread, in sigmas: switching loads do not count as noise.
_QUARTER_REAL = 0.319
#: The middle of the larger of three, and a step so many times larger is clear.
_MEDIAN_COMPLEX, _CLEAR = 1.2, 8.0
#: Steps in a row that the meter must have missed at least, and by chance; steps that are kept.
_LEAST_RUN, _RARE, _KEPT = 4, 1e-7, 64


@dataclass(frozen=True)
class Look:
    """Of all homes at one time; NaN where unknown.

    claimed: complex[n, 3] A, on the phase that the home reports, each in that phase's frame;
    v: float[n, 3] V; vout: float[n] V; meter: complex[3] A at the transformer, or None.
    """

    claimed: NDArray[np.complex128]
    v: NDArray[np.float64]
    vout: NDArray[np.float64]
    meter: NDArray[np.complex128] | None


class _Samples:
    """The last estimates of one quantity, each with its standard error."""

    def __init__(self) -> None:
        self._values: deque[tuple[float, float]] = deque(maxlen=_COUNTS[-1])

    def add(self, value: float, error: float) -> None:
        self._values.append((value, error))

    def spans(self) -> list[tuple[float, float]]:
        """(mean, standard error) of the last 3, 8, 32 that there are."""
        out = []
        for count in _COUNTS:
            if len(self._values) >= count:
                values = np.array(self._values)[-count:]
                weights = values[:, 1] ** -2
                mean = float((weights * values[:, 0]).sum() / weights.sum())
                out.append((mean, float(weights.sum() ** -0.5)))
        return out


class Steps:
    """Judges the steps of n homes. drop_floor_ohm: see docs/operations.md; 0 leaves it out."""

    def __init__(self, n: int, drop_floor_ohm: float) -> None:
        self._n = n
        self._floor = drop_floor_ohm
        self._looks: deque[Look] = deque(maxlen=_LOOKS)
        self._rest = np.zeros(n, np.int64)  # looks until a home's next window
        self._meter_noise: deque[float] = deque(maxlen=_NOISE)
        self._volt_noise: deque[float] = deque(maxlen=_NOISE)
        self.follow: list[deque[float]] = [deque(maxlen=_KEPT) for _ in range(n)]
        self.drop = [_Samples() for _ in range(n)]

    def forget(self, home: int) -> None:
        """Drop what is known of a home's steps; only the next ones count."""
        self.follow[home].clear()
        self.drop[home] = _Samples()

    def take(self, look: Look) -> dict[int, str]:
        """One more look; which homes' steps do not fit, and why."""
        self._looks.append(look)
        self._rest = np.maximum(self._rest - 1, 0)
        if len(self._looks) < _LOOKS:
            return {}
        claimed = np.array([each.claimed for each in self._looks])
        step = (claimed[4] + claimed[5] - claimed[0] - claimed[1]) / 2
        size = np.linalg.norm(step, axis=1)
        # The last reading of a home may be older than another's: one look more after the step.
        pairs = ((0, 1), (3, 4), (4, 5))
        wobble = np.max([np.abs(claimed[a] - claimed[b]).max(axis=1) for a, b in pairs], axis=0)
        with np.errstate(invalid="ignore"):
            stepped = (size >= _STEP_A) & (wobble <= _STEADY * size) & (self._rest == 0)
        seen = np.nan_to_num(step)
        total = np.abs(seen).sum()
        own = np.abs(seen).sum(axis=1)
        stepped &= total - own <= _OTHERS * own
        homes = np.flatnonzero(stepped)
        self._rest[homes] = _LOOKS - 1
        self._follow(homes, seen)
        self._drop(homes, seen, claimed)
        return self._verdicts(homes)

    def _follow(self, homes: NDArray[np.int64], step: NDArray[np.complex128]) -> None:
        seen = [each.meter for each in self._looks]
        first = [m for m in seen if m is not None]
        if len(first) < _LOOKS:
            return
        meter = np.array(first)
        change = (meter[4] + meter[5] - meter[0] - meter[1]) / 2
        if not np.isfinite(change).all():
            return
        left = change - step.sum(axis=0)
        self._meter_noise.append(float(np.abs(left).max()))
        if len(self._meter_noise) < _NOISE_MIN:
            return
        sigma = max(_LEAST_A, float(np.quantile(self._meter_noise, 0.5)) / _MEDIAN_COMPLEX)
        for home in homes:
            mine = step[home]
            square = float((np.abs(mine) ** 2).sum())
            if square < (_CLEAR * sigma) ** 2:
                continue
            share = float((mine.conj() * (left + mine)).real.sum()) / square
            self.follow[home].append(share)

    def _drop(
        self, homes: NDArray[np.int64], step: NDArray[np.complex128],
        claimed: NDArray[np.complex128],
    ) -> None:  # fmt: skip
        if not self._floor or self._n < 3:
            return
        v = np.array([each.v for each in self._looks])
        vout = np.array([each.vout for each in self._looks])
        common = (v[4] + v[5] - v[0] - v[1]) / 2
        own = (vout[4] + vout[5] - vout[0] - vout[1]) / 2
        on = (np.nan_to_num(claimed) != 0).any(axis=0)
        place = np.where(on.sum(axis=1) == 1, on.argmax(axis=1), -1)
        moved = np.abs(step).sum(axis=1)
        for home in range(self._n):
            k = int(place[home])
            if k < 0 or not np.isfinite(own[home]):
                continue
            others = np.delete(common[:, k], home)
            others = others[np.isfinite(others)]
            if len(others) < 2:
                continue
            middle = float(np.median(others))
            apart = float(own[home] - middle)
            if moved[home] < 1.0:
                self._volt_noise.append(abs(apart))
            elif home in homes and abs(step[home, k].real) >= _STEP_A:
                if len(self._volt_noise) < _NOISE_MIN:
                    continue
                quarter = float(np.quantile(self._volt_noise, 0.25))
                sigma = max(_LEAST_V, quarter / _QUARTER_REAL)
                error = max(sigma, _disagreement(others, middle))
                amps = float(step[home, k].real)
                self.drop[home].add(-apart / amps, error / abs(amps))

    def _verdicts(self, homes: NDArray[np.int64]) -> dict[int, str]:
        out: dict[int, str] = {}
        for home in homes.tolist():
            why = self._drop_verdict(home) or self._follow_verdict(home)
            if why:
                out[home] = why
        return out

    def _drop_verdict(self, home: int) -> str:
        for ohm, error in self.drop[home].spans():
            if ohm + _SIGMAS * error < self._floor or ohm - _SIGMAS * error > _MOST_OHM:
                return (
                    f"its voltage does not fit its current: {1000 * ohm:.0f} mohm by its steps, "
                    f"a line has {1000 * self._floor:.0f} mohm or more"
                )
        return ""

    def _follow_verdict(self, home: int) -> str:
        others = [share for h, list_ in enumerate(self.follow) if h != home for share in list_]
        missed = sum(share < _FOLLOW for share in others)
        # A meter with swapped phases confirms no home: it must have confirmed other homes.
        if len(others) - missed < _LEAST_RUN:
            return ""
        chance = (missed + 2.0) / (len(others) + 10.0)
        run = max(_LEAST_RUN, math.ceil(math.log(_RARE) / math.log(chance)))
        last = list(self.follow[home])[-run:]
        if len(last) < run or max(last) >= _FOLLOW:
            return ""
        return (
            f"the transformer's meter saw {100 * max(sum(last) / run, 0.0):.0f} % of its last "
            f"{run} changes"
        )


def _disagreement(others: NDArray[np.float64], middle: float) -> float:
    """How far the homes are apart on one change of voltage, V; one outlier among many does not
    count.
    """
    apart = np.sort(np.abs(others - middle))
    return float(apart[-2] if len(apart) > 3 else apart[-1])
