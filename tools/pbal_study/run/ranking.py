"""Which homes should get a relay first.

Two orders compete. Greedy by marginal benefit: on moments spread over the whole period, add the
home whose freedom to move cuts the squared neutral current most, given the homes already chosen,
which re-settle after each choice; half-hour means are used, so that a home counts for load that
lasts long enough to be worth a switching. The other: heaviest first. The real planner then runs
with the first third of each, and the order that did better is recommended.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..feeder.model import A, Complex
from .controllers import Loop, pbal
from .street import Street

_TURN = A ** -np.arange(3.0)


def half_hour_means(street: Street, moments: int, seed: int) -> Complex:
    """Mean currents of joints over up to `moments` half hours, [S, J + fixed ports]."""
    n = max(1, round(1800 / street.step_s))
    starts = np.arange(0, max(1, len(street) - n + 1), n)
    if len(starts) > moments:
        starts = np.sort(np.random.default_rng([seed, 6]).choice(starts, moments, replace=False))
    return np.array([street.currents(int(a), int(a) + n).mean(axis=0) for a in starts])


def rank_homes(
    street: Street, *, moments: int = 400, seed: int = 1, order: list[int] | None = None
) -> tuple[list[int], list[float]]:
    """Joints (`Feeder.joint_of`) in the order in which they should get a relay, and the mean
    squared neutral current left after each, as a share of as built (so it falls from below 1).

    With `order` given, that order is only evaluated.
    """
    currents = half_hour_means(street, moments, seed)
    homes = street.feeder.n_joints
    phases = np.tile(street.all_start().astype(np.int64), (len(currents), 1))
    neutral = (currents * _TURN[phases]).sum(axis=1)
    built = max(float((np.abs(neutral) ** 2).mean()), 1e-12)
    left = list(range(homes))
    done: list[int] = []
    curve: list[float] = []
    while left:
        if order is None:
            benefit = [_best_move(currents, phases, neutral, h)[1].mean() for h in left]
            chosen = left[int(np.argmax(benefit))]
        else:
            chosen = order[len(done)]
        left.remove(chosen)
        done.append(chosen)
        # The new home is placed first, then every chosen one again, twice.
        for h in [chosen, *done, *done]:
            to, _ = _best_move(currents, phases, neutral, h)
            neutral = neutral + currents[:, h] * (_TURN[to] - _TURN[phases[:, h]])
            phases[:, h] = to
        curve.append(float((np.abs(neutral) ** 2).mean()) / built)
    return done, curve


def _best_move(
    currents: Complex, phases: NDArray[np.int64], neutral: Complex, home: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Best phase of one home in every moment, [S], and the fall of |I_N|^2 it brings, [S]."""
    own = currents[:, home]
    rest = neutral - own * _TURN[phases[:, home]]
    cost = np.abs(rest[:, None] + own[:, None] * _TURN) ** 2
    to = np.argmin(cost, axis=1)
    rows = np.arange(len(own))
    # In a tie the home stays, so that one without load is never moved.
    stay = cost[rows, phases[:, home]]
    to = np.where(cost[rows, to] < stay - 1e-9, to, phases[:, home])
    return to, stay - cost[rows, to]


@dataclass(frozen=True)
class Benefit:
    """Neutral-current cut that the real planner reaches with relays on some homes."""

    choice: str
    """The order the homes were taken from: `ranked` (greedy) or `heaviest`."""
    relays: int
    cut: float
    share_of_all: float
    """Of the cut with a relay on every home."""
    switchings_per_day: float
    others: str = "metered"
    """What the planner knew of the homes without a relay (`Loop.others`)."""


KNOWN = ("remainder", "unseen")
RUNS = 6 + len(KNOWN)
"""Runs of the planner that `measured_benefit` needs."""


def measured_benefit(
    street: Street,
    orders: dict[str, list[int]],
    loop: Loop,
    *,
    days: float = 3.0,
    progress: Callable[[int], None] | None = None,
) -> tuple[str, list[Benefit], list[Benefit]]:
    """Which of the orders did better, and what the real planner reached with how many relays.

    The first third of each order; then a sixth, half, two thirds of the better one, and all. On
    the first `days` only. Every home is metered in these, so that the relays are all that differs;
    last comes the better third again with the others known as a remainder and not at all. Neutral
    currents are at nominal voltage.
    """
    steps = min(len(street), max(2, round(days * 86400 / street.step_s)))
    currents = street.currents(0, steps)
    homes, first_at = street.feeder.n_joints, street.feeder.first_at
    everyone = np.tile(street.all_start().astype(np.int64), (steps, 1))
    built = float(np.abs((currents * _TURN[everyone]).sum(axis=1)).mean())

    def run(choice: str, count: int, others: str = "metered") -> tuple[str, int, float, float]:
        relays = np.zeros(homes, bool)
        relays[orders[choice][:count]] = True
        relays = relays[street.feeder.joint_of]
        its = replace(loop, others=others)
        trajectory = pbal(street, relays, its, progress, steps)
        everyone[:, :homes] = trajectory.phases[:, first_at]
        after = float(np.abs((currents * _TURN[everyone]).sum(axis=1)).mean())
        per_day = float(trajectory.switchings()[first_at].sum() / (steps * street.step_s / 86400))
        return choice, count, 1 - after / built if built > 0 else 0.0, per_day

    third = max(1, round(homes / 3))
    found = [run(choice, third) for choice in orders]
    best = max(found, key=lambda f: f[2])[0]
    others = {max(1, round(homes * share)) for share in (1 / 6, 1 / 2, 2 / 3, 1)} - {third}
    found += [run(best, count) for count in sorted(others)]
    full = max(found, key=lambda f: f[1])[2]

    def told(how: str, n: int, cut: float, per_day: float, others: str = "metered") -> Benefit:
        return Benefit(how, n, cut, cut / full if full > 0 else 0.0, per_day, others)

    benefits = [told(*f) for f in sorted(found, key=lambda f: f[1])]
    return best, benefits, [told(*run(best, third, others), others) for others in KNOWN]
