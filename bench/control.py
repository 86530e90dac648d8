"""How well the controllers control: neutral-current and loss cut, switchings, and the share
of the hindsight optimum, on measured homes where they are there and on made-up ones always.

    python -m bench.control --json                 quick: about two minutes
    python -m bench.control --full --json          IEEE day, 30 held-out homes x 15 days, 60 homes

Neutral cut is 1 - mean |I_N| / mean |I_N| as built, over all minutes; cut_rms is the same of
the RMS value. Loss cut is that of sum i^H Re(Z) i, at constant current. With a delay of 0 a
decision sees the minute it acts in; with 1, the one before. Switchings are per home that has a
relay. The hindsight optimum keeps the
same budget of switchings but no dwell and no daily cap, and knows every minute to come.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import _data
from pbal_controller.balancing import Planner, PlannerConfig, neutral_current
from pbal_controller.balancing.hindsight import at_budget

BUDGETS = (3.0, 1.0)


@dataclass
class Trial:
    """Under which conditions the causal controllers run: minutes, and who has a relay."""

    delay: int = 0
    every: int = 1
    movable: NDArray[np.bool_] | None = None


def drive(case: _data.Case, config: PlannerConfig, trial: Trial) -> NDArray[np.int8]:
    """Paths int8[T, n] of a planner that decides every so many minutes on data so old."""
    delay = trial.delay
    if trial.movable is not None:
        config = replace(config, fixed=np.flatnonzero(~trial.movable).tolist())
    planner = Planner(case.currents.shape[1], config)
    x = case.start.copy()
    paths = np.empty(case.currents.shape, np.int8)
    for t in range(len(paths)):
        if t >= delay and t % trial.every == 0:
            planner.observe(60.0 * (t - delay), case.currents[t - delay])
            for move in planner.decide(60.0 * t, x):
                x[move.home] = move.to_phase
        paths[t] = x
    return paths


def losses(case: _data.Case, paths: NDArray[np.int8]) -> float:
    """sum over minutes of i^H Re(Z) i, W min."""
    assert case.resistance is not None
    turned = case.currents * np.exp(-2j * np.pi / 3 * paths)
    on = [np.where(paths == q, turned, 0.0) for q in range(3)]
    return float(
        sum(
            (on[q].conj() * (on[r] @ case.resistance[:, :, (q - r) % 3].T)).real.sum()
            for q in range(3)
            for r in range(3)
        )
    )


def measure(
    case: _data.Case, paths: NDArray[np.int8], movable: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    built = np.abs(neutral_current(case.currents, case.start))
    left = np.abs(neutral_current(case.currents, paths))
    days = len(paths) / 1440
    per_home = (np.diff(paths, axis=0) != 0).sum(axis=0) + (paths[0] != case.start)
    if movable is not None:
        per_home = per_home[movable]
    row = {
        "neutral_cut": 1 - left.mean() / built.mean(),
        "cut_rms": 1 - float(np.sqrt((left**2).mean() / (built**2).mean())),
        "switchings": float(per_home.mean() / days),
        "switchings_worst_home": float(per_home.max() / days),
    }
    if case.resistance is not None:
        as_built = np.broadcast_to(case.start, paths.shape)
        row["loss_cut"] = 1 - losses(case, paths) / losses(case, as_built)
    return {name: round(float(value), 4) for name, value in row.items()}


def controllers(case: _data.Case, trial: Trial, sweeps: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []

    def add(name: str, paths: NDArray[np.int8], began: float, yard: float | None) -> float:
        row: dict[str, Any] = {
            "controller": name,
            **measure(case, paths, trial.movable),
            "seconds": 0.0,
        }
        row["seconds"] = round(time.perf_counter() - began, 1)
        if yard:
            row["share_of_hindsight"] = round(row["neutral_cut"] / yard, 3)
        rows.append(row)
        print(f"  {case.name}: {row}", file=sys.stderr, flush=True)
        return float(row["neutral_cut"])

    def clock() -> float:
        return time.perf_counter()

    add("as built", np.broadcast_to(case.start, case.currents.shape), clock(), None)
    add("best static, in hindsight", static(case, trial), clock(), None)
    yards: dict[float, float | None] = dict.fromkeys(BUDGETS)
    for budget in BUDGETS if sweeps else ():
        began = clock()
        share = 1.0 if trial.movable is None else float(trial.movable.mean())
        best = at_budget(
            case.currents, case.start, share * budget / 1440, sweeps=sweeps, movable=trial.movable
        )
        yards[budget] = add(f"hindsight, {budget:g} a day", best.paths, began, None)
    began = clock()
    rule = PlannerConfig(predict=False, price=300.0, wear_budget_per_day=None, fairness=0.0)
    add("simple rule, 300 A^2", drive(case, rule, trial), began, yards[3.0])
    for budget in BUDGETS:
        began = clock()
        rule = PlannerConfig(predict=False, wear_budget_per_day=budget)
        add(f"simple rule, {budget:g} a day", drive(case, rule, trial), began, yards[budget])
        began = clock()
        config = PlannerConfig(wear_budget_per_day=budget)
        add(f"pbal, {budget:g} a day", drive(case, config, trial), began, yards[budget])
    if case.resistance is not None:
        for beta in (0.03, 0.07):
            began = clock()
            config = PlannerConfig(resistance=case.resistance, beta=beta)
            name = f"pbal, losses + {beta} ohm |I_N|^2, 3 a day"
            add(name, drive(case, config, trial), began, yards[3.0])
    return rows


def static(case: _data.Case, trial: Trial) -> NDArray[np.int8]:
    """The one assignment with the least neutral square over all minutes."""
    from pbal_controller.balancing import _core

    gram = _core.build_gram(case.currents, np.full(len(case.currents), 1 / len(case.currents)))
    price = np.zeros((case.currents.shape[1], 3))
    if trial.movable is not None:
        price[~trial.movable] = np.inf
        price[np.arange(len(price)), case.start] = 0.0
    best = _core.solve(gram, case.start, price, restarts=200)[0]
    return np.broadcast_to(best, case.currents.shape)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--full", action="store_true", help="every street, all its days")
    parser.add_argument("--days", type=int, help="days of the made-up and persistent homes")
    parser.add_argument("--homes", type=int, default=40, help="homes of the made-up street")
    parser.add_argument("--seed", type=int, default=1, help="seed of the made-up street")
    parser.add_argument("--delay", type=int, default=0, help="age of the data, minutes")
    parser.add_argument("--sweeps", type=int, default=60,
                        help="effort of the hindsight optimum; 0 leaves it out")  # fmt: skip
    parser.add_argument("--every", type=int, default=1, help="minutes between decisions")
    parser.add_argument("--relays", type=float, default=1.0,
                        help="share of homes with a relay; the others are only seen")  # fmt: skip
    parser.add_argument("--only", help="streets whose name contains this, and no others")
    args = parser.parse_args()
    days = args.days or (15 if args.full else 2)
    made_up = f"made-up street {args.seed}"
    streets = {
        made_up: lambda: _data.synthetic(args.homes, days, args.seed),
        "IEEE EU LV": _data.ieee,
        "30 held-out homes": lambda: _data.held_out(days),
        "60 homes": lambda: _data.all_sixty(days),
    }
    if not args.full and not args.only:
        del streets["60 homes"]
    cases = []
    missing = []
    for name, load in streets.items():
        if args.only and args.only not in name:
            continue
        case = load()
        if case is None:
            missing.append(name)
            print(f"{name}: reference data not found under {_data.SHARED}: left out",
                  file=sys.stderr)  # fmt: skip
        else:
            cases.append(case)

    def trial(case: _data.Case) -> Trial:
        n = case.currents.shape[1]
        movable = None
        if args.relays < 1:
            movable = np.zeros(n, bool)
            drawn = np.random.default_rng(args.seed).permutation(n)
            movable[drawn[: max(1, round(args.relays * n))]] = True
        return Trial(args.delay, args.every, movable)

    report = {
        "bench": "control",
        "delay_min": args.delay,
        "every_min": args.every,
        "relays": args.relays,
        "missing": missing,
        "streets": [
            {
                "name": case.name,
                "homes": case.currents.shape[1],
                "days": len(case.currents) / 1440,
                "controllers": controllers(case, trial(case), args.sweeps),
            }
            for case in cases
        ],
    }
    if args.json:
        print(json.dumps(report, indent=2))
        return
    for place in report["streets"]:
        print(f"\n{place['name']}: {place['homes']} homes, {place['days']:g} days")
        for row in place["controllers"]:
            share = row.get("share_of_hindsight")
            print(
                f"  {row['controller']:42s} neutral {100 * row['neutral_cut']:5.1f} %"
                f"  losses {100 * row.get('loss_cut', float('nan')):5.1f} %"
                f"  {row['switchings']:5.2f}/home/day"
                + (f"  {100 * share:5.1f} % of hindsight" if share else "")
            )


if __name__ == "__main__":
    main()
