"""First days of many streets, each from nothing: pbal against the simple rule, and the budget.

    python -m bench.cold_start --json              quick: two streets of a kind, about two minutes

Streets: made-up ones of bench/_homes.py and households of the twin, and where the data is there
the IEEE feeder's homes and, a day each, the 30 development homes; phases as built are drawn at
random. Every street is simulated with pbal and with the simple rule at several wear budgets, and by
the rule at 300 A^2.

gain, in points of the neutral cut: pbal's cut less the rule's at as many switchings, read off a
straight line through the rule's cuts over the logarithm of its switchings; gain_300, less that of
the rule at 300 A^2, read off such a line through pbal's. beyond: streets where pbal switched more
than the rule ever did, so that its line had to be extrapolated; bend: the rule's own cut less its
line at that budget. spent: switchings of the first day over the budget.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from typing import Any

import numpy as np

from bench import _data
from bench._spread import spread
from bench.control import OTHERS, Trial, drive, measure, relays, simple_rule
from pbal_controller.balancing import PlannerConfig

_DAY = 1440
#: Spent beyond this is counted as too much, as the planner's own brake does.
_TOO_MUCH = 1.1
Run = dict[str, float]


@dataclass(frozen=True)
class Conditions:
    """minutes between decisions and age of the data; shares of homes with a relay, what is
    known of the others; budgets of pbal and of the rule, switchings per home and day."""

    every: int = 1
    delay: int = 0
    relays: tuple[float, ...] = (1.0,)
    others: tuple[str, ...] = ("metered",)
    budgets: tuple[float, ...] = (0.5, 1.0, 3.0)
    rule: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0, 4.0)

    def trials(self) -> list[tuple[float, str]]:
        """Share with a relay and what is known of the others; once where there are none."""
        asked = [(r, o if r < 1 else "all have one") for r, o in product(self.relays, self.others)]
        return list(dict.fromkeys(asked))


@dataclass(frozen=True)
class Draw:
    """Which street: its kind, number and what is drawn from. homes: least and most."""

    kind: str
    k: int
    seed: int
    days: int
    homes: tuple[int, int]

    def case(self) -> _data.Case | None:
        """The street, the same every time; None where there is no such data (any more)."""
        rng = np.random.default_rng((self.seed, list(KINDS).index(self.kind), self.k))
        case = KINDS[self.kind](self, rng)
        return case and _data.by_lot(case, rng)


def _made_up(draw: Draw, rng: np.random.Generator) -> _data.Case:
    homes = int(rng.integers(draw.homes[0], draw.homes[1] + 1))
    return _data.synthetic(homes, draw.days, int(rng.integers(2**31)))


def _households(draw: Draw, rng: np.random.Generator) -> _data.Case:
    homes = int(rng.integers(draw.homes[0], draw.homes[1] + 1))
    seed = int(rng.integers(2**31))
    return _data.households(homes, draw.days, seed, int(rng.integers(1, 366)))


def _ieee(draw: Draw, rng: np.random.Generator) -> _data.Case | None:
    return _data.ieee() if draw.days == 1 else None


def _development(draw: Draw, rng: np.random.Generator) -> _data.Case | None:
    # The days depend on the seed alone, so that none comes twice.
    windows = _data.PERSISTENT_DAYS // draw.days
    if draw.k >= windows:
        return None
    first = int(np.random.default_rng(draw.seed).permutation(windows)[draw.k]) * draw.days
    return _data.development(draw.days, first)


KINDS: dict[str, Callable[[Draw, np.random.Generator], _data.Case | None]] = {
    "made-up": _made_up,
    "made-up households": _households,
    "IEEE homes, phases drawn": _ieee,
    "30 development homes": _development,
}


def cut_at(runs: Iterable[Run], switchings: float) -> float:
    """Neutral cut at so many switchings: a straight line through those of the runs over the
    logarithm of theirs, by least squares. Raises ValueError where the runs give no line."""
    made = [r for r in runs if r["switchings"] > 0]
    if len({r["switchings"] for r in made}) < 2 or not switchings > 0:
        raise ValueError("a line needs two runs that switch differently often, and switchings")
    at = np.log([r["switchings"] for r in made])
    slope, level = np.polyfit(at - at.mean(), [r["neutral_cut"] for r in made], 1)
    return float(level + slope * (np.log(switchings) - at.mean()))


def compare(
    pbal: dict[float, Run], rule: dict[float, Run], fixed: Run | None
) -> tuple[dict[float, Run], float | None]:
    """Per budget gain and, where the rule has that budget, bend; beyond 0 or 1; and gain_300.

    pbal, rule: what `measure` gives, by budget. fixed: of the rule at 300 A^2. Nothing of what
    has no line; all in shares, not points.
    """
    out: dict[float, Run] = {}
    for budget, run in pbal.items():
        try:
            gain = run["neutral_cut"] - cut_at(rule.values(), run["switchings"])
        except ValueError:
            continue
        most = max(r["switchings"] for r in rule.values())
        out[budget] = {"gain": gain, "beyond": float(run["switchings"] > most)}
        own = rule.get(budget)
        if own and own["switchings"] > 0:
            bend = own["neutral_cut"] - cut_at(rule.values(), own["switchings"])
            out[budget]["bend"] = bend
    try:
        over = cut_at(pbal.values(), fixed["switchings"]) - fixed["neutral_cut"] if fixed else None
    except ValueError:
        over = None
    return out, over


def play(case: _data.Case, c: Conditions, seed: int) -> list[dict[str, Any]]:
    """One street under every trial of the conditions: its runs, spending and gains."""
    n = len(case.start)
    first = _data.Case(case.name, case.currents[:_DAY], case.start)
    rows = []
    for share, others in c.trials():
        known = others if others in OTHERS else "metered"
        trial = Trial(c.delay, c.every, relays(n, share, seed), known)
        pbal, rule, spent = {}, {}, {}
        for budget in c.budgets:
            paths = drive(case, PlannerConfig(wear_budget_per_day=budget), trial)
            pbal[budget] = measure(case, paths, trial.movable)
            day = measure(first, paths[:_DAY], trial.movable)
            spent[budget] = day["switchings"] / budget
        for budget in c.rule:
            rule[budget] = measure(case, drive(case, simple_rule(budget), trial), trial.movable)
        fixed = None
        if c.rule:
            fixed = measure(case, drive(case, simple_rule(), trial), trial.movable)
        gains, gain_300 = compare(pbal, rule, fixed)
        rows.append(
            {
                "street": case.name, "homes": n, "relays": share, "others": others,
                "pbal": pbal, "rule": rule, "rule_300": fixed, "spent": spent,
                "gains": gains, "gain_300": gain_300,
            }
        )  # fmt: skip
    return rows


def summary(rows: Sequence[dict[str, Any]], budgets: Sequence[float]) -> dict[str, Any]:
    """Over streets, in points and shares of the budget: gain, bend, spent; counts of the rest."""
    out: dict[str, Any] = {"streets": len(rows), "budgets": {}}
    for budget in budgets:
        gains = [r["gains"][budget] for r in rows if budget in r["gains"]]
        spent = [r["spent"][budget] for r in rows]
        of: dict[str, Any] = {
            "cut": spread([100 * r["pbal"][budget]["neutral_cut"] for r in rows], 2),
            "switchings": spread([r["pbal"][budget]["switchings"] for r in rows], 3),
            "spent": {**spread(spent, 3), "too_much": sum(s > _TOO_MUCH for s in spent)},
        }
        if gains:
            of["gain"] = spread([100 * g["gain"] for g in gains], 2)
            of["beyond"] = int(sum(g["beyond"] for g in gains))
        bends = [100 * g["bend"] for g in gains if "bend" in g]
        if bends:
            of["bend"] = spread(bends, 2)
        out["budgets"][f"{budget:g}"] = of
    over = [100 * r["gain_300"] for r in rows if r["gain_300"] is not None]
    if over:
        out["gain_300"] = spread(over, 2)
        out["switchings_300"] = spread([r["rule_300"]["switchings"] for r in rows], 3)
    return out


def _work(task: tuple[Draw, Conditions]) -> tuple[Draw, list[dict[str, Any]]]:
    draw, conditions = task
    case = draw.case()
    return draw, [] if case is None else play(case, conditions, draw.seed + draw.k)


def run(
    draws: Sequence[Draw], conditions: Conditions, jobs: int
) -> Iterator[tuple[Draw, list[dict[str, Any]]]]:
    """Every street's rows as they are done, in the order asked; one process, or so many."""
    tasks = [(draw, conditions) for draw in draws]
    if jobs <= 1:
        yield from map(_work, tasks)
        return
    with get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap(_work, tasks)


def report(done: dict[str, list[dict[str, Any]]], c: Conditions) -> list[dict[str, Any]]:
    """Of each trial the summary of every kind of street, and of all of them together."""
    out = []
    for share, others in c.trials():
        picked = {
            kind: [r for r in rows if (r["relays"], r["others"]) == (share, others)]
            for kind, rows in done.items()
        }
        if len(picked) > 1:
            picked["all"] = [r for rows in picked.values() for r in rows]
        groups = [{"kind": kind, **summary(rows, c.budgets)} for kind, rows in picked.items()]
        out.append({"relays": share, "others": others, "groups": groups})
    return out


def _of(value: dict[str, Any] | None, signed: bool = True) -> str:
    if value is None:
        return "-"
    text = f"{value['mean']:+.1f}" if signed else f"{value['mean']:.2f}"
    return text if value["se"] is None else f"{text} +- {value['se']:.{1 if signed else 2}f}"


def table(told: dict[str, Any]) -> str:
    """The report for people: points of the neutral cut, and spending over budget."""
    lines = []
    for trial in told["trials"]:
        lines.append(f"relays in {trial['relays']:g}, others: {trial['others']}")
        for group in trial["groups"]:
            lines.append(f"  {group['kind']}, {group['streets']} streets")
            for budget, of in group["budgets"].items():
                spent = of["spent"]
                line = (
                    f"    budget {budget:>4s}: cut {of['cut']['mean']:5.1f} % at "
                    f"{of['switchings']['mean']:4.2f}; spent {spent['mean']:.2f} "
                    f"(most {spent['most']:.2f}, {spent['too_much']} over {_TOO_MUCH:g})"
                )
                if "gain" in of:
                    line += f"; over the rule {_of(of['gain'])}, beyond it {of['beyond']}"
                if "bend" in of:
                    line += f", its bend {_of(of['bend'])}"
                lines.append(line)
            if "gain_300" in group:
                at = _of(group["switchings_300"], signed=False)
                lines.append(f"    over the rule at 300 A^2, at its {at}: {_of(group['gain_300'])}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--streets", default=2, type=int, help="of each kind")
    parser.add_argument("--days", default=1, type=int, help="of each street")
    parser.add_argument("--homes", nargs=2, default=[30, 70], type=int,
                        help="of made-up streets, least and most")  # fmt: skip
    parser.add_argument("--every", default=1, type=int, help="minutes between decisions")
    parser.add_argument("--delay", default=0, type=int, help="age of the data, minutes")
    parser.add_argument("--relays", type=float, nargs="+", default=[1.0],
                        help="shares of homes with a relay")  # fmt: skip
    parser.add_argument("--others", nargs="+", choices=OTHERS, default=["metered"],
                        help="what is known of homes without one")  # fmt: skip
    parser.add_argument("--budgets", type=float, nargs="+", default=list(Conditions.budgets),
                        help="of pbal, switchings per home and day")  # fmt: skip
    parser.add_argument("--rule", type=float, nargs="*", default=list(Conditions.rule),
                        help="budgets of the simple rule; none leaves it out")  # fmt: skip
    parser.add_argument("--only", help="kinds of street whose name contains this")
    parser.add_argument("--seed", default=7001, type=int, help="of all that is drawn")
    parser.add_argument("--jobs", default=1, type=int, help="streets at once, a process each")
    parser.add_argument("--rows", action="store_true", help="with --json: every street, too")
    args = parser.parse_args()
    c = Conditions(args.every, args.delay, tuple(args.relays), tuple(args.others),
                   tuple(args.budgets), tuple(args.rule))  # fmt: skip
    draws = [
        Draw(kind, k, args.seed, args.days, (args.homes[0], args.homes[1]))
        for kind in KINDS
        if not args.only or args.only in kind
        for k in range(args.streets)
    ]
    done: dict[str, list[dict[str, Any]]] = {}
    began = time.monotonic()
    for draw, rows in run(draws, c, args.jobs):
        if rows:
            done.setdefault(draw.kind, []).extend(rows)
            print(f"{time.monotonic() - began:6.0f} s  {draw.kind}, street {draw.k + 1}: "
                  f"{rows[0]['homes']} homes", file=sys.stderr, flush=True)  # fmt: skip
        else:
            print(f"{draw.kind}: no street {draw.k + 1}: left out", file=sys.stderr)
    told: dict[str, Any] = {
        "bench": "cold_start", "days": args.days, "seed": args.seed, "every_min": args.every,
        "delay_min": args.delay, "rule_budgets": list(c.rule),
        "missing": [k for k in dict.fromkeys(d.kind for d in draws) if k not in done],
        "trials": report(done, c),
    }  # fmt: skip
    if args.rows:
        told["rows"] = done
    print(json.dumps(told, indent=2) if args.json else table(told))


if __name__ == "__main__":
    main()
