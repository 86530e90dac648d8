"""Kinds of streets and of readings: pbal against the simple rule at its best price, and against
the static arrangement learnt from the days before.

    python -m bench.street_kinds --json            quick: two streets of a kind, about a minute
    python -m bench.street_kinds --only large --streets 20 --markdown     two rows of the docs

Kinds: as drawn (30 to 70 homes on phases drawn at random), lopsided (about 60, 25 and 15 % of the
homes on the three phases), large (110 to 220 homes, somewhat unbalanced) and few relays (a third of
30 to 70 homes; the others are not seen). Loads: the made-up homes of bench/_homes.py and the twin's
households, in turns, with seeds of their own. Readings are means over `--steps` minutes; a decision
follows each reading and takes effect at once. Measured is one day, after `--past` days: cold, the
controllers begin on that day; warm, they have run since the first.

cut is that of the mean neutral current, against as built; loss that of the losses of one main along
which the homes are connected, all four conductors alike. rule: the best cut of the simple rule over
its prices that keeps the budget, as a mean over the streets of a kind. static: the best arrangement
of the past days, on the measured one. used: switchings over the budget.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import _data
from bench._spread import spread
from pbal_controller.balancing import Planner, PlannerConfig, _core, neutral_current

RULE_PRICES = (10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
KINDS = ("as drawn", "lopsided", "large", "few relays")
_SEGMENTS = 12


@dataclass
class Street:
    """currents complex[T, n] A, one-minute means over `past` days and the measured one; phases
    as built; bool[n], homes with a relay (the others are not seen); where on the main each home
    is."""

    currents: NDArray[np.complex128]
    start: NDArray[np.int8]
    movable: NDArray[np.bool_]
    place: NDArray[np.int64]


def draw(kind: str, k: int, seed: int, past: int) -> Street:
    """Street k of a kind, the same every time."""
    rng = np.random.default_rng((seed, KINDS.index(kind), k))
    homes = int(rng.integers(110, 221) if kind == "large" else rng.integers(30, 71))
    which = int(rng.integers(2**31))
    if k % 2:
        case = _data.households(homes, past + 1, which, int(rng.integers(1, 366)))
    else:
        case = _data.synthetic(homes, past + 1, which)
    odds = {"lopsided": [0.6, 0.25, 0.15], "large": [0.45, 0.3, 0.25]}.get(kind, [1 / 3] * 3)
    start = rng.permutation(3)[rng.choice(3, homes, p=odds)].astype(np.int8)
    movable = np.ones(homes, bool)
    if kind == "few relays":
        movable = np.zeros(homes, bool)
        movable[rng.permutation(homes)[: round(homes / 3)]] = True
    return Street(case.currents, start, movable, np.sort(rng.integers(0, _SEGMENTS, homes)))


def drive(street: Street, config: PlannerConfig, step: int, first: int) -> NDArray[np.int8]:
    """Paths int8[T, n] of a planner that begins at minute `first`, step minutes a row."""
    amps = means(street.currents, step)[first // step :]
    nodes = np.flatnonzero(street.movable)
    own = np.ascontiguousarray(amps[:, nodes])
    step_s = 60.0 * step
    planner = Planner(len(nodes), replace(config, stale_s=max(180.0, 3 * step_s)))
    x = street.start.copy()
    paths = np.empty(amps.shape, np.int8)
    for t in range(len(paths)):
        if t:
            planner.observe(t * step_s, own[t - 1])
            for move in planner.decide(t * step_s, x[nodes]):
                x[nodes[move.home]] = move.to_phase
        paths[t] = x
    return paths


def means(currents: NDArray[np.complex128], step: int) -> NDArray[np.complex128]:
    """Means over step minutes."""
    return np.asarray(currents.reshape(-1, step, currents.shape[1]).mean(axis=1))


def learnt(street: Street, step: int, first: int) -> NDArray[np.int8]:
    """The arrangement with the least mean square before minute `first`, of the homes seen."""
    nodes = np.flatnonzero(street.movable)
    amps = np.ascontiguousarray(means(street.currents, step)[: first // step, nodes])
    gram = _core.build_gram(amps, np.full(len(amps), 1 / len(amps)))
    best = _core.solve(gram, street.start[nodes], np.zeros((len(nodes), 3)), restarts=100)[0]
    x = street.start.copy()
    x[nodes] = best
    return x


def losses(street: Street, amps: NDArray[np.complex128], paths: NDArray[np.int8]) -> float:
    """Sum over rows of the losses of one main of equal segments, ohm A^2 a segment."""
    turned = amps * np.exp(-2j * np.pi / 3 * paths)
    total = 0.0
    for segment in range(_SEGMENTS):
        behind = street.place >= segment
        phase = [np.where(paths == q, amps, 0)[:, behind].sum(axis=1) for q in range(3)]
        total += sum(float((np.abs(i) ** 2).sum()) for i in phase)
        total += float((np.abs(turned[:, behind].sum(axis=1)) ** 2).sum())
    return total


def measure(street: Street, paths: NDArray[np.int8], step: int) -> dict[str, float]:
    """The figures of a day's paths; `paths` are the last rows of all."""
    rows = 1440 // step
    amps = means(street.currents[-1440:], step)
    before = paths[-rows - 1] if len(paths) > rows else street.start
    paths = paths[-rows:]
    built = np.abs(neutral_current(amps, street.start)).mean()
    moves = (np.diff(paths, axis=0) != 0).sum() + (paths[0] != before).sum()
    as_built = np.broadcast_to(street.start, paths.shape)
    return {
        "cut": 100 * (1 - float(np.abs(neutral_current(amps, paths)).mean() / built)),
        "loss": 100 * (1 - losses(street, amps, paths) / losses(street, amps, as_built)),
        "switchings": float(moves / street.movable.sum()),
    }


def play(
    street: Street, step: int, past: int, budgets: Sequence[float], prices: Sequence[float]
) -> dict[str, Any]:
    """One street at one step, cold and, after past days, warm."""
    first = past * 1440
    static = np.broadcast_to(learnt(street, step, first), (1440 // step, len(street.start)))
    out: dict[str, Any] = {"static": measure(street, static, step)}
    for budget in budgets:
        config = PlannerConfig(wear_budget_per_day=budget)
        out["cold", budget] = measure(street, drive(street, config, step, first), step)
        out["warm", budget] = measure(street, drive(street, config, step, 0), step)
    for price in prices:
        rule = PlannerConfig(
            predict=False, price=price, wear_budget_per_day=None, fairness=0.0,
            window_s=max(1800.0, 120.0 * step),
        )  # fmt: skip
        out["rule", price] = measure(street, drive(street, rule, step, first), step)
    return out


def summary(runs: Sequence[dict[str, Any]], budget: float) -> dict[str, Any]:
    """Over the streets of a kind: pbal cold and warm, the rule at its best price, static."""
    out: dict[str, Any] = {"streets": len(runs)}
    prices = [key[1] for key in runs[0] if key[0] == "rule"]

    def mean(key: Any, what: str) -> float:
        return float(np.mean([r[key][what] for r in runs]))

    kept = [p for p in prices if mean(("rule", p), "switchings") <= 1.05 * budget] or [max(prices)]
    best = max(kept, key=lambda p: mean(("rule", p), "cut"))
    rule = [r["rule", best] for r in runs]
    out["rule"] = {"price": best, **_spreads(rule)}
    out["static"] = _spreads([r["static"] for r in runs])
    for when in ("cold", "warm"):
        own = [r[when, budget] for r in runs]
        out[when] = {
            **_spreads(own),
            "used": spread([o["switchings"] / budget for o in own], 2),
            "over_rule": spread([o["cut"] - r["cut"] for o, r in zip(own, rule, strict=True)], 2),
            "over_static": spread(
                [o["cut"] - r["static"]["cut"] for o, r in zip(own, runs, strict=True)], 2
            ),
            "losses_rose": int(sum(o["loss"] < 0 for o in own)),
        }
    return out


def _spreads(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {name: spread([row[name] for row in rows], 2) for name in rows[0]}


def of(value: dict[str, Any], signed: bool = False) -> str:
    """Mean and standard error, in words."""
    text = f"{value['mean']:{'+' if signed else ''}.1f}"
    return text if value["se"] is None else f"{text} +- {value['se']:.1f}"


def markdown(told: dict[str, Any]) -> str:
    """The table of docs/balancing.md."""
    each = "over the rule | over static | losses cut (rose on)"
    heads = (
        "street, readings every | rule at its best price | static learnt | pbal, first day | "
        f"{each} | budget used | pbal, fourth day | {each}"
    )
    lines = [f"| {heads} |", "| --- " * (heads.count("|") + 1) + "|"]
    for row in told["rows"]:
        rule = row["rule"]
        cells = [
            f"{row['streets']} {row['kind']}, {row['step_min']} min",
            f"{of(rule['cut'])} % at {rule['switchings']['mean']:.2f} ({rule['price']:g} A^2)",
            f"{of(row['static']['cut'])} %",
        ]
        for when in ("cold", "warm"):
            own = row[when]
            cells += [
                f"{of(own['cut'])} % at {own['switchings']['mean']:.2f}",
                of(own["over_rule"], True),
                of(own["over_static"], True),
                f"{own['loss']['mean']:.0f} % ({own['losses_rose']})",
            ]
            if when == "cold":
                cells.append(f"{own['used']['mean']:.2f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def table(told: dict[str, Any]) -> str:
    """The report for people: percent, points, switchings per home with a relay."""
    lines = []
    for row in told["rows"]:
        rule = row["rule"]
        lines.append(
            f"{row['kind']}, {row['streets']} streets, every {row['step_min']} min, budget "
            f"{row['budget']:g}: rule at {rule['price']:g} A^2 {of(rule['cut'])} % at "
            f"{rule['switchings']['mean']:.2f}, static {of(row['static']['cut'])} %"
        )
        for when in ("cold", "warm"):
            own = row[when]
            lines.append(
                f"  {when}: {of(own['cut'])} % at {own['switchings']['mean']:.2f} (budget used "
                f"{own['used']['mean']:.2f}), over the rule {of(own['over_rule'], True)}, over "
                f"static {of(own['over_static'], True)}, losses cut {of(own['loss'])} % "
                f"(rose on {own['losses_rose']})"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--markdown", action="store_true", help="print the table of the docs")
    parser.add_argument("--streets", default=2, type=int, help="of each kind")
    parser.add_argument("--steps", nargs="+", default=[5, 15], type=int, help="minutes")
    parser.add_argument("--budgets", nargs="+", default=[3.0], type=float)
    parser.add_argument("--past", default=3, type=int, help="days before the measured one")
    parser.add_argument("--only", help="kinds whose name contains this")
    parser.add_argument("--seed", default=31, type=int, help="of all that is drawn")
    args = parser.parse_args()
    runs: dict[tuple[str, int], list[dict[str, Any]]] = {}
    began = time.process_time()
    for kind in KINDS:
        if args.only and args.only not in kind:
            continue
        for k in range(args.streets):
            street = draw(kind, k, args.seed, args.past)
            for step in args.steps:
                run = play(street, step, args.past, args.budgets, RULE_PRICES)
                runs.setdefault((kind, step), []).append(run)
            print(f"{time.process_time() - began:6.0f} s  {kind}, street {k + 1}",
                  file=sys.stderr, flush=True)  # fmt: skip
    rows = [
        {"kind": kind, "step_min": step, "budget": budget, **summary(played, budget)}
        for (kind, step), played in runs.items()
        for budget in args.budgets
    ]
    told = {"bench": "street_kinds", "seed": args.seed, "past_days": args.past, "rows": rows}
    written = markdown if args.markdown else table
    print(json.dumps(told, indent=2) if args.json else written(told))


if __name__ == "__main__":
    main()
