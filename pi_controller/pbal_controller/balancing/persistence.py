"""How long loads last: steps in a home's current, and how long steps like them lasted.

A home's current is taken as a base plus steps that are still on. A rise opens a step, a
matching fall closes it. For every class of step size and every age the tracker counts how
long such steps were watched and how many ended: the hazard. A home's own counts are shrunk
towards those of the whole street, and the street's towards a prior (_prior.py). From the
hazard follows the expected current some minutes ahead: the base, plus each step times the
chance that it is still there.

Memory: n * (8 steps + classes * ages * 2) numbers, whatever the time. The loops over homes
and steps are compiled (_outlook.pyx); reference_outlook.py says the same in NumPy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _outlook
from ._prior import HAZARD

#: Upper edges of the step-size classes, A.
SIZES = np.array([0.6, 1.0, 1.6, 2.4, 3.4, 4.4, 5.4, 6.6, 7.8, 8.7, 9.4, 10.1, 10.8, 11.6, 12.6,
                  14.0, 16.5, 20.0, 26.0, 32.0, 40.0])  # fmt: skip
#: Lower edges of the age bins, minutes.
AGES = np.array([0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 31, 40, 50, 61, 80, 110, 160, 240.0])
SLOTS = 8
WAYS = 16
_GAP_MIN = 2.0
#: The age bin of every whole minute; the edges are whole minutes.
BINS = np.searchsorted(AGES, np.arange(AGES[-1] + 1), side="right") - 1
WIDTHS = np.append(np.diff(AGES), 240.0)


Chances = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]


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
        # The learnt counts as they were when the table was begun, the street's chances by them, the
        # table, and which of its rows are made: those of steps that were on since.
        self._then = (self.ends.copy(), self.watched.copy())
        self._street = np.array(HAZARD, np.float64)
        self._cumulative = np.zeros((n_homes, len(SIZES) + 1, len(AGES) + 1))
        self._made = np.zeros((n_homes, len(SIZES) + 1), np.bool_)
        self._steps = _outlook.Steps(
            (self.size, self.born_s, self.level, self.lowest, self.seen_s),
            (self.ends, self.watched),
            (self._cumulative, self._made, *self._then, self._street),
            (SIZES, AGES, BINS, WIDTHS),
            step_a,
        )
        self._stale = True
        self._since_table = 0

    # ------------------------------------------------------------------ learning

    def observe(self, time_s: float, level: ArrayLike) -> None:
        """Take one reading: float[n] A, NaN where unknown."""
        amps = np.ascontiguousarray(level, np.float64)
        if amps.shape != (self.n,):
            raise ValueError(f"level: expected {self.n} values, got shape {amps.shape}")
        # A longer gap than usual was not observed: a step may have ended and begun again in it.
        longest_min = max(_GAP_MIN, 1.5 * self.every_min)
        self._steps.follow(time_s, amps, longest_min, max(0.5, 0.5 * self.every_min))
        since = (time_s - self.last_s) / 60.0
        if math.isfinite(since) and since > 0:
            slow = self.every_min or since
            self.every_min = slow + 0.1 * (min(since, 4.0 * slow) - slow)
        self.last_s = time_s
        self._since_table += 1
        self._stale = self._stale or self._since_table >= 30

    def not_after(self, time_s: float) -> None:
        """Sets later times to this one: the clock was ahead when they were noted."""
        self.last_s = min(self.last_s, time_s)
        for noted_s in (self.seen_s, self.born_s):
            np.minimum(noted_s, time_s, out=noted_s)

    # ------------------------------------------------------------------ forecasting

    def _learn(self) -> None:
        """Makes the table of the cumulative hazard as far as steps that are on need it."""
        if self._stale:
            self._stale, self._since_table = False, 0
            weight = self.prior_weight * WIDTHS
            ends, watched = (counts.sum(axis=0) for counts in (self.ends, self.watched))
            self._street[:] = (ends + weight * HAZARD) / (watched + weight)
            for kept, counts in zip(self._then, (self.ends, self.watched), strict=True):
                kept[:] = counts
            self._made[:] = False
        self._steps.hazards(self.home_weight)

    def forecast(self, time_s: float, ahead_min: ArrayLike) -> NDArray[np.float64]:
        """Expected current this many minutes ahead: float64[len(ahead), n] A.

        Counted from time_s, also where a home was last seen before it: what has passed since
        counts as time in which its steps may have ended.
        """
        ahead = np.ascontiguousarray(ahead_min, np.float64)
        self._learn()
        return np.asarray(self._steps.forecast(time_s, ahead))

    def sample(
        self, time_s: float, look_min: float, ahead_min: ArrayLike, rng: np.random.Generator
    ) -> NDArray[np.float64]:
        """Scenarios of the next minutes: float64[WAYS, len(ahead), n] A.

        In each scenario it is drawn at random whether each step is still on after look_min; from
        there on, at ahead_min from now, the current is its expected value.
        """
        h, size, stays, then = self.chances(time_s, look_min, ahead_min, rng)
        return np.asarray(_outlook.drawn_levels(self.level, h, size, stays, then))

    def chances(
        self, time_s: float, look_min: float, ahead_min: ArrayLike, rng: np.random.Generator
    ) -> Chances:
        """The draws behind `sample`: of each step that is on its home [k] and size [k], whether it
        is still on after look_min [WAYS, k], and then how much of it at ahead_min [len(ahead), k].
        """
        ahead = np.asarray(ahead_min, np.float64)
        when = np.concatenate(([look_min], ahead))
        self._learn()
        h, size, gone = self._steps.gone(time_s, when)
        stays = rng.random((WAYS, len(h))) < np.exp(-gone[:, 0])
        return h, size, stays, np.exp(gone[:, :1] - gone[:, 1:]).T

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
        self.ends[:], self.watched[:] = counts["ends"], counts["watched"]
        self._stale = True
