"""The hindsight optimum: what a controller that knew the whole future would have done.

Minimises ``sum_t beta |I_N(t)|^2 + price * switchings`` over every home's path at once. Every
causal controller is compared with it. The search is a simulated annealing whose one step redraws a
home's whole path from its exact conditional distribution (forward filter, backward draw), then
exact passes: best path of one home, and of two homes together, until neither finds anything. Equal
to enumeration on small streets (tests); not proven optimal on large ones (docs/balancing.md says
how far repeated runs differ).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._paths import Street

#: With how many partners each home is tried, two homes' paths at once. On larger streets the number
#: of pairs grows linearly with the homes, not quadratically. 64 find nothing more than 32 do; 20
#: find one per cent less (docs/balancing-notes.md).
PARTNERS = 32
#: What a pair of homes must gain, of the whole cost: less is rounding.
_LITTLE = 1e-9


@dataclass(frozen=True)
class Hindsight:
    """paths int8[T, n]; cost of the objective; switchings in all; price they were found at.

    spread: by how much the dearest of several searches at that price is above this, as a share; 0
    where there was one only.
    """

    paths: NDArray[np.int8]
    cost: float
    switchings: int
    price: float
    spread: float = 0.0


def hindsight(
    currents: ArrayLike,
    start: ArrayLike,
    price: float,
    *,
    beta: float = 1.0,
    movable: ArrayLike | None = None,
    sweeps: int = 120,
    pairs: bool = True,
    seed: int = 1,
    warm: ArrayLike | None = None,
) -> Hindsight:
    """Best paths for a price in A^2 x steps per switching (times beta).

    currents: complex[T, n] A, own-phase reference. start: int[n], phases before step 0.
    movable: bool[n]. sweeps: annealing sweeps. warm: paths int[T, n] to start from. pairs: try
    two homes at once as well; without, the cost of a search over days is a sixth too high.
    """
    amps = np.asarray(currents, np.complex128)
    steps, n = amps.shape
    x0 = np.ascontiguousarray(start, np.int8)
    free = np.flatnonzero(np.ones(n, bool) if movable is None else np.asarray(movable, bool))
    re = np.ascontiguousarray(amps.real.T)
    im = np.ascontiguousarray(amps.imag.T)
    if warm is None:
        paths = np.repeat(x0[:, None], steps, axis=1)
    else:
        paths = np.ascontiguousarray(np.asarray(warm, np.int8).T)
    street = Street(re, im, paths, x0, beta, seed)
    rng = np.random.default_rng(seed)
    if free.size:
        # Annealing temperatures: from a home's own squared current per step down to where one path
        # is nearly certain.
        hot = 0.3 * beta * float((np.abs(amps[:, free]) ** 2).mean()) + 1e-9
        if warm is not None:
            hot *= 0.1
        for k in range(sweeps):
            temperature = hot * (1e-4 ** (k / max(sweeps - 1, 1)))
            for h in rng.permutation(free):
                street.sample(int(h), price, temperature)
        _settle(street, free, price, rng, _together(amps, free) if pairs else None)
    switchings = int((np.diff(paths, axis=1) != 0).sum() + (paths[:, 0] != x0).sum())
    return Hindsight(paths.T.copy(), float(street.total(price)), switchings, price)


def _settle(
    street: Street,
    free: NDArray[np.int64],
    price: float,
    rng: np.random.Generator,
    together: NDArray[np.bool_] | None,
) -> None:
    """Exact passes until a whole round of them gains nothing.

    together: bool[n, n], which two homes are tried at once; None for no pairs.
    """
    cost = street.total(price)
    while True:
        for h in rng.permutation(free):
            street.one(int(h), price)
        now = street.total(price)
        if now < cost * (1 - 1e-9):
            cost = now
            continue
        if together is None:
            return
        order = rng.permutation(free)
        for k, h in enumerate(order):
            street.pairs(int(h), order[:k][together[h, order[:k]]], price, _LITTLE * cost)
        now = street.total(price)
        if now >= cost * (1 - 1e-4):
            return
        cost = now


def _together(amps: NDArray[np.complex128], free: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool[n, n], symmetric: each home and those with which it shares most load at the same
    time, PARTNERS of them; all pairs where the homes are no more than that."""
    size = np.abs(amps)
    shared = size.T @ size
    np.fill_diagonal(shared, -1.0)
    able = np.zeros(len(shared), bool)
    able[free] = True
    shared[:, ~able] = -1.0
    best = np.argsort(-shared, axis=1, kind="stable")[:, :PARTNERS]
    out = np.zeros(shared.shape, bool)
    np.put_along_axis(out, best, True, axis=1)
    out &= able & able[:, None]
    np.fill_diagonal(out, False)
    return np.asarray(out | out.T)


def at_budget(
    currents: ArrayLike,
    start: ArrayLike,
    per_home_per_step: float,
    *,
    sweeps: int = 60,
    seed: int = 1,
    movable: ArrayLike | None = None,
    tries: int = 3,
) -> Hindsight:
    """The hindsight optimum whose switchings just meet a budget.

    The price is bracketed with quick searches and then corrected with thorough ones; the
    answer keeps the budget (at most 1 % over) and is within about 5 % of using all of it. It is the
    cheapest of `tries` searches at that price.
    """
    amps = np.asarray(currents, np.complex128)
    budget = per_home_per_step * amps.shape[0] * amps.shape[1]
    mean_square = float((np.abs(amps) ** 2).mean()) + 1e-9
    low, high = 0.3 * mean_square, 3e4 * mean_square
    for k in range(9):
        price = float(np.sqrt(low * high))
        quick = hindsight(
            amps, start, price, sweeps=sweeps // 2, pairs=False, seed=seed + k, movable=movable
        )
        if quick.switchings > budget:
            low = price
        else:
            high = price
    best: Hindsight | None = None
    price = 0.8 * float(np.sqrt(low * high))  # the thorough search needs fewer switchings
    for k in range(6):
        found = hindsight(amps, start, price, sweeps=sweeps, seed=seed + k, movable=movable)
        used = found.switchings / max(budget, 1e-9)
        if used <= 1.01 and (best is None or found.switchings > best.switchings):
            best = found
        if 0.95 <= used <= 1.01:
            break
        price *= min(max(used, 0.5), 2.0) ** 1.1 * (1.02 if used > 1.01 else 1.0)
    found = best or hindsight(amps, start, 1.5 * price, sweeps=sweeps, seed=seed, movable=movable)
    return again(
        amps,
        start,
        found,
        (0.95 * budget, 1.01 * budget),
        tries,
        sweeps=sweeps,
        seed=seed,
        movable=movable,
    )


def again(
    currents: ArrayLike,
    start: ArrayLike,
    found: Hindsight,
    within: tuple[float, float],
    tries: int,
    *,
    sweeps: int,
    seed: int,
    movable: ArrayLike | None = None,
) -> Hindsight:
    """The cheapest of `found` and `tries - 1` searches with other seeds at its price, of those
    whose switchings are `within` these bounds, so that it stays comparable. Runs differ by up to
    8 % (docs/balancing.md).
    """
    runs = [found]
    for k in range(1, tries):
        more = hindsight(
            currents, start, found.price, sweeps=sweeps, seed=seed + 1000 * k, movable=movable
        )
        if within[0] <= more.switchings <= within[1]:
            runs.append(more)
    least = min(runs, key=lambda run: run.cost)
    dearest = max(run.cost for run in runs)
    return replace(least, spread=dearest / least.cost - 1.0 if least.cost > 0 else 0.0)
