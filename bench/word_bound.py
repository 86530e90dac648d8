"""What the bound on one home's word costs: the neutral current cut with it and without.

    python -m bench.word_bound --fuses 32 40 63

`own`: each home has the smallest usual fuse that carries all it draws, as homes have; `meter`: the
same, with a meter at the transformer; `strict`: with plausibility.strict. Where the reference data
are not found, made-up households only.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from bench import _data
from bench.control import measure
from pbal_controller.balancing import Planner, PlannerConfig
from pbal_controller.balancing.phasors import TURN
from pbal_controller.plausibility import LARGE_A, WordBound

#: A, by IEC 60269-2.
RATINGS = np.array([16.0, 20.0, 25.0, 32.0, 35.0, 40.0, 50.0, 63.0, 80.0, 100.0, 125.0])


def own_fuses(case: _data.Case) -> NDArray[np.float64]:
    """A, the smallest rating for each home that is no less than it ever draws."""
    most = np.abs(case.currents).max(axis=0)
    return np.asarray(RATINGS[np.searchsorted(RATINGS, most)])


def play(
    case: _data.Case,
    fuses_a: NDArray[np.float64] | None,
    with_meter: bool = False,
    strict: bool = False,
) -> tuple[float, float, int, float]:
    """(neutral cut, switchings per home and day, moves held back, ms of the bound a minute)."""
    n = len(case.start)
    planner = Planner(n, PlannerConfig())
    bound = WordBound(np.ones(n) if fuses_a is None else fuses_a, strict=strict)
    x = case.start.copy()
    paths = np.empty(case.currents.shape, np.int8)
    spent = 0.0
    for t, amps in enumerate(case.currents):
        planner.observe(60.0 * t, amps)
        moves = planner.decide(60.0 * t, x)
        if fuses_a is not None:
            began = time.process_time()
            seen = complex((amps * TURN[x]).sum()) if with_meter else None
            moves = bound.admit(moves, x, amps, measured_a=seen)
            spent += time.process_time() - began
        for move in moves:
            x[move.home] = move.to_phase
        paths[t] = x
    figures = measure(case, paths)
    return (
        figures["neutral_cut"], figures["switchings"], bound.held_back_total,
        1000 * spent / len(paths),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    fuses = [32.0, 40.0, 63.0, 100.0]
    parser.add_argument("--fuses", type=float, nargs="+", default=fuses, help="A")
    args = parser.parse_args()
    cases = [_data.ieee(), *(_data.held_out(2, day) for day in (0, 4, 8)), _data.all_sixty(2),
             _data.households(60, 2, 3)]  # fmt: skip
    for case in cases:
        if case is None:
            continue
        most = np.abs(case.currents).max()
        print(f"{case.name}: {len(case.start)} homes, {most:.0f} A at most")
        own = own_fuses(case)
        streets = [(f"{a:g} A", np.full(len(own), a), False) for a in args.fuses]
        streets += [("own", own, False), ("meter", own, True)]
        runs: list[tuple[str, NDArray[np.float64] | None, bool, bool]]
        runs = [("none", None, False, False)]
        runs += [(name, fuses, with_meter, False) for name, fuses, with_meter in streets]
        # Without a meter small fuses have no other rules.
        runs += [(f"{name} strict", fuses, with_meter, True) for name, fuses, with_meter in streets
                 if with_meter or fuses.max() >= LARGE_A]  # fmt: skip
        for name, fuses, with_meter, strict in runs:
            cut, switchings, held, took = play(case, fuses, with_meter, strict)
            print(f"  {name:12s} cut {100 * cut:5.1f} %  {switchings:5.2f} a day  "
                  f"held back {held:4d}  {took:5.2f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
