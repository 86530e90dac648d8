"""Is it worth waiting? A kettle and a charger look alike in their first minute.

A move that saves more than its price on average may still be worth putting off: after a few
minutes it is known which of the loads behind it have gone. With V what the move still saves
after that time (one value for each way things may go) and c its price, waiting saves the price
where it would be regretted, and costs what is lost meanwhile. Hence: move now only if

    what it saves meanwhile  >=  mean over the ways of max(c - V, 0)

(one step of optimal stopping; where V is certain it says no more than "saving above price").
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .phasors import TURN

Complex = NDArray[np.complex128]
#: A home, its phase and the one it may go to: savings [...].
Saved = Callable[[int, int, int], NDArray[np.float64]]
#: Currents complex[..., n] and the phases of all: what each move saves.
Gains = Callable[[Complex, NDArray[np.int8]], Saved]


def gains(beta: float, resistance: NDArray[np.float64] | None) -> Gains:
    """How much one home's move saves, by the definition of the objective."""

    def of(amps: Complex, phases: NDArray[np.int8]) -> Saved:
        turned = amps * TURN[phases]
        total = turned.sum(axis=-1)

        def saved(home: int, was: int, to: int) -> NDArray[np.float64]:
            def meets(phase: int) -> NDArray[np.float64]:
                if resistance is None:
                    others = beta * (total - turned[..., home])
                else:
                    ohm = resistance[home, np.arange(len(phases)), (phase - phases) % 3] + beta
                    ohm[home] = 0.0
                    others = turned @ ohm
                return np.asarray((np.conj(amps[..., home] * TURN[phase]) * others).real)

            return np.asarray(2.0 * (meets(was) - meets(to)))

        return saved

    return of


def put_off(
    start: NDArray[np.int8],
    best: NDArray[np.int8],
    price: NDArray[np.float64],
    meanwhile: tuple[Complex, NDArray[np.float64]],
    later: tuple[Complex, NDArray[np.float64]],
    gain: Gains,
) -> NDArray[np.int8]:
    """`best` without the moves that are better waited for.

    price: float[n, 3]. meanwhile: expected currents complex[k, n] until one would look again,
    and their weights; later: complex[ways, m, n] of what comes after, and weights [m].
    """
    x = best.copy()
    left = np.flatnonzero(best != start).tolist()
    while left:
        short = np.empty(len(left))
        first, then = gain(meanwhile[0], x), gain(later[0], x)
        for k, h in enumerate(left):
            lost = first(h, int(start[h]), int(x[h])) @ meanwhile[1]
            worth = then(h, int(start[h]), int(x[h])) @ later[1]
            short[k] = np.maximum(price[h, x[h]] - worth, 0.0).mean() - lost
        # The worst first, a quarter at a time: what is left is judged anew without them.
        worst = np.argsort(-short)[: max(1, int((short > 0).sum()) // 4)]
        worst = worst[short[worst] > 0]
        if not worst.size:
            break
        for k in sorted(worst.tolist(), reverse=True):
            h = left.pop(k)
            x[h] = start[h]
    return x
