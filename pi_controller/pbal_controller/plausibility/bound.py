"""A bound on how much one home's reports can raise the true neutral current, whatever they are.

Let H(x) be the neutral phasor of everything but home h while the homes are on phases x, and t
the true current of h, of which only |t| <= F is known, F its fuse. The true current is |H(x) + t|;
it does not depend on what h reports, which can do harm only by moving *other* homes, from x to x':

    harm = |H(x') + t| - |H(x) + t|  <=  |H(x') - H(x)|                       for every t
                                     <=  |H(x')| + F - max(|H(x)| - F, 0)      for |t| <= F

Moves are let through one by one while for *every* home one of two sets of rules holds, by its fuse.

Small fuses, below LARGE_A:

1. the lesser of the two is at most F against the phases now and against all that are remembered,
   KEEP of them, over restarts too. What a home can have cost already, because the loads have
   changed since, may stay but not grow.
2. |H(x')| <= max(|H(x)|, F): for its sake the others are unbalanced by its fuse's current at most.
   This needs no memory, and bounds the harm over phases that are forgotten:
   |H(x') + t| <= 2 F, or what the others were unbalanced by anyway and t.

Large fuses. A street is mostly balanced within half of them, and old phases would only prevent its
moves:

1. |H(x')| <= max(|H(x)|, F / 2). Where the others were balanced within F / 2 at one time they stay
   so, any two such states are F apart at most, and the harm is at most F, for every t, against
   every earlier moment since.
2. where they are not yet balanced so (as a street is built), the lesser of the two limits above
   is at most F against the phases now and at every plan since they last were; it may stay but not
   grow, as above.
3. when they are, the phases x of those plans stay remembered with what h said it drew on them, a
   disc of centre c and radius r <= F that holds all its claims. Until it began to lie that was the
   truth, |t - c| <= r on these phases at least. So with H + c in place of H and r in place of F

       harm  <=  |H(x') + c - P|,  P the image of H(x) + c in the tangent of the disc |z| <= r
                                   that is nearest to it, or any point between both: no z = c - t
                                   is nearer to H(x) + c than to P
             <=  |H(x') + c| + r - max(|H(x) + c| - r, 0)

   and the lesser of these and of |H(x') - H(x)| is at most F, for c turned to each phase, as h may
   have moved its load. Of a home that lied from the beginning nothing was the truth: so the
   first phases of all are kept for good, for every |t| <= F.

By 1 alone, between a moment before the others were balanced so and one after,

    harm  <=  |H(x')| + |t| - | |H(x)| - |t| |  <=  F / 2 + |t|,

1.5 F at most: a home that draws nearly F and made up for how the street was built reports no
current until the others are balanced, then one that unbalances them the other way. 2 and 3 leave F
against the moment when it began to lie, whatever it did until then. What is left of the 1.5 F: the
phases of that moment were forgotten, KEEP plans with moves ago; or its true load is another than
then, which no word can be blamed for.

Where the transformer's meter measures the true neutral phasor M, t is not free: H becomes M plus
the change that the moves make, and one rule is enough: no plan brings the true neutral current
above F / 2, or above what it was.

A load that h moves by its own contacts, ordered or not, is felt where it lands, together with what
the others were turned by while it was elsewhere. The meter's rule does not know of that: h leaves
one phase, moves bring the neutral back within F / 2, h returns, and the others are up to
sqrt(3) |t| + F / 2 from where they were. A bound that is `strict` closes this, and what is left of
the 1.5 F:

* without a meter the rules of small fuses hold for every home;
* with one, |H(x') - H(x)| <= F against the phases now and all that are remembered, beside the rule
  above (the other limit on the harm needs H, which a meter does not tell without t); a difference
  that is more because the loads have changed may stay but not grow.

So for h held on any phase plans add F at most between any two moments that are remembered; what
remains is h's own step. It costs more of the balance (docs/balancing.md), with a meter as much as
without, so it is a setting: plausibility.strict.

Moves ordered before may still be under way, and each may be made or not, as may each move of this
plan: a node can refuse. Both limits hold for every way in which all of these can end, against the
way in which what was ordered before ends alike and nothing of this plan is made. (Of many moves
ordered before, for the ends that are an extreme of H.) So that all ends can be checked, a plan gets
at most as many moves through as make MOST_ENDS of them; the rest is proposed anew.

Assumed is that one home's reports are false; the others' are true, and their fuses are not set
below what they draw. All is evaluated with the loads of the moment of the plan. With its own
contacts h can move its own load; no report is needed for that. It adds sqrt(3) |t| at most.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pbal_controller.balancing import Move
from pbal_controller.balancing.phasors import TURN
from pbal_controller.plausibility.past import UNITS, Past

#: Phases of earlier plans that are kept: some ten days of a street of 60 homes.
KEEP = 1000
#: A, from which on a fuse is large: `python -m bench.word_bound` says what either costs.
LARGE_A = 50.0
#: Ways in which moves that are not made yet can end: those of six moves, each made or not.
MOST_ENDS = 64
_SLACK_A = 1e-6


class WordBound:
    """Lets moves through as long as no home's reports can do more harm than its fuse's current.

    fuses_a: of each home, A. strict: every earlier moment counts, for each fuse, also with a meter.
    """

    def __init__(self, fuses_a: ArrayLike, *, strict: bool = False) -> None:
        self.fuses_a = np.asarray(fuses_a, np.float64)
        n = len(self.fuses_a)
        self._past = np.empty((0, n), np.int8)
        self._strict = strict
        self._large = (self.fuses_a >= LARGE_A) & (not strict)
        # The past phases that bind for each home, whatever it draws: the first, and from this one.
        self._first = np.zeros(n, np.int64)
        # Of the others, what it said: the disc's centre (2) and radius, -1 where they do not bind.
        self._said = _nothing_said(0, n)
        self._claims = np.empty((4, n))  # on the phases now: least and greatest, re and im, of F
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
        under_way: Mapping[int, tuple[int, int]] | None = None,
    ) -> list[Move]:
        """Those of the moves that may be made now, in an order in which each of them may.

        phases: int[n], 0..2, -1 open or unknown. amps: complex[n] A in each home's own phase's
        frame, NaN unknown. rest_a: neutral phasor of what has no node, A, as far as it is known.
        measured_a: the neutral phasor at the transformer, A, where there is a meter; rest_a is
        then not used. under_way: homes with a move that was ordered before and has not ended, and
        its two phases.
        """
        x = np.asarray(phases, np.int8)
        current = np.nan_to_num(self.clamp(amps))
        current[x < 0] = 0.0
        self._remember(x)
        free_a = np.where(self._large | (measured_a is not None), 0.5, 1.0) * self.fuses_a
        street = _Street(self.fuses_a, free_a, current, x, rest_a, measured_a)
        if measured_a is None:
            balanced = np.abs(street.others_a) <= 0.5 * self.fuses_a
            self._first[balanced & self._large] = len(self._past) - 1
            self._note(~balanced & self._large, current, x)
        if measured_a is None or self._strict:
            street.compare_with(self._past, self._first, self._said)
        streets = [street.instead(y) for y in _ends(x, current, under_way or {})]
        room = max(MOST_ENDS, 2 * len(streets))
        taken: list[Move] = []
        left = list(moves)
        # What is too much now may fit after another move: again, until none more is taken.
        while left:
            waiting = [move for move in left if not _take(move, streets, room)]
            taken += [move for move in left if move not in waiting]
            if len(waiting) == len(left):
                break
            left = waiting
        self.held_back_total += len(left)
        return taken

    def state(self) -> dict[str, Any]:
        """What is remembered, for a restart."""
        return {"past": self._past, "said": self._said}

    def load(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave. Raises ValueError when it is about other homes."""
        past = np.asarray(state["past"])
        if past.dtype != np.int8 or past.ndim != 2 or past.shape[1] != len(self.fuses_a):
            raise ValueError("bound: no phases of these homes")
        if len(past) and not ((past >= -1) & (past <= 2)).all():
            raise ValueError("bound: no phases")
        # Older versions did not know what homes said.
        said = np.asarray(state.get("said", _nothing_said(*past.shape)))
        if said.dtype != np.int8 or said.shape != (*past.shape, 3):
            raise ValueError("bound: no claims of these homes")
        self._past, self._said = past[-KEEP:], said[-KEEP:]
        self._first[:] = 0
        self._forget_claims()

    def _remember(self, x: NDArray[np.int8]) -> None:
        if len(self._past) and not (self._past[-1] != x).any():
            return
        # The first phases of all stay.
        drop = max(0, len(self._past) + 1 - KEEP)
        self._past = np.vstack((self._past[:1], self._past[1 + drop :], x[None]))
        self._said = np.concatenate(
            (self._said[:1], self._said[1 + drop :], _nothing_said(1, len(x)))
        )
        self._first = np.where(self._first > drop, self._first - drop, np.minimum(self._first, 1))
        self._forget_claims()

    def _forget_claims(self) -> None:
        self._claims[:2], self._claims[2:] = np.inf, -np.inf

    def _note(
        self, binds: NDArray[np.bool_], current: NDArray[np.complex128], x: NDArray[np.int8]
    ) -> None:
        """What homes said on the phases now; kept of those for which these bind or did before."""
        claims = np.array([current.real, current.imag]) / self.fuses_a
        claims[:, x < 0] = np.nan
        self._claims[:2] = np.fmin(self._claims[:2], claims)
        self._claims[2:] = np.fmax(self._claims[2:], claims)
        binds = (binds | (self._said[-1, :, 2] >= 0)) & np.isfinite(self._claims).all(axis=0)
        least, greatest = self._claims[:2, binds], self._claims[2:, binds]
        # Rounded so that the disc holds the box of the claims.
        radius = np.ceil(UNITS * np.hypot(*(greatest - least)) / 2 + 0.75)
        self._said[-1, binds, :2] = np.rint(UNITS * (least + greatest) / 2).T
        self._said[-1, binds, 2] = np.minimum(radius, 127)


def _nothing_said(rows: int, homes: int) -> NDArray[np.int8]:
    return np.full((rows, homes, 3), -1, np.int8)


def _ends(
    x: NDArray[np.int8], current: NDArray[np.complex128], under_way: Mapping[int, tuple[int, int]]
) -> list[NDArray[np.int8]]:
    """Phases after every way in which the moves under way can end; of many, after the farthest."""
    ways = {h: way for h, way in under_way.items() if x[h] in way}
    if 2 ** len(ways) > MOST_ENDS // 2:
        return [x, *_farthest(x, current, ways)]
    ends = [x]
    for h, way in ways.items():
        other = way[1] if x[h] == way[0] else way[0]
        ends += [_moved(end, h, other) for end in ends]
    return ends


def _moved(x: NDArray[np.int8], home: int, phase: int) -> NDArray[np.int8]:
    y = x.copy()
    y[home] = phase
    return y


def _farthest(
    x: NDArray[np.int8], current: NDArray[np.complex128], ways: Mapping[int, tuple[int, int]]
) -> list[NDArray[np.int8]]:
    """Phases after those ends of moves under way between which all their ends lie.

    The sum of k phasors that are there or not is inside a polygon; of its corners, at most 2 k,
    each is the farthest in some direction: there are just the phasors that point that way.
    """
    homes = np.array(list(ways))
    came, goes = np.array(list(ways.values()), np.int8).T
    steps = current[homes] * (TURN[goes] - TURN[came])
    edges = np.sort(np.angle(np.concatenate((1j * steps, -1j * steps))))
    between = np.exp(1j * (edges + np.roll(edges, -1)) / 2)
    between[-1] *= -1  # from the last over the full turn to the first
    found: dict[bytes, NDArray[np.int8]] = {}
    for made in (steps * between[:, None].conj()).real > 0:
        y = x.copy()
        y[homes] = np.where(made, goes, came)
        found[y.tobytes()] = y
    found.pop(x.tobytes(), None)
    return list(found.values())


def _take(move: Move, streets: list[_Street], room: int) -> bool:
    """Let the move through if it may be made in all of them, and add those where it is made.

    No more than `room` of them come together.
    """
    if 2 * len(streets) > room or not all(street.allows(move) for street in streets):
        return False
    streets += [street.made(move) for street in streets]
    return True


class _Street:
    """Homes on phases `x`, and what each one's reports can have cost.

    free_a: up to where |H| may grow. others_a: |H| for each home, A, on the phases it was made
    with. With a meter H stands for what it measures, so only changes of H are known.
    """

    def __init__(
        self,
        fuses_a: NDArray[np.float64],
        free_a: NDArray[np.float64],
        current: NDArray[np.complex128],
        x: NDArray[np.int8],
        rest_a: complex,
        measured_a: complex | None,
    ) -> None:
        self._fuses = fuses_a
        self._current = current
        self._unknown = x < 0
        self.x = x.copy()
        self._free = free_a
        self._metered = measured_a is not None
        if measured_a is None:
            self._base = np.full(len(x), rest_a, np.complex128)
        else:
            self._base = measured_a - self._without(x)
        self.others_a = np.abs(self._others(x))
        self._most = self._allowed()
        self._past: Past | None = None
        self._harm_most = fuses_a

    def instead(self, x: NDArray[np.int8]) -> _Street:
        """The same street after some of the moves under way; what has no node is as it was."""
        other = copy.copy(self)
        other.x = x.copy()
        other._most = other._allowed()
        other._bound_harm()
        return other

    def compare_with(
        self, past: NDArray[np.int8], first: NDArray[np.int64], said: NDArray[np.int8]
    ) -> None:
        """Bound the harm against int8[k, n] earlier phases, too: for home h the first and those
        from first[h] on, whatever it draws; others for what it said then, int8[k, n, 3].
        """
        # A home that was on no phase then, or is on none now, is taken as it is now.
        turned = self._current * TURN[np.where((past < 0) | self._unknown, self.x, past)]
        others = turned.sum(axis=1)[:, None] - turned + self._base
        whole = np.arange(len(past))[:, None] >= first
        whole[0] = True
        self._past = Past(others, whole, said, self._fuses, not self._metered)
        self._bound_harm()

    def _bound_harm(self) -> None:
        if self._past is not None:
            harm_now = self._harm(self._others(self.x))
            self._harm_most = np.maximum(harm_now, self._fuses) + _SLACK_A

    def _without(self, x: NDArray[np.int8]) -> NDArray[np.complex128]:
        turned = self._current * TURN[x]
        return np.asarray(turned.sum() - turned)

    def _others(self, x: NDArray[np.int8]) -> NDArray[np.complex128]:
        return np.asarray(self._without(x) + self._base)

    def _allowed(self) -> NDArray[np.float64]:
        return np.asarray(np.maximum(np.abs(self._others(self.x)), self._free) + _SLACK_A)

    def _harm(self, others: NDArray[np.complex128]) -> NDArray[np.float64]:
        assert self._past is not None
        return self._past.harm(others)

    def made(self, move: Move) -> _Street:
        """The same when this move of the plan is made too: measured by what it was without."""
        other = copy.copy(self)
        other.x = self.after(move)
        return other

    def after(self, move: Move) -> NDArray[np.int8]:
        """The phases when this move is made too."""
        return _moved(self.x, move.home, move.to_phase)

    def allows(self, move: Move) -> bool:
        """Whether no home's reports can have cost too much when this move is made too."""
        others = self._others(self.after(move))
        if (np.abs(others) > self._most).any():
            return False
        return self._past is None or not (self._harm(others) > self._harm_most).any()
