"""How long loads last: steps in a home's current, and how long steps like them lasted.

A home's current is taken as a base plus steps that are still on. A rise opens a step, a
matching fall closes it. For every class of step size and every age the tracker counts how
long such steps were watched and how many ended: the hazard. A home's own counts are shrunk
towards those of the whole street, and the street's towards a prior (_prior.py). From the
hazard follows the expected current some minutes ahead: the base, plus each step times the
chance that it is still there.

Memory: n * (8 steps + classes * ages * 2) numbers, whatever the time. Time per reading:
O(n) in NumPy and a short loop over the homes whose current has just stepped.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._prior import HAZARD

#: Upper edges of the step-size classes, A.
SIZES = np.array([0.6, 1.0, 1.6, 2.4, 3.4, 4.4, 5.4, 6.6, 7.8, 8.7, 9.4, 10.1, 10.8, 11.6, 12.6,
                  14.0, 16.5, 20.0, 26.0, 32.0, 40.0])  # fmt: skip
#: Lower edges of the age bins, minutes.
AGES = np.array([0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 31, 40, 50, 61, 80, 110, 160, 240.0])
SLOTS = 8
WAYS = 16
_GAP_MIN = 2.0
_SIZES, _AGES = SIZES.tolist(), AGES.tolist()
#: The age bin of every whole minute; the edges are whole minutes.
_BIN = np.searchsorted(AGES, np.arange(AGES[-1] + 1), side="right") - 1
_WIDTHS = np.append(np.diff(AGES), 240.0)


Chances = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]


def _known(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN as zero. Takes a tenth of the time of nan_to_num, which looks for infinities too."""
    return np.where(np.isnan(level), 0.0, level)


def _bins(age_min: NDArray[np.float64]) -> NDArray[np.int64]:
    """Age bins; a negative age counts as new."""
    return np.asarray(_BIN[np.minimum(np.maximum(age_min, 0.0), AGES[-1]).astype(np.intp)])


class Persistence:
    """Tracks steps and learns their survival, for n homes."""

    def __init__(
        self,
        n_homes: int,
        *,
        step_a: float = 0.6,
        home_weight: float = 1.5,
        prior_weight: float = 4.0,
    ) -> None:
        self.n = n_homes
        self.step_a = step_a
        self.home_weight = home_weight
        self.prior_weight = prior_weight
        shape = (n_homes, len(SIZES) + 1, len(AGES))
        self.ends = np.zeros(shape, np.float32)
        self.watched = np.zeros(shape, np.float32)
        self.size = np.zeros((n_homes, SLOTS))
        self.born_s = np.zeros((n_homes, SLOTS))
        self.level = np.full(n_homes, np.nan)
        self.lowest = np.zeros(n_homes)
        self.seen_s = np.full(n_homes, -np.inf)
        self.last_s = -np.inf
        self.every_min = 0.0  # how far apart readings usually are; 0 while unknown
        self._cumulative: NDArray[np.float64] | None = None
        self._since_table = 0

    # ------------------------------------------------------------------ learning

    def observe(self, time_s: float, level: ArrayLike) -> None:
        """Take one reading: float[n] A, NaN where unknown."""
        amps = np.asarray(level, np.float64)
        known = np.isfinite(amps)
        # A longer gap than usual was not observed: a step may have ended and begun again in it.
        longest = max(_GAP_MIN, 1.5 * self.every_min)
        minutes = np.clip((time_s - self.seen_s) / 60.0, 0.0, longest)
        on = self.size > 0
        on[~known] = False
        where = np.flatnonzero(on)
        owner = where // SLOTS
        spent = minutes[owner]
        age = (time_s - self.born_s.ravel()[where]) / 60.0
        row = owner * (len(SIZES) + 1) + SIZES.searchsorted(self.size.ravel()[where])
        np.add.at(self.watched.reshape(-1), row * len(AGES) + _bins(age - 0.5 * spent), spent)
        delta = amps - self.level
        threshold = np.maximum(self.step_a, 0.04 * _known(self.level))
        stepped = np.flatnonzero(np.abs(delta) > threshold)
        for home, step in zip(stepped.tolist(), delta[stepped].tolist(), strict=True):
            if step > 0:
                self._open(home, time_s, step)
            else:
                self._close(home, time_s, -step)
        self.level[known] = amps[known]
        # A home with solar generation may have a base below zero; others not.
        self.lowest = np.minimum(self.lowest * (1.0 - 1e-4 * minutes), _known(self.level))
        over = self.size.sum(axis=1) - _known(self.level) + self.lowest
        for home in np.flatnonzero(over > self.step_a).tolist():
            self._shrink(home, float(over[home]))
        self.seen_s[known] = time_s
        since = (time_s - self.last_s) / 60.0
        if np.isfinite(since) and since > 0:
            slow = self.every_min or since
            self.every_min = slow + 0.1 * (min(since, 4.0 * slow) - slow)
        self.last_s = time_s
        self._since_table += 1
        if self._since_table >= 30:
            self._cumulative = None

    def _open(self, home: int, time_s: float, size: float) -> None:
        slots = self.size[home]
        slot = int(slots.argmin())  # a free one, or the smallest is replaced
        slots[slot] = size
        self.born_s[home, slot] = time_s

    # These work on a home's few steps as plain numbers: NumPy would take ten times as long.

    def _close(self, home: int, time_s: float, fall: float) -> None:
        slots = self.size[home].tolist()
        live = [k for k, size in enumerate(slots) if size > 0]
        if not live:
            return
        best = min(live, key=lambda k: abs(slots[k] - fall))
        if abs(slots[best] - fall) <= max(self.step_a, 0.12 * fall):
            self._end(home, best, time_s)
            return
        for i, a in enumerate(live):
            for b in live[i + 1 :]:
                if abs(slots[a] + slots[b] - fall) <= max(self.step_a, 0.08 * fall):
                    self._end(home, a, time_s)
                    self._end(home, b, time_s)
                    return
        bigger = [k for k in live if slots[k] > fall]
        if bigger:  # part of a step ended: the rest goes on
            part = min(bigger, key=lambda k: slots[k])
            self.size[home, part] = slots[part] - fall
            return
        self._end(home, best, time_s)

    def _shrink(self, home: int, over: float) -> None:
        slots = self.size[home].tolist()
        for k in np.argsort(self.born_s[home]).tolist():
            if slots[k] > 0 and over > 0:
                cut = min(slots[k], over)
                slots[k] -= cut
                over -= cut
        self.size[home] = [0.0 if size < 0.5 * self.step_a else size for size in slots]

    def _end(self, home: int, slot: int, time_s: float) -> None:
        size = float(self.size[home, slot])
        age = (time_s - float(self.born_s[home, slot])) / 60.0
        half = max(0.5, 0.5 * self.every_min)
        b = max(bisect_right(_AGES, age - half) - 1, 0)
        self.ends[home, bisect_left(_SIZES, size), b] += 1
        self.size[home, slot] = 0.0

    def not_after(self, time_s: float) -> None:
        """Sets later times to this one: the clock was ahead when they were noted."""
        self.last_s = min(self.last_s, time_s)
        for noted_s in (self.seen_s, self.born_s):
            np.minimum(noted_s, time_s, out=noted_s)

    # ------------------------------------------------------------------ forecasting

    def _table(self) -> NDArray[np.float64]:
        """Cumulative hazard at the age edges, float64[n, classes, ages + 1]."""
        if self._cumulative is None:
            self._since_table = 0
            weight = self.prior_weight * _WIDTHS
            street = (self.ends.sum(axis=0) + weight * HAZARD) / (self.watched.sum(axis=0) + weight)
            weight = self.home_weight * _WIDTHS
            own = (self.ends + weight * street) / (self.watched + weight)
            hazard = -np.log1p(-np.minimum(own, 0.95))
            self._cumulative = np.concatenate(
                (np.zeros((*hazard.shape[:2], 1)), np.cumsum(hazard * _WIDTHS, axis=2)), axis=2
            )
        return self._cumulative

    def forecast(self, time_s: float, ahead_min: ArrayLike) -> NDArray[np.float64]:
        """Expected current this many minutes ahead: float64[len(ahead), n] A.

        Counted from time_s, also where a home was last seen before it: what has passed since
        counts as time in which its steps may have ended.
        """
        ahead = np.asarray(ahead_min, np.float64)
        out = np.repeat(_known(self.level)[None], len(ahead), axis=0)
        h, size, gone = self._gone(time_s, ahead)
        np.add.at(out.T, h, size[:, None] * np.expm1(-gone))
        return out

    def sample(
        self, time_s: float, look_min: float, ahead_min: ArrayLike, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Scenarios of the next minutes: float64[WAYS, len(ahead), n] A.

        In each scenario it is drawn at random whether each step is still on after look_min; from
        there on, at ahead_min from now, the current is its expected value.
        """
        h, size, stays, then = self.chances(time_s, look_min, ahead_min, rng)
        out = np.empty((WAYS, len(then), self.n))
        out[:] = _known(self.level)
        if h.size:
            change = size * (stays[:, None] * then - 1.0)
            first = np.flatnonzero(np.diff(h, prepend=-1))  # h ascends
            out[:, :, h[first]] += np.add.reduceat(change, first, axis=2)
        return out

    def chances(
        self, time_s: float, look_min: float, ahead_min: ArrayLike, rng: np.random.Generator
    ) -> Chances:
        """The draws behind `sample`: of each step that is on its home [k] and size [k], whether it
        is still on after look_min [WAYS, k], and then how much of it at ahead_min [len(ahead), k].
        """
        ahead = np.asarray(ahead_min, np.float64)
        h, size, gone = self._gone(time_s, np.concatenate(([look_min], ahead)))
        stays = rng.random((WAYS, len(h))) < np.exp(-gone[:, 0])
        return h, size, stays, np.exp(gone[:, :1] - gone[:, 1:]).T

    def _gone(
        self, time_s: float, ahead: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Every step that is on: home [k], size [k], cumulative hazard from when it was last
        seen to `ahead` minutes from time_s [k, len(ahead)]."""
        where = np.flatnonzero(self.size > 0)
        h = where // SLOTS
        size, born_s = self.size.ravel()[where], self.born_s.ravel()[where]
        age = np.maximum((time_s - born_s) / 60.0, 0.0)
        seen = np.minimum(np.maximum((self.seen_s[h] - born_s) / 60.0, 0.0), age)
        when = np.empty((len(h), 1 + len(ahead)))
        when[:, 0] = seen
        when[:, 1:] = age[:, None] + ahead
        b = _bins(when)
        within = np.minimum((when - AGES[b]) / _WIDTHS[b], 9.0)
        table = self._table()
        b += ((h * table.shape[1] + SIZES.searchsorted(size)) * table.shape[2])[:, None]
        hazard = table.ravel()
        lo = hazard[b]
        gone = lo + (hazard[b + 1] - lo) * within
        return h, size, gone[:, 1:] - gone[:, :1]

    # ------------------------------------------------------------------ keeping

    def state(self) -> dict[str, Any]:
        """What has been learnt, as arrays a journal can keep."""
        return {"ends": self.ends.copy(), "watched": self.watched.copy()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave; the number of homes and the classes must be the same.

        Raises ValueError where they are not, or where counts are none; then nothing has changed.
        """
        counts = {name: np.array(state[name], np.float32) for name in ("ends", "watched")}
        for name, value in counts.items():
            if value.shape != self.ends.shape:
                raise ValueError(f"{name}: expected shape {self.ends.shape}, got {value.shape}")
            if not (np.isfinite(value) & (value >= 0)).all():
                raise ValueError(f"{name}: expected counts, zero or more")
        self.ends, self.watched = counts["ends"], counts["watched"]
        self._cumulative = None
