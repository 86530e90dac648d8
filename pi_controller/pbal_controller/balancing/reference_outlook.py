"""A NumPy reference of `_outlook`, written for clarity: same functions, same tests; slow.

Steps are followed home by home here as there; what is done for all homes at once is so in NumPy.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Complex = NDArray[np.complex128]
Mask = NDArray[np.bool_]


def take(
    time_s: float,
    amps: Complex,
    most_a: float,
    lag_s: float,
    last: Complex,
    recent: Complex,
    seen_s: Floats,
) -> Mask:
    """Last readings and means of the recent past; returns what is known, bool[n]."""
    with np.errstate(over="ignore", invalid="ignore"):
        known = np.asarray(np.abs(amps) <= most_a)  # neither is NaN
    new = -np.expm1(-(time_s - seen_s[known]) / lag_s)
    recent[known] += new * (amps[known] - recent[known])
    last[known] = amps[known]
    seen_s[known] = time_s
    return known


def lasting(
    fade: float,
    spent_h: float,
    typical: float,
    amps: Complex,
    known: Mask,
    total: Complex,
    weight: Floats,
) -> None:
    """Sums of currents and of typical currents over the past, faded."""
    total *= fade
    weight *= fade
    total[known] += spent_h * amps[known]
    weight[known] += spent_h * typical


def currents(
    levels: Floats,
    level: Floats,
    now: Complex,
    recent: Complex,
    known: Mask,
    share: Floats,
    steps: float,
) -> Complex:
    """Forecast levels float64[k, n] A as currents: complex[k, n]."""
    leans = now.real > 0.2 * np.abs(now)
    lean = np.divide(now, now.real, out=np.ones(len(now), complex), where=leans)
    ahead = now + np.where(known, levels - level, 0.0) * lean * steps
    ahead += np.where(known, recent - ahead, 0.0) * share[:, None]
    return np.asarray(ahead)


class Steps:
    """The steps of n homes as `persistence.Persistence` holds them, and the edges of classes."""

    def __init__(
        self,
        steps: tuple[Floats, Floats, Floats, Floats, Floats],
        counts: tuple[NDArray[np.float32], NDArray[np.float32]],
        edges: tuple[Floats, Floats, NDArray[np.int64], Floats],
        step_a: float,
    ) -> None:
        self.size, self.born_s, self.level, self.lowest, self.seen_s = steps
        self.ends, self.watched = counts
        self.sizes, self.ages, self.bins, self.widths = edges
        self.step_a = step_a

    def follow(self, time_s: float, amps: Floats, longest_min: float, half_min: float) -> None:
        """One reading of every home, NaN where unknown."""
        known = np.isfinite(amps)
        minutes = np.clip((time_s - self.seen_s) / 60.0, 0.0, longest_min)
        home, slot = np.nonzero((self.size > 0) & known[:, None])
        spent = minutes[home]
        age = (time_s - self.born_s[home, slot]) / 60.0
        kind = np.searchsorted(self.sizes, self.size[home, slot])
        where = (home, kind, self._bin(age - 0.5 * spent))
        np.add.at(self.watched, where, spent.astype(np.float32))
        before = np.where(np.isnan(self.level), 0.0, self.level)
        delta = np.where(known, amps - self.level, np.nan)
        for h in np.flatnonzero(np.abs(delta) > np.maximum(self.step_a, 0.04 * before)).tolist():
            if delta[h] > 0:
                slot = self.size[h].argmin()  # a free one, or the smallest is replaced
                self.size[h, slot], self.born_s[h, slot] = delta[h], time_s
            else:
                self._fall(h, time_s, float(-delta[h]), half_min)
        self.level[known] = amps[known]
        level = np.where(np.isnan(self.level), 0.0, self.level)
        # A home with solar generation may have a base below zero; others not.
        self.lowest[:] = np.minimum(self.lowest * (1.0 - 1e-4 * minutes), level)
        over = self.size.sum(axis=1) - level + self.lowest
        for h in np.flatnonzero(over > self.step_a).tolist():
            self._shrink(h, float(over[h]))
        self.seen_s[known] = time_s

    def _bin(self, age_min: Floats) -> NDArray[np.int64]:
        """Age bins; a negative age counts as new."""
        whole = np.minimum(np.maximum(age_min, 0.0), self.ages[-1]).astype(np.intp)
        return np.asarray(self.bins[whole])

    def _fall(self, h: int, time_s: float, by: float, half_min: float) -> None:
        size = self.size[h].tolist()
        on = [k for k, one in enumerate(size) if one > 0]
        if not on:
            return
        best = min(on, key=lambda k: abs(size[k] - by))
        if abs(size[best] - by) <= max(self.step_a, 0.12 * by):
            return self._end(h, best, time_s, half_min)
        for i, a in enumerate(on):
            for b in on[i + 1 :]:
                if abs(size[a] + size[b] - by) <= max(self.step_a, 0.08 * by):
                    self._end(h, a, time_s, half_min)
                    return self._end(h, b, time_s, half_min)
        bigger = [k for k in on if size[k] > by]
        if bigger:  # part of a step ended: the rest goes on
            self.size[h, min(bigger, key=lambda k: size[k])] -= by
            return None
        return self._end(h, best, time_s, half_min)

    def _end(self, h: int, slot: int, time_s: float, half_min: float) -> None:
        age = (time_s - float(self.born_s[h, slot])) / 60.0
        b = max(bisect_right(self.ages.tolist(), age - half_min) - 1, 0)
        self.ends[h, bisect_left(self.sizes.tolist(), self.size[h, slot]), b] += 1
        self.size[h, slot] = 0.0

    def _shrink(self, h: int, over: float) -> None:
        """Steps cannot be more than the level: the oldest lose the excess."""
        size = self.size[h]
        for k in np.argsort(self.born_s[h], kind="stable").tolist():
            cut = min(size[k], max(over, 0.0))
            size[k] -= cut
            over -= cut
        size[size < 0.5 * self.step_a] = 0.0

    def gone(
        self, time_s: float, ahead_min: Floats, table: Floats
    ) -> tuple[NDArray[np.int64], Floats, Floats]:
        """Every step that is on: home [k], size [k], cumulative hazard from when it was last seen
        to ahead_min from time_s [k, len(ahead_min)]."""
        home, slot = np.nonzero(self.size > 0)
        size, born_s = self.size[home, slot], self.born_s[home, slot]
        age = np.maximum((time_s - born_s) / 60.0, 0.0)
        seen = np.minimum(np.maximum((self.seen_s[home] - born_s) / 60.0, 0.0), age)
        when = np.concatenate((seen[:, None], age[:, None] + ahead_min), axis=1)
        b = self._bin(when)
        within = np.minimum((when - self.ages[b]) / self.widths[b], 9.0)
        of, kind = home[:, None], np.searchsorted(self.sizes, size)[:, None]
        low = table[of, kind, b]
        hazard = low + (table[of, kind, b + 1] - low) * within
        return home, size, hazard[:, 1:] - hazard[:, :1]

    def forecast(self, time_s: float, ahead_min: Floats, table: Floats) -> Floats:
        """Expected current ahead_min from time_s: float64[len(ahead_min), n] A."""
        level = np.where(np.isnan(self.level), 0.0, self.level)
        out = np.repeat(level[None], len(ahead_min), axis=0)
        home, size, gone = self.gone(time_s, ahead_min, table)
        np.add.at(out.T, home, size[:, None] * np.expm1(-gone))
        return out
