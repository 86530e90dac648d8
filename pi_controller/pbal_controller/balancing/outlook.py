"""What homes, and what has no node, draw and are expected to draw: what a decision weighs.

Readings go to the step statistics (persistence.py), to the mean of the recent past and to what
lasts (lasting.py). A decision is given scenarios: the time ahead in buckets, and last what lasts.
The simple rule has two, the last reading and the mean of a window.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _outlook
from .config import PlannerConfig
from .lasting import Lasting
from .persistence import Persistence
from .phasors import TURN
from .readings import Readings
from .waiting import lumped
from .wear import COURSE

#: The time ahead in buckets, minutes; each is evaluated at its mean time.
EDGES = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128.0])
MIDDLES = np.concatenate(([0.0], 0.5 * (EDGES[1:-1] + EDGES[2:] - 1)))
#: The bucket whose savings reasons state.
LATER = 4
#: When a postponed move is considered again: the bucket that then begins, after 8 minutes.
LOOK = 4
#: Weight of the lasting imbalance, beside the time ahead.
LASTING = 1.0
#: Weight of the mean of the recent past beside the steps that are on: it includes loads that recur,
#: and needs no learning. Its lag is that of a half-hour window's mean, or of two readings.
#: Infrequent readings miss steps, so it weighs more: up to _RARE_SHARE, at _RARE_MIN between them.
_RECENT_S = 900.0
_RECENT_SHARE = 0.25 * -np.expm1(-MIDDLES / 4.0)
_RARE_SHARE = 1.6
_RARE_MIN = 15.0
#: A mean over 15 minutes smooths the steps of a load: by how much their weight is reduced there.
_RARE_STEPS = 0.7
_REST_SHARE = 0.3 - 0.4 * np.expm1(-MIDDLES / 8.0)
#: Readings that the simple rule keeps.
_ROWS = 64

Complex = NDArray[np.complex128]
Bools = NDArray[np.bool_]


class Outlook:
    """Of n homes and of three loads without a node, one a phase. Memory: readings of the last half
    hour for the simple rule, else the step statistics; nothing grows with time."""

    def __init__(self, n_homes: int, config: PlannerConfig) -> None:
        self.n = n_homes
        self.config = config
        self.persistence = Persistence(n_homes)
        self.homes = Readings(n_homes)
        self.rest = Readings(3)
        self.lasting = Lasting(n_homes, COURSE)
        self._rest_lasting = Lasting(3, COURSE, pooled=False)
        self._times = np.full(_ROWS, -np.inf)
        self._ring = np.full((_ROWS, n_homes), np.nan + 0j)
        self._next = 0
        tau = config.horizon_min
        weights = tau * (np.exp(-EDGES[:-1] / tau) - np.exp(-EDGES[1:] / tau))
        self.weights = weights / weights.sum()  # of the buckets
        self._all_weights = np.append(self.weights, LASTING)
        # The weight of the recent mean in each bucket, and how infrequent readings were then.
        self._share, self._share_rare = _RECENT_SHARE, 0.0

    # ------------------------------------------------------------------ learning

    def observe(self, time_s: float, amps: Complex, rest: Complex | None) -> None:
        """Take one reading, not older than the one before: complex[n] A, NaN where unknown, and of
        what has no node complex[3]."""
        lag_s = max(_RECENT_S, 120.0 * self.persistence.every_min)
        hour = (time_s + self.config.utc_offset_s) % 86400.0 / 3600.0
        if rest is not None:
            seen = self.rest.observe(time_s, rest, lag_s)
            self._rest_lasting.observe(time_s, rest, seen, hour)
        known = self.homes.observe(time_s, amps, lag_s)
        if self.config.predict:
            self.lasting.observe(time_s, amps, known, hour)
            self.persistence.observe(time_s, _outlook.levels(amps, known))
        elif time_s - self._times[self._next - 1] >= self.config.window_s / len(self._times):
            self._times[self._next] = time_s
            self._ring[self._next] = np.where(known, amps, np.nan)
            self._next = (self._next + 1) % len(self._times)

    def not_after(self, time_s: float) -> None:
        """Sets later times to this one: the clock was ahead when they were noted."""
        for seen_s in (self.homes.seen_s, self.rest.seen_s, self._times):
            np.minimum(seen_s, time_s, out=seen_s)
        self.persistence.not_after(time_s)

    def state(self) -> dict[str, Any]:
        """What has been learnt of the homes, for a journal."""
        return {"persistence": self.persistence.state(), "lasting": self.lasting.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave. Raises ValueError where it is of another street or damaged;
        then nothing has changed."""
        lasting = Lasting(self.n, COURSE)
        if "lasting" in state:  # older states have none
            lasting.load(state["lasting"])
        self.persistence.load(state["persistence"])
        self.lasting = lasting

    # ------------------------------------------------------------------ expecting

    def scenarios(
        self, time_s: float, now: Complex, known: Bools
    ) -> tuple[Complex, NDArray[np.float64]]:
        """Expected currents complex[k, n] A and their weights [k]. now: complex[n], zero where
        not known."""
        if self.config.predict:
            ahead = self.persistence.forecast(time_s, MIDDLES)
            out = np.empty((len(MIDDLES) + 1, self.n), np.complex128)
            of = (self.persistence.level, now, self.homes.recent, known)
            _outlook.currents(ahead, *of, self.recent_share(), self._fall(), out[:-1])
            self.lasting.mean_into(out[-1], known)
            return out, self._all_weights
        recent = self._ring[time_s - self._times <= self.config.window_s]
        count = np.isfinite(recent).sum(axis=0)
        mean = np.nansum(recent, axis=0) / np.maximum(count, 1)
        mean = np.where(known & (count > 0), mean, now)
        w = self.config.window_weight
        return np.stack((now, mean)), np.array((1 - w, w))

    def with_rest(
        self, last: Complex, known: Bools, now: Complex, scenarios: Complex
    ) -> tuple[Complex, Complex]:
        """Currents and scenarios with those of what has no node beside them. last: complex[3] A."""
        # Many homes as one: no steps to follow, but its mean predicts better than its last value.
        share = _REST_SHARE if self.config.predict else np.array((0.0, 1.0))
        ahead = last + share[:, None] * np.where(known, self.rest.recent - last, 0.0)
        if self.config.predict:
            ahead = np.vstack((ahead, np.where(known, self._rest_lasting.mean(), 0.0)))
        return np.append(now, last), np.hstack((scenarios, ahead))

    def ways(self, time_s: float, now: Complex, known: Bools, scenarios: Complex) -> Complex:
        """Ways the time after LOOK may go, and last what lasts: complex[ways, buckets left + 1, k]
        A. now, scenarios: as those of `with_rest`."""
        tracker, share = self.persistence, self.recent_share()[LOOK:]
        levels = tracker.sample(time_s, EDGES[LOOK], MIDDLES[LOOK:], self._drawing(time_s))
        of = (tracker.level, now[: self.n], self.homes.recent, known, share)
        return np.asarray(_outlook.ways(levels, *of, self._fall(), scenarios[LOOK:]))

    def ways_of_some(
        self,
        time_s: float,
        now: Complex,
        known: Bools,
        scenarios: Complex,
        moves: Bools,
        phases: NDArray[np.int8],
    ) -> Complex:
        """The same of the loads that may move, bool[k], the others as one load behind them, without
        what lasts: complex[ways, buckets left, moves + 1] A. phases: int8[k], of all."""
        share, n = self.recent_share()[LOOK:], self.n
        own = now[:n]
        amps = own + share[:, None] * np.where(known, self.homes.recent - own, 0.0)
        lean = self.lean(own) * (known * (1.0 - share[:, None]))
        lean *= self._fall()
        drawing = self._drawing(time_s)
        chances = self.persistence.chances(time_s, EDGES[LOOK], MIDDLES[LOOK:], drawing)
        later = lumped(moves[:n], phases[:n], amps, lean, chances)
        later[:, :, -1] += scenarios[LOOK:-1, n:] @ TURN[phases[n:]]
        return later

    def _drawing(self, time_s: float) -> np.random.Generator:
        """The same draws at the same time."""
        return np.random.default_rng((self.config.seed, int(abs(time_s))))

    def recent_share(self) -> NDArray[np.float64]:
        """Weight of the recent mean in each bucket."""
        rare = self._rare()
        if rare != self._share_rare:
            self._share = np.asarray(_RECENT_SHARE * (1.0 + (_RARE_SHARE - 1.0) * rare))
            self._share_rare = rare
        return self._share

    def lean(self, now: Complex) -> Complex:
        """Fall of a home's current per ampere of a step that ends, with its reactive part:
        complex[n]."""
        real = now.real
        leans = real > 0.2 * np.abs(now)
        lean = np.ones(self.n, np.complex128)
        np.divide(now, real, out=lean, where=leans)
        return lean

    def _fall(self) -> float:
        """How much of a change of level counts: less where readings are means of long times."""
        return 1.0 - _RARE_STEPS * self._rare()

    def _rare(self) -> float:
        """How infrequent readings are: 0 every minute, 1 every 15 minutes or less often."""
        rare = (self.persistence.every_min - 1.0) / (_RARE_MIN - 1.0)
        return min(max(rare, 0.0), 1.0)
