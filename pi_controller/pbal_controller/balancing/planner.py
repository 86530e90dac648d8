"""The planner: the recent past in, a few moves with reasons out.

Drivable from NumPy alone: `observe` readings as they come, `decide` when a decision is
due. Memory is O(n * window) for readings and O(n^2) while deciding; nothing grows with
time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from .config import PlannerConfig
from .phasors import neutral_current


@dataclass(frozen=True)
class Move:
    """One switching: home index, phases 0..2, the saving expected (A^2, or W with a feeder
    model) after its price, and the reason in words."""

    home: int
    from_phase: int
    to_phase: int
    saving: float
    reason: str


class Planner:
    """Chooses which homes to move. One instance per transformer; not thread-safe."""

    def __init__(self, n_homes: int, config: PlannerConfig | None = None) -> None:
        self.n = n_homes
        self.config = config or PlannerConfig()
        self._rows = 64
        self._times = np.full(self._rows, -np.inf)
        self._ring = np.full((self._rows, n_homes), np.nan + 0j)
        self._next = 0
        self._last = np.zeros(n_homes, np.complex128)
        self._seen_s = np.full(n_homes, -np.inf)
        self._moved_s = np.full((max(self.config.daily_cap, 1), n_homes), -np.inf)
        self._phases: NDArray[np.int8] | None = None

    def observe(self, time_s: float, currents: ArrayLike) -> None:
        """Take one reading of every home: complex[n] A, NaN where unknown."""
        amps = np.asarray(currents, np.complex128)
        if amps.shape != (self.n,):
            raise ValueError(f"currents: expected {self.n} values, got shape {amps.shape}")
        known = np.isfinite(amps)
        self._last[known] = amps[known]
        self._seen_s[known] = time_s
        self._times[self._next] = time_s
        self._ring[self._next] = np.where(known, amps, np.nan)
        self._next = (self._next + 1) % self._rows

    def decide(self, time_s: float, phases: ArrayLike) -> list[Move]:
        """Moves worth making now. phases: int[n], 0..2, -1 where open or unknown."""
        c = self.config
        x = np.asarray(phases, np.int64)
        if x.shape != (self.n,):
            raise ValueError(f"phases: expected {self.n} values, got shape {x.shape}")
        self._note_switchings(time_s, x)
        fresh = time_s - self._seen_s <= c.stale_s
        known = fresh & (x >= 0)
        if not known.any():
            return []
        now = np.where(known, self._last, 0.0)
        scenarios, weights = self._scenarios(time_s, now, known)
        start = np.where(x >= 0, x, 0).astype(np.int8)
        price = self._prices(time_s, start, known)
        gram = _core.build_gram(scenarios, weights, c.beta, c.resistance)
        best, *_ = _core.solve(
            gram,
            start,
            price,
            max_moves=c.max_moves,
            limit_currents=now[None] if c.limits_a is not None else None,
            limits_a=c.limits_a,
            restarts=c.restarts,
            seed=c.seed,
        )
        return self._explain(gram, price, start, best, now)

    # ------------------------------------------------------------------ inside

    def _note_switchings(self, time_s: float, x: NDArray[np.int64]) -> None:
        if self._phases is not None:
            changed = (x != self._phases) & (x >= 0) & (self._phases >= 0)
            if changed.any():
                self._moved_s[:, changed] = np.roll(self._moved_s[:, changed], 1, axis=0)
                self._moved_s[0, changed] = time_s
        self._phases = np.where(x >= 0, x, self._phases if self._phases is not None else -1).astype(
            np.int8
        )

    def _scenarios(
        self, time_s: float, now: NDArray[np.complex128], known: NDArray[np.bool_]
    ) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        recent = time_s - self._times <= self.config.window_s
        with np.errstate(invalid="ignore"):
            ring = self._ring[recent]
            count = np.isfinite(ring).sum(axis=0)
            mean = np.nansum(ring, axis=0) / np.maximum(count, 1)
        mean = np.where(known & (count > 0), mean, now)
        w = self.config.window_weight
        return np.stack((now, mean)), np.array((1 - w, w))

    def _prices(
        self, time_s: float, start: NDArray[np.int8], known: NDArray[np.bool_]
    ) -> NDArray[np.float64]:
        c = self.config
        price = np.full((self.n, 3), c.price)
        free = known & (time_s - self._moved_s[0] >= c.dwell_s)
        free &= time_s - self._moved_s[-1] >= 86400.0
        free[list(c.fixed)] = False
        price[~free] = np.inf
        price[np.arange(self.n), start] = 0.0
        return price

    def _explain(
        self,
        gram: NDArray[np.float64],
        price: NDArray[np.float64],
        start: NDArray[np.int8],
        best: NDArray[np.int8],
        now: NDArray[np.complex128],
    ) -> list[Move]:
        """Moves in the order that saves most first, each with what it saves at its turn."""
        moves: list[Move] = []
        x = start.copy()
        left = set(np.flatnonzero(best != start).tolist())
        while left:
            field = _core.fields(gram, x)
            gain = {
                h: float(
                    2 * (field[h, x[h]] - field[h, best[h]]) + price[h, x[h]] - price[h, best[h]]
                )
                for h in left
            }
            h = max(gain, key=lambda k: gain[k])
            before = abs(neutral_current(now, x))
            y = x.copy()
            y[h] = best[h]
            after = abs(neutral_current(now, y))
            reason = (
                f"{abs(now[h]):.1f} A from {'ABC'[x[h]]} to {'ABC'[best[h]]}: "
                f"neutral {before:.1f} A to {after:.1f} A"
            )
            moves.append(Move(h, int(x[h]), int(best[h]), gain[h], reason))
            x = y
            left.remove(h)
        return moves
