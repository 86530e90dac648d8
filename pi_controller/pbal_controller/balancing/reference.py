"""A NumPy reference of the core, written for clarity. Same functions as `_core`, same tests; slow.

Two things differ. The kicks come from NumPy's generator, so a search with restarts may end
in another, equally good, assignment; and the time limit is checked between passes only.
"""

from __future__ import annotations

import itertools
import math
import time
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Phases = NDArray[np.int8]

_ROTATE = np.exp(2j * np.pi / 3 * np.arange(3))  # a^d


def build_gram(
    currents: ArrayLike, weights: ArrayLike, beta: float = 1.0, resistance: ArrayLike | None = None
) -> Floats:
    """C[h, g, d] = sum_s w_s Re(conj(i_h) i_g a^d) (beta + R[h, g, d]); C[h, h, :] constant."""
    amps = np.asarray(currents, np.complex128)
    if amps.ndim != 2:
        raise ValueError("currents: expected an array of shape (scenarios, homes)")
    weight = np.asarray(weights, np.float64)
    if weight.shape != amps.shape[:1]:
        raise ValueError(f"weights: expected {amps.shape[0]} values, got shape {weight.shape}")
    together = np.einsum("s,sh,sg->hg", weight, amps.conj(), amps)
    gram = (together[:, :, None] * _ROTATE).real
    n = len(gram)
    factor = np.full((n, n, 3), float(beta))
    if resistance is not None:
        ohm = np.asarray(resistance, np.float64)
        if ohm.shape != (n, n, 3):
            raise ValueError(f"resistance: expected shape {(n, n, 3)}, got {ohm.shape}")
        factor += ohm
    gram = gram * factor
    home = np.arange(n)
    gram[home, home, :] = gram[home, home, :1]
    return np.ascontiguousarray(gram)


def fields(gram: ArrayLike, phases: ArrayLike, homes: ArrayLike | None = None) -> Floats:
    """F[h, q] = sum_g C[h, g, (q - x_g) mod 3], of all homes or of these."""
    c = np.asarray(gram, np.float64)
    x = np.asarray(phases, np.int64)
    home = np.arange(len(x))
    field = np.stack([c[:, home, (q - x) % 3].sum(axis=1) for q in range(3)], axis=1)
    return field if homes is None else field[np.asarray(homes, np.int64)]


def cost(gram: ArrayLike, phases: ArrayLike, price: ArrayLike) -> float:
    """The Gram sum plus the prices of the phases chosen."""
    x = np.asarray(phases, np.int64)
    home = np.arange(len(x))
    return float(fields(gram, x)[home, x].sum() + np.asarray(price, np.float64)[home, x].sum())


class _Street:
    """One problem: what an assignment costs and whether it is allowed."""

    def __init__(
        self,
        gram: ArrayLike,
        start: ArrayLike,
        price: ArrayLike,
        max_moves: int,
        limit_currents: ArrayLike | None,
        limits_a: ArrayLike | None,
    ) -> None:
        self.gram = np.asarray(gram, np.float64)
        self.start = np.asarray(start, np.int8)
        self.price = np.asarray(price, np.float64)
        self.n = len(self.start)
        if self.n and (self.start.min() < 0 or self.start.max() > 2):
            raise ValueError("phases: every home must be on 0, 1 or 2")
        if self.price.shape != (self.n, 3):
            raise ValueError(f"price: expected shape {(self.n, 3)}, got {self.price.shape}")
        if not np.isfinite(self.price[np.arange(self.n), self.start]).all():
            raise ValueError("price: staying where one is must have a finite price")
        self.max_moves = max_moves if max_moves >= 0 else self.n
        limited = limit_currents is not None and limits_a is not None
        self.amps = np.atleast_2d(np.asarray(limit_currents if limited else np.zeros((0, self.n))))
        self.limit = np.broadcast_to(np.asarray(limits_a if limited else 0.0, np.float64), (3,))
        self.allowed_excess = self.excess(self.start)

    def cost(self, x: Phases) -> float:
        return cost(self.gram, x, self.price)

    def excess(self, x: Phases) -> float:
        """Squared current above the squared limit, summed over rows and phases, A^2."""
        total = 0.0
        for row in self.amps:
            for q in range(3):
                total += max(abs(row[x == q].sum()) ** 2 - self.limit[q] ** 2, 0.0)
        return total

    def allowed(self, x: Phases) -> bool:
        home = np.arange(self.n)
        return bool(
            np.isfinite(self.price[home, x]).all()
            and (x != self.start).sum() <= self.max_moves
            and self.excess(x) <= self.allowed_excess * (1 + 1e-12)
        )

    def neighbours(self, x: Phases, homes: int) -> itertools.chain[Phases]:
        """Every assignment that differs from x in exactly so many homes."""
        return itertools.chain.from_iterable(
            self._turned(x, group) for group in itertools.combinations(range(self.n), homes)
        )

    def _turned(self, x: Phases, group: tuple[int, ...]) -> Any:
        for turns in itertools.product((1, 2), repeat=len(group)):
            y = x.copy()
            y[list(group)] = (y[list(group)] + np.array(turns)) % 3
            yield y.astype(np.int8)

    def relieve(self) -> Phases:
        """While over a limit: the single move that takes most excess away."""
        x = self.start.copy()
        while self.allowed_excess > 0:
            open_ = [
                y
                for y in self.neighbours(x, 1)
                if np.isfinite(self.price[np.arange(self.n), y]).all()
                and (y != self.start).sum() <= self.max_moves
            ]
            best = min(open_, key=self.excess, default=x)
            if self.excess(best) >= self.allowed_excess * (1 - 1e-9):
                break
            x, self.allowed_excess = best, self.excess(best)
        return x

    def descend(self, x: Phases, eps: float, end_s: float = math.inf) -> Phases:
        """Best single move until none gains, then best pair; and so on, while there is time."""
        while time.monotonic() < end_s:
            for homes in (1, 2):
                best = min(
                    (y for y in self.neighbours(x, homes) if self.allowed(y)),
                    key=self.cost,
                    default=x,
                )
                if self.cost(best) < self.cost(x) - eps:
                    x = best
                    break
            else:
                break
        return x


def solve(
    gram: ArrayLike,
    phases: ArrayLike,
    price: ArrayLike,
    *,
    max_moves: int = -1,
    limit_currents: ArrayLike | None = None,
    limits_a: ArrayLike | None = None,
    restarts: int = 20,
    budget_s: float = -1.0,
    seed: int = 1,
) -> tuple[Phases, float, float, int]:
    """See `_core.solve`: (phases, cost before, cost after, kicks made)."""
    street = _Street(gram, phases, price, max_moves, limit_currents, limits_a)
    if street.n == 0:
        return np.zeros(0, np.int8), 0.0, 0.0, 0
    before = street.cost(street.start)
    eps = 1e-9 * max(abs(before), 1e-3)
    end_s = time.monotonic() + budget_s if budget_s >= 0 else math.inf
    rng = np.random.default_rng(seed)
    best = street.descend(street.relieve(), eps, end_s)
    kicks = 0
    if restarts < 0 and end_s == math.inf:
        restarts = 0
    while (kicks < restarts or restarts < 0) and time.monotonic() < end_s:
        kicks += 1
        x = best.copy()
        for h in rng.integers(0, street.n, rng.integers(2, 7)):
            y = x.copy()
            y[h] = (y[h] + rng.integers(1, 3)) % 3
            if street.allowed(y):
                x = y
        x = street.descend(x, eps, end_s)
        if street.cost(x) < street.cost(best) - eps:
            best = x
    return best, before, street.cost(best), kicks


def best_of(
    gram: ArrayLike,
    phases: ArrayLike,
    price: ArrayLike,
    k: int,
    *,
    limit_currents: ArrayLike | None = None,
    limits_a: ArrayLike | None = None,
) -> tuple[Phases, float, float]:
    """The best of at most k <= 3 moves, by trying them all."""
    if not 1 <= k <= 3:
        raise ValueError("best_of: k must be 1, 2 or 3")
    street = _Street(gram, phases, price, k, limit_currents, limits_a)
    best = street.start.copy()
    for homes in range(1, k + 1):
        for y in street.neighbours(street.start, homes):
            if street.allowed(y) and street.cost(y) < street.cost(best):
                best = y
    return best, street.cost(street.start), street.cost(best)
