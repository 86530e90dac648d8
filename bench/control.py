"""How well the controllers control: neutral-current and loss cut, switchings, and the share
of the hindsight optimum, on measured homes where they are there and on made-up ones always.

    python -m bench.control --json                 quick: about three minutes
    python -m bench.control --full --json          IEEE day, 30 held-out homes x 15 days, 60 homes

Neutral cut is 1 - mean |I_N| / mean |I_N| as built, over all minutes; cut_rms is the same of
the RMS value. Loss cut is that of sum i^H Re(Z) i, at constant current. A decision
sees the minute before the one it acts in; with a delay, one that is so much older. Switchings are
per home that has a relay. The hindsight optimum keeps the same budget of switchings but no dwell
and no daily cap, and knows every minute to come.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import _data
from bench._spread import spread
from pbal_controller.balancing import Planner, PlannerConfig, neutral_current
from pbal_controller.balancing.hindsight import at_budget

BUDGETS = (3.0, 1.0)
OTHERS = ("metered", "remainder", "none")


@dataclass
class Trial:
    """Under which conditions the causal controllers run: minutes, and which homes have a relay.

    delay: age of the data beyond the minute before; -1 shows the very minute a decision acts in,
        as the exact controllers of causal_optimum.py and causal_bound.py are shown it.
    others: what is known of homes without one: `metered`, each of them; `remainder`, what they
        draw together on each phase, as a transformer's meter shows it; `none`, nothing.
    watch: so many minutes they only observe and learn.
    """

    delay: int = 0
    every: int = 1
    movable: NDArray[np.bool_] | None = None
    others: str = "metered"
    watch: int = 0

    def __post_init__(self) -> None:
        if self.others not in OTHERS:
            raise ValueError(f"others: expected one of {', '.join(OTHERS)}, got {self.others!r}")


def simple_rule(budget: float | None = None) -> PlannerConfig:
    """Without prediction: with a wear budget, or at a fixed price of 300 A^2."""
    if budget is None:
        return PlannerConfig(predict=False, price=300.0, wear_budget_per_day=None, fairness=0.0)
    return PlannerConfig(predict=False, wear_budget_per_day=budget)


def drive(case: _data.Case, config: PlannerConfig, trial: Trial) -> NDArray[np.int8]:
    """Paths int8[T, n] of a planner that decides every so many minutes on data so old."""
    delay = trial.delay
    movable = np.ones(len(case.start), bool) if trial.movable is None else trial.movable
    nodes = np.flatnonzero(movable | (trial.others == "metered"))
    if not movable.all():
        config = replace(config, fixed=np.flatnonzero(~movable[nodes]).tolist())
    if config.resistance is not None:
        config = replace(config, resistance=config.resistance[np.ix_(nodes, nodes)])
    planner = Planner(len(nodes), config)
    own = np.ascontiguousarray(case.currents[:, nodes])
    rest = None
    if trial.others == "remainder" and not movable.all():
        still = [~movable & (case.start == q) for q in range(3)]
        rest = np.stack([case.currents[:, on].sum(axis=1) for on in still], axis=1)
    x = case.start.copy()
    paths = np.empty(case.currents.shape, np.int8)
    for t in range(len(paths)):
        seen = t - 1 - delay
        if seen >= 0 and t % trial.every == 0:
            # A minute's mean is there when the minute is over.
            at_s = 60.0 * min(seen + 1, t)
            planner.observe(at_s, own[seen], None if rest is None else rest[seen])
            for move in planner.decide(60.0 * t, x[nodes]) if t >= trial.watch else ():
                x[nodes[move.home]] = move.to_phase
        paths[t] = x
    return paths


def relays(n: int, share: float, seed: int) -> NDArray[np.bool_] | None:
    """Homes drawn to have a relay, bool[n], at least one; None where all have."""
    if share >= 1:
        return None
    movable = np.zeros(n, bool)
    movable[np.random.default_rng(seed).permutation(n)[: max(1, round(share * n))]] = True
    return movable


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
    add("simple rule, 300 A^2", drive(case, simple_rule(), trial), began, yards[3.0])
    for budget in BUDGETS:
        began = clock()
        paths = drive(case, simple_rule(budget), trial)
        add(f"simple rule, {budget:g} a day", paths, began, yards[budget])
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
    parser.add_argument(
        "--delay", type=int, default=0, help="age of the data beyond the minute before, minutes"
    )
    parser.add_argument("--sweeps", type=int, default=60,
                        help="effort of the hindsight optimum; 0 leaves it out")  # fmt: skip
    parser.add_argument("--every", type=int, default=1, help="minutes between decisions")
    parser.add_argument("--relays", type=float, default=1.0,
                        help="share of homes with a relay")  # fmt: skip
    parser.add_argument("--others", choices=OTHERS, default="metered",
                        help="what is known of homes without a relay")  # fmt: skip
    parser.add_argument("--only", help="streets whose name contains this, and no others")
    parser.add_argument("--streets", type=int, default=1,
                        help="of each kind that has more: made-up ones, other days of the "
                        "held-out homes; mean and standard error over them")  # fmt: skip
    args = parser.parse_args()
    args.days = args.days or (15 if args.full else 2)
    groups: dict[str, list[_data.Case]] = {}
    missing = []
    for name, loads in places(args).items():
        if args.only and args.only not in name:
            continue
        groups[name] = [case for case in (load() for load in loads) if case is not None]
        if not groups[name]:
            missing.append(name)
            print(f"{name}: reference data not found under {_data.SHARED}: left out",
                  file=sys.stderr)  # fmt: skip

    def played(case: _data.Case) -> dict[str, Any]:
        n = case.currents.shape[1]
        trial = Trial(args.delay, args.every, relays(n, args.relays, args.seed), args.others)
        rows = controllers(case, trial, args.sweeps)
        days = len(case.currents) / 1440
        return {"name": case.name, "homes": n, "days": days, "controllers": rows}

    streets = {name: [played(case) for case in cases] for name, cases in groups.items()}
    report = {
        "bench": "control",
        "delay_min": args.delay,
        "every_min": args.every,
        "relays": args.relays,
        "others": args.others,
        "missing": missing,
        "streets": [place for of_kind in streets.values() for place in of_kind],
        "over_streets": {
            name: over_streets([place["controllers"] for place in of_kind])
            for name, of_kind in streets.items()
            if len(of_kind) > 1
        },
    }
    print(json.dumps(report, indent=2) if args.json else table(report))


def places(args: argparse.Namespace) -> dict[str, list[Callable[[], _data.Case | None]]]:
    """The streets asked for, by kind, made or read only when called."""
    days = args.days
    seeds = range(args.seed, args.seed + args.streets)
    # Held-out days that do not overlap; where fewer are asked for than there are, the first.
    first_days = range(0, max(_data.PERSISTENT_DAYS - days, 0) + 1, days)[: args.streets]
    kinds: dict[str, list[Callable[[], _data.Case | None]]] = {
        "made-up streets": [partial(_data.synthetic, args.homes, days, s) for s in seeds],
        "made-up households": [partial(_data.households, args.homes, days, s) for s in seeds],
        "IEEE EU LV": [_data.ieee],
        "30 held-out homes": [partial(_data.held_out, days, first) for first in first_days],
    }
    if args.full or args.only:
        kinds["60 homes"] = [partial(_data.all_sixty, days)]
    return kinds


def over_streets(streets: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Of each controller the mean over streets, with its standard error, of what it was."""
    names = ("neutral_cut", "switchings", "share_of_hindsight")
    return [
        {"controller": rows[0]["controller"]}
        | {k: spread([r[k] for r in rows]) for k in names if k in rows[0]}
        for rows in zip(*streets, strict=True)
    ]


def table(report: dict[str, Any]) -> str:
    """The report for people."""
    lines = []
    for place in report["streets"]:
        lines.append(f"\n{place['name']}: {place['homes']} homes, {place['days']:g} days")
        for row in place["controllers"]:
            share = row.get("share_of_hindsight")
            lines.append(
                f"  {row['controller']:42s} neutral {100 * row['neutral_cut']:5.1f} %"
                f"  losses {100 * row.get('loss_cut', float('nan')):5.1f} %"
                f"  {row['switchings']:5.2f}/home/day"
                + (f"  {100 * share:5.1f} % of hindsight" if share else "")
            )
    for name, rows in report["over_streets"].items():
        lines.append(f"\n{name}: over {rows[0]['neutral_cut']['n']} of them")
        for row in rows:
            cut, share = row["neutral_cut"], row.get("share_of_hindsight")
            lines.append(
                f"  {row['controller']:42s} neutral {100 * cut['mean']:5.1f} +- "
                f"{100 * cut['se']:.1f} %  {row['switchings']['mean']:5.2f}/home/day"
                + (f"  {100 * share['mean']:5.1f} +- {100 * share['se']:.1f} % of hindsight"
                   if share else "")
            )  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    main()
