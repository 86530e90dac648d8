"""How long will this last? Steps in a home's current, and what became of steps like them.

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
_WIDTHS = np.append(np.diff(AGES), 240.0)


def _known(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """NaN as nothing; a tenth of the time of nan_to_num, which looks for infinities too."""
    return np.where(np.isnan(level), 0.0, level)


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
        # A longer silence than usual was not watched: a step may have gone and come back.
        longest = max(_GAP_MIN, 1.5 * self.every_min)
        minutes = np.clip((time_s - self.seen_s) / 60.0, 0.0, longest)
        h, k = np.nonzero((self.size > 0) & known[:, None])
        age = (time_s - self.born_s[h, k]) / 60.0
        bins = np.searchsorted(AGES, age - 0.5 * minutes[h], side="right") - 1
        at = (h, np.searchsorted(SIZES, self.size[h, k]), bins.clip(0))
        np.add.at(self.watched, at, minutes[h])
        delta = amps - self.level
        threshold = np.maximum(self.step_a, 0.04 * _known(self.level))
        for home in np.flatnonzero(np.abs(delta) > threshold).tolist():
            if delta[home] > 0:
                self._open(home, time_s, delta[home])
            else:
                self._close(home, time_s, -delta[home])
        self.level[known] = amps[known]
        # A home with a roof of solar cells may sit below zero under its steps; others not.
        self.lowest = np.minimum(self.lowest * (1.0 - 1e-4 * minutes), _known(self.level))
        over = self.size.sum(axis=1) - _known(self.level) + self.lowest
        for home in np.flatnonzero(over > self.step_a).tolist():
            self._shrink(home, over[home])
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
        slot = int(np.argmin(slots))  # a free one, or the smallest gives way
        slots[slot] = size
        self.born_s[home, slot] = time_s

    def _close(self, home: int, time_s: float, fall: float) -> None:
        slots = self.size[home]
        live = np.flatnonzero(slots > 0)
        if not live.size:
            return
        miss = np.abs(slots[live] - fall)
        best = int(np.argmin(miss))
        if miss[best] <= max(self.step_a, 0.12 * fall):
            self._end(home, int(live[best]), time_s)
            return
        for i, a in enumerate(live):
            for b in live[i + 1 :]:
                if abs(slots[a] + slots[b] - fall) <= max(self.step_a, 0.08 * fall):
                    self._end(home, int(a), time_s)
                    self._end(home, int(b), time_s)
                    return
        bigger = live[slots[live] > fall]
        if bigger.size:  # part of a step went: it carries on, smaller
            slots[bigger[np.argmin(slots[bigger])]] -= fall
            return
        self._end(home, int(live[best]), time_s)

    def _shrink(self, home: int, over: float) -> None:
        slots = self.size[home]
        for k in np.argsort(self.born_s[home]):
            if slots[k] > 0 and over > 0:
                cut = min(slots[k], over)
                slots[k] -= cut
                over -= cut
        slots[slots < 0.5 * self.step_a] = 0.0

    def _end(self, home: int, slot: int, time_s: float) -> None:
        size = self.size[home, slot]
        age = (time_s - self.born_s[home, slot]) / 60.0
        half = max(0.5, 0.5 * self.every_min)
        b = max(int(np.searchsorted(AGES, age - half, side="right")) - 1, 0)
        self.ends[home, int(np.searchsorted(SIZES, size)), b] += 1
        self.size[home, slot] = 0.0

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
        """Ways the next minutes may go: float64[WAYS, len(ahead), n] A.

        In each way every step is still on after look_min, or not, by chance; from there on,
        at ahead_min from now, the current is what can then be expected.
        """
        ahead = np.asarray(ahead_min, np.float64)
        out = np.empty((WAYS, len(ahead), self.n))
        out[:] = _known(self.level)
        h, size, gone = self._gone(time_s, np.concatenate(([look_min], ahead)))
        if h.size:
            stays = rng.random((WAYS, 1, h.size)) < np.exp(-gone[:, 0])
            then = np.exp(gone[:, :1] - gone[:, 1:]).T
            change = size * (stays * then - 1.0)
            first = np.flatnonzero(np.diff(h, prepend=-1))  # h ascends
            out[:, :, h[first]] += np.add.reduceat(change, first, axis=2)
        return out

    def _gone(
        self, time_s: float, ahead: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Every step that is on: home [k], size [k], cumulative hazard from when it was last
        seen to `ahead` minutes from time_s [k, len(ahead)]."""
        h, k = np.nonzero(self.size > 0)
        size = self.size[h, k]
        age = np.maximum((time_s - self.born_s[h, k]) / 60.0, 0.0)
        seen = np.clip((self.seen_s[h] - self.born_s[h, k]) / 60.0, 0.0, age)
        row = self._table()[h, np.searchsorted(SIZES, size)]
        when = np.concatenate((seen[:, None], age[:, None] + ahead), axis=1)
        b = np.searchsorted(AGES, when, side="right") - 1
        within = np.minimum((when - AGES[b]) / _WIDTHS[b], 9.0)
        lo = np.take_along_axis(row, b, axis=1)
        hi = np.take_along_axis(row, b + 1, axis=1)
        gone = lo + (hi - lo) * within
        return h, size, gone[:, 1:] - gone[:, :1]

    # ------------------------------------------------------------------ keeping

    def state(self) -> dict[str, Any]:
        """What has been learnt, as arrays a journal can keep."""
        return {"ends": self.ends.copy(), "watched": self.watched.copy()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave; the number of homes and the classes must be the same."""
        for name in ("ends", "watched"):
            value = np.asarray(state[name], np.float32)
            if value.shape != self.ends.shape:
                raise ValueError(f"{name}: expected shape {self.ends.shape}, got {value.shape}")
            setattr(self, name, value.copy())
        self._cumulative = None
