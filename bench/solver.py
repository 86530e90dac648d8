"""How fast and how good the balancing core is, beside HiGHS and OR-Tools CP-SAT.

    python -m bench.solver --json                  20 to 1000 homes: about two minutes
    python -m bench.solver --homes 20 100 1000 5000 --seconds 20 --json

Every solver gets the same instances in the same run. Four questions:

decision  16 scenarios, every move priced: build the Gram and search. One core.
planner   the planner as shipped, an hour of an evening on a made-up street: all that
          `observe` and `decide` take, forecasts and reasons included. One core.
snapshot  one scenario, at most K = 3 moves: the exact search, against the proven optimum.
open      one scenario, free moves: how close to |I_N| = 0, against the best bound.

HiGHS has no quadratic integer programs, so it minimises the largest of |I_N| over 16
directions (within 2 % of |I_N|); its answer is then judged by |I_N| like the others'.
CP-SAT squares integers: currents in units of 0.01 A. It runs in a process of its own and is
given one worker.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench._data import to_amps
from bench._homes import street
from pbal_controller.balancing import Planner, _core, neutral_current

SCENARIOS = 16
PRICE = 40.0


class Instance:
    """Currents of one made-up minute and its scenarios; the phases are at random."""

    def __init__(self, homes: int, seed: int, scenarios: int = SCENARIOS) -> None:
        rng = np.random.default_rng((seed, homes))
        self.homes = homes
        base = rng.gamma(0.5, 6.0, homes)
        wobble = rng.gamma(2.0, 0.5, (scenarios, homes))
        lag = np.exp(-1j * rng.uniform(0.0, 0.5, homes))
        self.currents = base * wobble * lag
        self.weights = np.full(scenarios, 1 / scenarios)
        self.phases = rng.integers(0, 3, homes).astype(np.int8)

    def prices(self, each: float) -> NDArray[np.float64]:
        price = np.full((self.homes, 3), each)
        price[np.arange(self.homes), self.phases] = 0.0
        return price


def timed(
    repeat: int, work: Any, clock: Callable[[], float] = time.perf_counter
) -> tuple[float, Any]:
    """Median milliseconds of `work` and its last answer."""
    spent = []
    for _ in range(repeat):
        began = clock()
        answer = work()
        spent.append(1e3 * (clock() - began))
    return float(np.median(spent)), answer


def decision(instance: Instance) -> dict[str, Any]:
    price = instance.prices(PRICE)
    repeat = 30 if instance.homes <= 200 else 5
    keep = np.empty((instance.homes, instance.homes, 3))  # the planner keeps its array too

    def build() -> NDArray[np.float64]:
        return _core.build_gram(instance.currents, instance.weights, out=keep)

    build_ms, gram = timed(repeat, build)
    solve_ms, found = timed(
        repeat, lambda: _core.solve(gram, instance.phases, price, restarts=0)
    )  # fmt: skip
    whole_ms, _ = timed(
        repeat, lambda: _core.solve(build(), instance.phases, price, restarts=0)
    )  # fmt: skip
    # The same in processor time: the time without other load on the computer.
    cpu_ms, _ = timed(
        repeat,
        lambda: _core.solve(build(), instance.phases, price, restarts=0),
        time.process_time,
    )
    longer = _core.solve(gram, instance.phases, price, restarts=400, budget_s=5.0)[2]
    return {
        "build_ms": round(build_ms, 3),
        "solve_ms": round(solve_ms, 3),
        "decision_ms": round(whole_ms, 3),
        "decision_cpu_ms": round(cpu_ms, 3),
        "cost_before": round(found[1], 3),
        "cost": round(found[2], 3),
        "cost_after_400_restarts_or_5_s": round(longer, 3),
    }


def planner(homes: int, seed: int) -> dict[str, Any]:
    """Processor time of `Planner.observe` and `decide`, milliseconds, minute by minute."""
    warm, minutes = 20, 60
    first = 18 * 60 - warm
    currents = to_amps(street(homes, 1, seed)[first : first + warm + minutes])
    mind = Planner(homes)
    phases = np.arange(homes) % 3
    spent: dict[str, list[float]] = {"observe": [], "decide": []}
    moves = 0
    for minute, amps in enumerate(currents):
        began = time.process_time()
        mind.observe(60.0 * (first + minute), amps)
        seen = time.process_time()
        found = mind.decide(60.0 * (first + minute), phases)
        done = time.process_time()
        for move in found:
            phases[move.home] = move.to_phase
        if minute >= warm:
            spent["observe"].append(1e3 * (seen - began))
            spent["decide"].append(1e3 * (done - seen))
            moves += len(found)
    return {
        "observe_cpu_ms": round(float(np.median(spent["observe"])), 3),
        "decide_cpu_ms": round(float(np.median(spent["decide"])), 3),
        "decide_cpu_ms_mean": round(float(np.mean(spent["decide"])), 3),
        "decide_cpu_ms_95": round(float(np.percentile(spent["decide"], 95)), 3),
        "moves_per_decision": round(moves / minutes, 2),
    }


def snapshot(instance: Instance) -> dict[str, Any]:
    amps = instance.currents[:1]
    gram = _core.build_gram(amps, [1.0])
    free = instance.prices(0.0)
    out: dict[str, Any] = {}
    repeat = 3 if instance.homes <= 400 else 1
    if instance.homes <= 400:
        ms, found = timed(3, lambda: _core.best_of(gram, instance.phases, free, 3))
        out["exact3_ms"] = round(ms, 3)
        out["exact3_a"] = neutral(amps, found[0])
    ms, found = timed(
        repeat,
        lambda: _core.solve(gram, instance.phases, free, max_moves=3, restarts=20, budget_s=5.0),
    )
    out["search3_ms"] = round(ms, 3)
    out["search3_a"] = neutral(amps, found[0])
    ms, found = timed(
        repeat, lambda: _core.solve(gram, instance.phases, free, restarts=20, budget_s=5.0)
    )
    out["open_ms"] = round(ms, 3)
    out["open_a"] = neutral(amps, found[0])
    return out


def neutral(amps: NDArray[np.complex128], phases: NDArray[np.int8]) -> float:
    return round(float(abs(neutral_current(amps[0], phases))), 5)


def highs(instance: Instance, max_moves: int, seconds: float) -> dict[str, Any]:
    """Minimise z >= Re(N e^(j k pi / 8)) for 16 directions, x binary, at most K moves."""
    import highspy

    n, amps = instance.homes, instance.currents[0]
    turned = amps[:, None] * np.exp(-2j * np.pi / 3 * np.arange(3))
    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    model.setOptionValue("time_limit", seconds)
    model.setOptionValue("threads", 1)
    for h in range(n):
        for q in range(3):
            model.addVar(0.0, 1.0)
            model.changeColIntegrality(3 * h + q, highspy.HighsVarType.kInteger)
    model.addVar(0.0, highspy.kHighsInf)
    model.changeColCost(3 * n, 1.0)
    for h in range(n):
        model.addRow(1.0, 1.0, 3, np.arange(3 * h, 3 * h + 3, dtype=np.int32), np.ones(3))
    columns = np.arange(3 * n + 1, dtype=np.int32)
    for k in range(16):
        part = (turned * np.exp(1j * k * np.pi / 8)).real.ravel()
        model.addRow(-highspy.kHighsInf, 0.0, 3 * n + 1, columns, np.append(part, -1.0))
    if max_moves >= 0:
        here = (3 * np.arange(n) + instance.phases).astype(np.int32)
        model.addRow(float(n - max_moves), float(n), n, here, np.ones(n))
    began = time.perf_counter()
    model.run()
    spent = time.perf_counter() - began
    values = np.array(model.getSolution().col_value)
    row: dict[str, Any] = {"seconds": round(spent, 3), "status": str(model.getModelStatus())}
    if values.size:
        phases = values[: 3 * n].reshape(n, 3).argmax(axis=1).astype(np.int8)
        row["neutral_a"] = neutral(instance.currents[:1], phases)
        row["bound_a"] = round(max(model.getInfo().mip_dual_bound, 0.0), 5)
    return row


def _cp_sat(instance: Instance, max_moves: int, seconds: float, answer: Any) -> None:
    from ortools.sat.python import cp_model

    n, amps = instance.homes, instance.currents[0]
    turned = 100.0 * amps[:, None] * np.exp(-2j * np.pi / 3 * np.arange(3))
    re, im = np.rint(turned.real).astype(int), np.rint(turned.imag).astype(int)
    reach = int(np.abs(turned).max(axis=1).sum()) + n + 1
    model = cp_model.CpModel()
    on = [[model.new_bool_var(f"{h}:{q}") for q in range(3)] for h in range(n)]
    for row in on:
        model.add_exactly_one(row)
    parts = []
    for name, part in (("re", re), ("im", im)):
        total = model.new_int_var(-reach, reach, name)
        model.add(total == sum(int(part[h, q]) * on[h][q] for h in range(n) for q in range(3)))
        square = model.new_int_var(0, reach * reach, name + "2")
        model.add_multiplication_equality(square, [total, total])
        parts.append(square)
    if max_moves >= 0:
        model.add(sum(on[h][instance.phases[h]] for h in range(n)) >= n - max_moves)
    model.minimize(sum(parts))
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.num_workers = 1
    began = time.perf_counter()
    status = solver.solve(model)
    row: dict[str, Any] = {
        "seconds": round(time.perf_counter() - began, 3),
        "status": solver.status_name(status),
    }
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        phases = np.array([[solver.value(v) for v in row] for row in on]).argmax(axis=1)
        row["neutral_a"] = neutral(instance.currents[:1], phases.astype(np.int8))
        row["bound_a"] = round(math.sqrt(max(solver.best_objective_bound, 0.0)) / 100.0, 5)
    answer.send(row)


def cp_sat(instance: Instance, max_moves: int, seconds: float) -> dict[str, Any]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=_cp_sat, args=(instance, max_moves, seconds, theirs))
    process.start()
    theirs.close()
    try:
        return dict(ours.recv()) if ours.poll(3 * seconds + 30) else {"status": "no answer"}
    except EOFError:
        return {"status": "ended without an answer"}
    finally:
        process.join(5)
        if process.is_alive():
            process.kill()


def one(homes: int, seed: int, seconds: float) -> dict[str, Any]:
    instance = Instance(homes, seed)
    row: dict[str, Any] = {"homes": homes, **decision(instance)}
    row |= {**planner(homes, seed), **snapshot(instance)}
    if seconds > 0:
        for name, solver in (("highs", highs), ("cp_sat", cp_sat)):
            for label, moves in (("k3", 3), ("open", -1)):
                if homes > 1000 and label == "k3":
                    continue
                row[f"{name}_{label}"] = solver(instance, moves, seconds)
        proven = row.get("cp_sat_k3", {})
        ours = row.get("exact3_a", row["search3_a"])
        if proven.get("status") == "OPTIMAL":
            row["k3_gap"] = round(ours / max(proven["neutral_a"], 1e-9) - 1, 5)
            row["k3_time_ratio_cp_sat"] = round(
                1e3 * proven["seconds"] / row.get("exact3_ms", row["search3_ms"]), 1
            )
        row["open_time_ratio_cp_sat"] = round(
            1e3 * row["cp_sat_open"].get("seconds", math.nan) / row["open_ms"], 1
        )
    print(f"  {row}", file=sys.stderr, flush=True)
    return row


def growth(homes: int) -> list[dict[str, float]]:
    """Build and solve against the number of scenarios."""
    rows = []
    for scenarios in (1, 4, 16, 64):
        i = Instance(homes, 1, scenarios)
        build_ms, gram = timed(10, lambda i=i: _core.build_gram(i.currents, i.weights))
        solve_ms, _ = timed(
            10, lambda i=i, g=gram: _core.solve(g, i.phases, i.prices(PRICE), restarts=0)
        )
        rows.append({"scenarios": scenarios, "build_ms": round(build_ms, 3),
                     "solve_ms": round(solve_ms, 3)})  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--homes", type=int, nargs="+", default=[20, 50, 100, 200, 1000])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0,
                        help="time limit of HiGHS and CP-SAT, each; 0 leaves them out")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    rows = [one(n, args.seed, args.seconds) for n in args.homes]
    report = {"bench": "solver", "scenarios": SCENARIOS, "sizes": rows,
              "growth_at_100_homes": growth(100)}  # fmt: skip
    if args.json:
        print(json.dumps(report, indent=2))
        return
    for row in rows:
        print(
            f"{row['homes']:5d} homes: decision {row['decision_ms']:8.2f} ms "
            f"(build {row['build_ms']:.2f}), whole {row['decide_cpu_ms']:.2f} ms "
            f"of processor; K=3 {row.get('exact3_a', row['search3_a']):.4f} A; "
            f"open {row['open_a']:.4f} A in {row['open_ms']:.1f} ms"
        )


if __name__ == "__main__":
    main()
