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
Phases = NDArray[np.int8]
Homes = NDArray[np.int64]


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
    out: Complex,
) -> None:
    """Forecast levels float64[k, n] A as currents, into out complex[k, n]."""
    leans = now.real > 0.2 * np.abs(now)
    lean = np.divide(now, now.real, out=np.ones(len(now), complex), where=leans)
    ahead = now + np.where(known, levels - level, 0.0) * lean * steps
    ahead += np.where(known, recent - ahead, 0.0) * share[:, None]
    out[:] = ahead


def ways(
    levels: Floats,
    level: Floats,
    now: Complex,
    recent: Complex,
    known: Mask,
    share: Floats,
    steps: float,
    scenarios: Complex,
) -> Complex:
    """The same of several ways float64[ways, m, n] A; of each, the loads from n on and all of the
    last row are those of scenarios: complex[ways, m + 1, k]."""
    out = np.tile(scenarios, (len(levels), 1, 1))
    for way, of in zip(out, levels, strict=True):
        currents(of, level, now, recent, known, share, steps, way[:-1, : len(now)])
    return out


def drawn(
    since_s: float, phases: Phases, seen_s: Floats, last: Complex, loose: Mask, still: Homes
) -> tuple[Mask, Mask, Complex, Phases, int, float]:
    """What is known, what may be moved, currents and phases, how many are known, mean square."""
    known = np.asarray((seen_s >= since_s) & (phases >= 0))
    able = known & loose
    able[still] = False
    now = np.where(known, last, 0.0)
    count = int(known.sum())
    square = float((np.abs(now) ** 2).sum() / count) if count else np.nan
    return known, able, now, np.maximum(phases, 0), count, square


def most_carried(amps: Complex) -> float:
    """Sum of magnitudes, A."""
    return float(np.abs(amps).sum())


def shared(today: Homes, price: float, fairness: float, cap: float) -> Floats:
    """The price of homes that have switched so many times today."""
    return np.asarray(price * (1.0 + fairness * (today / cap)))


def priced(prices: Floats, able: Mask, free: Mask, start: Phases) -> Floats:
    """Prices float64[n, 3] of each home's phases."""
    out = np.repeat(np.where(able & free, prices, np.inf)[:, None], 3, axis=1)
    out[np.arange(len(out)), start] = 0.0
    return out


def counted(
    time_s: float, since_s: float, known: Mask, able: Mask, known_s: Floats, able_s: Floats
) -> tuple[int, int, int]:
    """How many were never able before, and how many were known and able after since_s."""
    come = int((able & np.isneginf(able_s)).sum())
    known_s[known] = time_s
    able_s[able] = time_s
    return come, int((known_s > since_s).sum()), int((able_s > since_s).sum())


def lasting_mean(total: Complex, weight: Floats, prior_h: float, known: Mask, out: Complex) -> None:
    """A typical day's mean currents; zero where not known."""
    hours = weight.sum()
    out[:] = 0.0
    if hours > 0:
        mean = (total + prior_h * total.sum() / hours) / (weight + prior_h)
        out[known] = mean[known]


def drawn_levels(level: Floats, of: Homes, size: Floats, stays: Mask, then: Floats) -> Floats:
    """Levels float64[ways, m, n] once some steps have ended."""
    out = np.empty((len(stays), len(then), len(level)))
    out[:] = np.where(np.isnan(level), 0.0, level)
    change = size * (stays[:, None] * then - 1.0)
    for k, h in enumerate(of.tolist()):
        out[:, :, h] += change[:, :, k]
    return out


class Steps:
    """The steps of n homes as `persistence.Persistence` holds them, and the edges of classes."""

    def __init__(
        self,
        steps: tuple[Floats, Floats, Floats, Floats, Floats],
        counts: tuple[NDArray[np.float32], NDArray[np.float32]],
        learnt: tuple[Floats, Mask, NDArray[np.float32], NDArray[np.float32], Floats],
        edges: tuple[Floats, Floats, NDArray[np.int64], Floats],
        step_a: float,
    ) -> None:
        self.size, self.born_s, self.level, self.lowest, self.seen_s = steps
        self.ends, self.watched = counts
        self.table, self.made, self.then_ends, self.then_watched, self.street = learnt
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

    def hazards(self, weight: float) -> None:
        """Makes all rows of the table."""
        w = weight * self.widths
        own = (self.then_ends + w * self.street) / (self.then_watched + w)
        hazard = -np.log1p(-np.minimum(own, 0.95))
        self.table[:, :, 0] = 0.0
        self.table[:, :, 1:] = np.cumsum(hazard * self.widths, axis=2)
        self.made[:] = True

    def gone(self, time_s: float, ahead_min: Floats) -> tuple[NDArray[np.int64], Floats, Floats]:
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
        low = self.table[of, kind, b]
        hazard = low + (self.table[of, kind, b + 1] - low) * within
        return home, size, hazard[:, 1:] - hazard[:, :1]

    def forecast(self, time_s: float, ahead_min: Floats) -> Floats:
        """Expected current ahead_min from time_s: float64[len(ahead_min), n] A."""
        level = np.where(np.isnan(self.level), 0.0, self.level)
        out = np.repeat(level[None], len(ahead_min), axis=0)
        home, size, gone = self.gone(time_s, ahead_min)
        np.add.at(out.T, home, size[:, None] * np.expm1(-gone))
        return out
