"""Whether a move is better put off: short and long loads look alike in their first minute.

A move that saves more than its price on average may still be worth putting off: after a few minutes
it is known which of the loads behind it have ended. With V what the move still saves after that
time (one value for each scenario) and c its price, waiting saves the price where the move would not
have paid, and costs what is lost meanwhile. Hence: move now only if

    what it saves meanwhile  >=  mean over scenarios of max(c - V, 0)

(one step of optimal stopping; where V is certain it reduces to "saving above price").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import _gains
from .persistence import Chances
from .phasors import TURN

Complex = NDArray[np.complex128]


def lumped(
    moves: NDArray[np.bool_],
    phases: NDArray[np.int8],
    amps: Complex,
    lean: Complex,
    chances: Chances,
) -> Complex:
    """Scenarios, complex[ways, m, k + 1]: the k homes that may move, and last all
    others as one load on phase A, for in the neutral only their sum counts.

    moves: bool[n]. amps: complex[m, n], currents were every step to stay. lean: complex[m, n],
    what a home's current falls by with each ampere of its steps. chances: of `Persistence`.
    """
    h, size, stays, then = chances
    others = np.where(moves, 0.0, TURN[phases])
    out = np.empty((len(stays), len(amps), 1 + np.count_nonzero(moves)), np.complex128)
    out[:, :, :-1] = amps[:, moves]
    out[:, :, -1] = amps @ others
    # size * (stays * then - 1), summed over steps: for the others in one operation.
    weight = size * (lean * others)[:, h]
    lost = weight.sum(axis=1)
    weight *= then
    on = stays.astype(np.float64)
    out[:, :, -1].real += on @ weight.real.T - lost.real
    out[:, :, -1].imag += on @ weight.imag.T - lost.imag
    mine = np.flatnonzero(moves[h])
    at = (np.cumsum(moves) - 1)[h[mine]]
    change = (stays[:, None, mine] * then[:, mine] - 1.0) * (size[mine] * lean[:, h[mine]])
    for k, column in enumerate(at.tolist()):
        out[:, :, column] += change[:, :, k]
    return out


def put_off(
    start: NDArray[np.int8],
    best: NDArray[np.int8],
    price: NDArray[np.float64],
    meanwhile: tuple[Complex, NDArray[np.float64]],
    later: tuple[Complex, NDArray[np.float64]],
    beta: float,
    resistance: NDArray[np.float64] | None,
) -> NDArray[np.int8]:
    """`best` without the moves that are better waited for.

    price: float[n, 3]. meanwhile: expected currents complex[k, n] until the move is considered
    again, and their weights; later: complex[ways, m, n] of what comes after, and weights [m].
    beta, resistance: of the objective, as in `PlannerConfig`. Each move is judged on its own, the
    others as in `best`; the worst are put off first, a quarter of those that are short at a time,
    and what is left is judged anew without them.
    """
    args = map(np.ascontiguousarray, (start, best, price, *meanwhile, *later))
    ohm = None if resistance is None else np.ascontiguousarray(resistance, np.float64)
    return np.asarray(_gains.put_off(beta, ohm, *args))
