"""How much of the true neutral current one home's word may cost, whatever it says.

Let H(x) be the neutral phasor of everything but home h while the homes are on phases x, and t
the true current of h, of which only |t| <= F is known, F its fuse. True is |H(x) + t|; the word
of h has no part in it and can do harm only by moving *other* homes, from x to x':

    harm = |H(x') + t| - |H(x) + t|  <=  |H(x') - H(x)|                       for every t
                                     <=  |H(x')| + F - max(|H(x)| - F, 0)      for |t| <= F

Moves are let through one by one while for *every* home

1. |H(x')| <= max(|H(x)|, F / 2): for its sake the others are unbalanced by half its fuse's
   current at most. This needs no memory. Where the others were balanced within F / 2 at one
   time they stay so, any two such states are F apart at most, and the harm is at most F, for
   every t, against every earlier moment since.
2. where they are not yet balanced so (as a street is built), the lesser of the two limits above
   is at most F against the phases now and at every plan since they last were. What a home can
   have cost already, because the loads have changed since, may stay but not grow.

Where the transformer's meter tells the true neutral phasor M, t is not free: H becomes M plus
the change that the moves make, and the free F in the second limit becomes 0.

One home lies; the words of the others are true. All is judged with the loads of the moment of
the plan. What h does with its own contacts moves its own load; no word is needed for that.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbal_controller.balancing import Move
from pbal_controller.balancing.phasors import TURN

#: Phases of earlier plans that are kept.
KEEP = 96
_SLACK_A = 1e-6


class WordBound:
    """Lets moves through as long as no home's word can do more harm than its fuse's current.

    fuses_a: of each home, A.
    """

    def __init__(self, fuses_a: ArrayLike) -> None:
        self.fuses_a = np.asarray(fuses_a, np.float64)
        n = len(self.fuses_a)
        self._past = np.empty((0, n), np.int8)
        self._first = np.zeros(n, np.int64)  # of the past phases that still bind, for each home
        self.held_back_total = 0

    def clamp(self, amps: ArrayLike) -> NDArray[np.complex128]:
        """complex[n] A, none more than its home's fuse carries; NaN stays."""
        current = np.array(amps, np.complex128)
        size = np.abs(current)
        over = size > self.fuses_a
        current[over] *= self.fuses_a[over] / size[over]
        return current

    def admit(
        self,
        moves: Sequence[Move],
        phases: ArrayLike,
        amps: ArrayLike,
        *,
        rest_a: complex = 0j,
        measured_a: complex | None = None,
    ) -> list[Move]:
        """Those of the moves that may be made now, in an order in which each of them may.

        phases: int[n], 0..2, -1 open or unknown. amps: complex[n] A in each home's own phase's
        frame, NaN unknown. rest_a: neutral phasor of what has no node, A, as far as it is known.
        measured_a: the neutral phasor at the transformer, A, where there is a meter; rest_a is
        then not used.
        """
        x = np.asarray(phases, np.int8)
        current = np.nan_to_num(self.clamp(amps))
        current[x < 0] = 0.0
        self._remember(x)
        street = _Street(self.fuses_a, current, x, rest_a, measured_a)
        self._first[street.others_a <= 0.5 * self.fuses_a] = len(self._past) - 1
        street.compare_with(self._past, self._first)
        taken: list[Move] = []
        left = list(moves)
        # What is too much now may fit after another move: again, until none more is taken.
        while left:
            waiting = [move for move in left if not street.take(move)]
            taken += [move for move in left if move not in waiting]
            if len(waiting) == len(left):
                break
            left = waiting
        self.held_back_total += len(left)
        return taken

    def _remember(self, x: NDArray[np.int8]) -> None:
        if len(self._past) and not (self._past[-1] != x).any():
            return
        drop = max(0, len(self._past) + 1 - KEEP)
        self._past = np.vstack((self._past[drop:], x[None]))
        self._first = np.maximum(self._first - drop, 0)


class _Street:
    """Homes on phases `x`, and what each one's word can have cost.

    others_a: |H| for each home, A, on the phases it was made with.
    """

    def __init__(
        self,
        fuses_a: NDArray[np.float64],
        current: NDArray[np.complex128],
        x: NDArray[np.int8],
        rest_a: complex,
        measured_a: complex | None,
    ) -> None:
        self._fuses = fuses_a
        self._current = current
        self._unknown = x < 0
        self.x = x.copy()
        if measured_a is None:
            self._base = np.full(len(x), rest_a, np.complex128)
            self._free = fuses_a
        else:
            self._base = measured_a - self._without(x)
            self._free = np.zeros(len(x))
        others = self._without(x) + self._base
        self.others_a = np.abs(others)
        self._most = np.maximum(self.others_a, 0.5 * fuses_a) + _SLACK_A
        self._past = others[None]
        self._counts = np.ones((1, len(x)), bool)
        self._harm_most = fuses_a + _SLACK_A

    def compare_with(self, past: NDArray[np.int8], first: NDArray[np.int64]) -> None:
        """Take int8[k, n] earlier phases; of home h those from first[h] on bind."""
        # A home that was on no phase then, or is on none now, is taken as it is now.
        was = np.where((past < 0) | self._unknown, self.x, past)
        turned = self._current * TURN[was]
        self._past = turned.sum(axis=1)[:, None] - turned + self._base
        self._counts = np.arange(len(past))[:, None] >= first
        harm_now = self._harm(self._without(self.x) + self._base)
        self._harm_most = np.maximum(harm_now, self._fuses) + _SLACK_A

    def _without(self, x: NDArray[np.int8]) -> NDArray[np.complex128]:
        turned = self._current * TURN[x]
        return np.asarray(turned.sum() - turned)

    def _harm(self, others: NDArray[np.complex128]) -> NDArray[np.float64]:
        apart = np.abs(others - self._past)
        far = np.abs(others) + self._free - np.maximum(np.abs(self._past) - self._free, 0.0)
        return np.asarray(np.where(self._counts, np.minimum(apart, far), 0.0).max(axis=0))

    def take(self, move: Move) -> bool:
        """Make the move if no word can then have cost too much; whether it was made."""
        y = self.x.copy()
        y[move.home] = move.to_phase
        others = self._without(y) + self._base
        if (np.abs(others) > self._most).any() or (self._harm(others) > self._harm_most).any():
            return False
        self.x = y
        return True
