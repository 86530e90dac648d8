"""What the bound on one home's word costs: the neutral current cut with it and without.

    python -m bench.word_bound --fuses 63 100

Where the reference data are not found, made-up households only.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from bench import _data
from bench.control import measure
from pbal_controller.balancing import Planner, PlannerConfig
from pbal_controller.plausibility import WordBound


def play(case: _data.Case, fuse_a: float | None) -> tuple[float, float, int, float]:
    """(neutral cut, switchings per home and day, moves held back, ms of the bound a minute)."""
    n = len(case.start)
    planner, bound = Planner(n, PlannerConfig()), WordBound(np.full(n, fuse_a or 1.0))
    x = case.start.copy()
    paths = np.empty(case.currents.shape, np.int8)
    spent = 0.0
    for t, amps in enumerate(case.currents):
        planner.observe(60.0 * t, amps)
        moves = planner.decide(60.0 * t, x)
        if fuse_a is not None:
            began = time.process_time()
            moves = bound.admit(moves, x, amps)
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
    parser.add_argument("--fuses", type=float, nargs="+", default=[63.0, 100.0], help="A")
    args = parser.parse_args()
    cases = [_data.ieee(), *(_data.held_out(2, day) for day in (0, 4, 8)), _data.all_sixty(2),
             _data.households(60, 2, 3)]  # fmt: skip
    for case in cases:
        if case is None:
            continue
        most = np.abs(case.currents).max()
        print(f"{case.name}: {len(case.start)} homes, {most:.0f} A at most")
        for fuse in (None, *args.fuses):
            cut, switchings, held, took = play(case, fuse)
            name = "none" if fuse is None else f"{fuse:g} A"
            print(f"  {name:6s} cut {100 * cut:5.1f} %  {switchings:5.2f} a day  "
                  f"held back {held:4d}  {took:5.2f} ms")  # fmt: skip


if __name__ == "__main__":
    main()
