"""Moves, in the order to make them, and why, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import _core
from .phasors import TURN, phase_currents

#: The least current, A, for which a reason states a share.
_LITTLE_A = 0.05
_APART = (np.arange(3)[:, None] - np.arange(3)) % 3


@dataclass(frozen=True)
class Move:
    """One switching: home index, phases 0..2, the saving expected (A^2, or W with a feeder
    model) after its price, and the reason in words."""

    home: int
    from_phase: int
    to_phase: int
    saving: float
    reason: str


def explain(
    gram: NDArray[np.float64],
    price: NDArray[np.float64],
    start: NDArray[np.int8],
    best: NDArray[np.int8],
    now: NDArray[np.complex128],
    *,
    later: NDArray[np.complex128] | None = None,
    later_min: float = 0.0,
    limits_a: float | Sequence[float] | None = None,
) -> list[Move]:
    """Moves from start to best in the order that saves most first, each with what it saves then.

    gram, price, start, best: as `_core.solve` takes and gives them. now: currents complex[n] A;
    later: those expected in later_min minutes, for the reason. With limits_a, A, a move that
    would add to an excess over a phase's limit waits for those that make room.
    """
    moves: list[Move] = []
    left = np.flatnonzero(best != start)
    if not left.size:
        return moves
    x, to = start[left], best[left]
    price, amps = price[left, to], now[left]
    expected = None if later is None else np.abs(later[left]).tolist()
    # The field of these homes alone, kept up to date as each of them moves in turn.
    field = _core.fields(gram, start, left)
    among = gram[left[:, None], left]
    neutral = complex((now * TURN[start]).sum())
    here = np.arange(left.size)
    load = None if limits_a is None else _Load(phase_currents(now, start), limits_a)
    for _ in left:
        gains = 2 * (field[here, x] - field[here, to]) - price
        if load is not None:
            each = zip(amps.tolist(), x.tolist(), to.tolist(), strict=True)
            roomy = np.array([load.has_room(i, a, b) for i, a, b in each]) & (x != to)
            if roomy.any():
                gains[~roomy] = -np.inf
        k = int(gains.argmax())
        was, then = int(x[k]), int(to[k])
        before = abs(neutral)
        neutral += complex(amps[k] * (TURN[then] - TURN[was]))
        size = float(abs(amps[k]))
        reason = (
            f"{size:.1f} A from {'ABC'[was]} to {'ABC'[then]}: "
            f"neutral {before:.1f} A to {abs(neutral):.1f} A"
        )
        if load is not None:
            reason += load.moved(amps[k], was, then)
        if expected is not None:
            some = f"{expected[k]:.1f} A"
            if size >= _LITTLE_A and expected[k] <= 2 * size:
                some = f"{100 * expected[k] / size:.0f} % of it"
            reason += f", {some} expected in {later_min:.0f} min"
        moves.append(Move(int(left[k]), was, then, float(gains[k]), reason))
        # C[g, h, q - x_h] = C[h, g, x_h - q]
        field += among[k][:, _APART[then]] - among[k][:, _APART[was]]
        x[k] = then
        price[k] = np.inf  # its turn is over
    return moves


class _Load:
    """What each phase carries, complex[3] A, and what it may, while homes move one by one."""

    def __init__(self, sums: NDArray[np.complex128], limits_a: float | Sequence[float]) -> None:
        self.sums: list[complex] = sums.tolist()
        self.limits: list[float] = np.broadcast_to(np.asarray(limits_a, float), 3).tolist()

    def _over(self, phase: int, total: complex) -> float:
        return max(abs(total) ** 2 - self.limits[phase] ** 2, 0.0)

    def has_room(self, amps: complex, was: int, to: int) -> bool:
        """Whether a move adds nothing to the excess over the limits."""
        before = self._over(was, self.sums[was]) + self._over(to, self.sums[to])
        after = self._over(was, self.sums[was] - amps) + self._over(to, self.sums[to] + amps)
        return after <= before * (1.0 + 1e-12)

    def moved(self, amps: complex, was: int, to: int) -> str:
        """Make a move; in words what it does for a phase over its limit, empty if it is not."""
        before = abs(self.sums[was])
        self.sums[was] -= amps
        self.sums[to] += amps
        if before <= self.limits[was]:
            return ""
        return (
            f", phase {'ABC'[was]} {before:.1f} A to {abs(self.sums[was]):.1f} A "
            f"(limit {self.limits[was]:.0f} A)"
        )
