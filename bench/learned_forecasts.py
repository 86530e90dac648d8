"""Forecasts by boosted trees inside the planner, against the planner as it is shipped.

    python -m bench.learned_forecasts --json     quick: 4 streets to learn from, 4 to test on

Trees (scikit-learn's histogram gradient boosting) learn by how much a home's current will differ
from what the planner's step statistics expect, at each of its times ahead, from: that forecast,
the present current, its recent and its lasting mean, the hour, and the number, size and age of the
steps that are on. They learn from made-up homes of both generators, on streets with other seeds
than those of the test. Measured is the cut of the mean neutral current at the same budget: *day 1*,
from nothing, and the last day. The shipped planner uses neither scikit-learn nor trees.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import _data
from bench._spread import spread
from pbal_controller.balancing import Planner, PlannerConfig, neutral_current
from pbal_controller.balancing import outlook as parts

_AHEAD = parts.MIDDLES
_EVERY = 7  # minutes between training samples
_LASTING = parts.LASTING

Real = NDArray[np.float64]


def features(outlook: parts.Outlook, time_s: float, now: Real, ahead: Real) -> Real:
    """[homes * times ahead, features] of what the planner knows at time_s."""
    p = outlook.persistence
    on = p.size > 0
    age = np.where(on, (time_s - p.born_s) / 60.0, np.inf)
    hour = time_s % 86400.0 / 3600.0
    recent, lasting = outlook.homes.recent.real, outlook.lasting.mean().real
    each = np.column_stack(
        [
            now,
            recent - now,
            lasting - now,
            on.sum(axis=1),
            p.size.max(axis=1),
            np.minimum(age.min(axis=1), 300.0),
            np.where(on, p.size, 0.0).sum(axis=1),
            np.full(len(now), np.sin(2 * np.pi * hour / 24)),
            np.full(len(now), np.cos(2 * np.pi * hour / 24)),
        ]
    )
    rows = [
        np.column_stack([each, ahead[k] - now, np.full(len(now), _AHEAD[k])])
        for k in range(1, len(_AHEAD))
    ]
    return np.concatenate(rows)


class Learned(parts.Outlook):
    """The planner's outlook with what trees add to its forecasts."""

    model: Any = None

    def scenarios(self, time_s: float, now: Any, known: Any) -> Any:
        currents, weights = super().scenarios(time_s, now, known)
        level = currents[:-1].real
        change = self.model.predict(features(self, time_s, now.real, level))
        change = change.reshape(len(_AHEAD) - 1, self.n)
        out = currents.copy()
        out[1:-1] += np.where(known, change, 0.0) * self.lean(now)
        return out, weights


def street(k: int, seed: int, days: int) -> tuple[Any, NDArray[np.int8]]:
    """Currents and phases of street k; both generators in turns."""
    rng = np.random.default_rng((seed, k))
    homes, which = int(rng.integers(30, 61)), int(rng.integers(2**31))
    if k % 2:
        case = _data.households(homes, days, which, int(rng.integers(1, 366)))
    else:
        case = _data.synthetic(homes, days, which)
    return case.currents, rng.integers(0, 3, homes).astype(np.int8)


def lessons(streets: int, seed: int, days: int) -> tuple[Real, Real]:
    """The training data: features, and how the current differed from what was expected."""
    xs, ys = [], []
    for k in range(streets):
        amps, _ = street(k, seed, days)
        planner = Planner(amps.shape[1], PlannerConfig())
        real = amps.real
        ends = np.concatenate(([1], parts.EDGES[2:])).astype(int)
        first = np.concatenate(([0], parts.EDGES[1:-1])).astype(int)
        for t in range(1, len(amps) - int(ends[-1])):
            planner.observe(60.0 * t, amps[t - 1])
            if t % _EVERY or t < 30:
                continue
            now, known = amps[t - 1], np.ones(amps.shape[1], bool)
            level = planner.outlook.scenarios(60.0 * t, now, known)[0][:-1].real
            xs.append(features(planner.outlook, 60.0 * t, now.real, level))
            came = [
                real[t - 1 + a : t - 1 + b].mean(axis=0) for a, b in zip(first, ends, strict=True)
            ]
            ys.append(np.concatenate([came[k] - level[k] for k in range(1, len(_AHEAD))]))
    return np.concatenate(xs), np.concatenate(ys)


def drive(planner: Planner, amps: Any, start: NDArray[np.int8], days: list[int]) -> dict[int, Any]:
    """Cut and switchings per home of each of `days`, decided upon the minute before."""
    x = start.copy()
    paths = np.empty(amps.shape, np.int8)
    for t in range(len(amps)):
        if t:
            planner.observe(60.0 * t, amps[t - 1])
            for move in planner.decide(60.0 * t, x):
                x[move.home] = move.to_phase
        paths[t] = x
    out = {}
    for day in days:
        a, b = day * 1440, (day + 1) * 1440
        built = np.abs(neutral_current(amps[a:b], start)).mean()
        own = np.abs(neutral_current(amps[a:b], paths[a:b])).mean()
        moves = float((np.diff(paths[max(a - 1, 0) : b], axis=0) != 0).sum() / len(start))
        out[day] = (100 * (1 - float(own / built)), moves)
    return out


def measure(learn: int, judged: int, budgets: list[float], days: int, seed: int) -> dict[str, Any]:
    from sklearn.ensemble import HistGradientBoostingRegressor

    began = time.process_time()
    x, y = lessons(learn, seed, 2)
    model = HistGradientBoostingRegressor(
        max_iter=60, max_leaf_nodes=15, min_samples_leaf=500, l2_regularization=10.0,
        learning_rate=0.1, early_stopping=False, random_state=1,
    )  # fmt: skip
    model.fit(x, y)
    print(f"{time.process_time() - began:6.0f} s  learnt from {len(y)} lessons", file=sys.stderr)
    held, came = lessons(2, seed + 1000, 1)
    explained = 1 - float(((came - model.predict(held)) ** 2).sum() / (came**2).sum())
    rows = []
    got: dict[tuple[float, int], list[tuple[float, float, float, float]]] = {}
    spent = {"shipped": 0.0, "learned": 0.0}
    watched = sorted({0, days - 1})
    for k in range(judged):
        amps, start = street(k, seed + 2000, days)
        for budget in budgets:
            config = PlannerConfig(wear_budget_per_day=budget)
            a = time.process_time()
            plain = drive(Planner(amps.shape[1], config), amps, start, watched)
            b = time.process_time()
            outlook = Learned(amps.shape[1], config)
            outlook.model = model
            own = Planner(amps.shape[1], config)
            own.outlook = outlook
            learned = drive(own, amps, start, watched)
            spent["shipped"] += b - a
            spent["learned"] += time.process_time() - b
            for day in watched:
                got.setdefault((budget, day), []).append((*plain[day], *learned[day]))
        print(f"{time.process_time() - began:6.0f} s  street {k + 1}", file=sys.stderr, flush=True)
    for (budget, day), each in sorted(got.items()):
        rows.append(
            {
                "budget": budget,
                "day": day + 1,
                "shipped": spread([e[0] for e in each], 2),
                "shipped_switchings": spread([e[1] for e in each], 2),
                "learned": spread([e[2] for e in each], 2),
                "learned_switchings": spread([e[3] for e in each], 2),
                "gain": spread([e[2] - e[0] for e in each], 2),
            }
        )
    decisions = judged * len(budgets) * days * 1440
    return {
        "bench": "learned_forecasts",
        "learnt_from": learn,
        "lessons": len(y),
        "explained_of_the_error": round(explained, 3),
        "ms_a_minute": {k: round(1000 * v / decisions, 2) for k, v in spent.items()},
        "rows": rows,
    }


def table(told: dict[str, Any]) -> str:
    """The report for people."""
    lines = [
        f"learnt from {told['learnt_from']} streets, {told['lessons']} lessons; of the squared "
        f"error of forecasts on other streets {100 * told['explained_of_the_error']:.1f} % is gone"
    ]
    for row in told["rows"]:
        se = row["gain"]["se"]
        lines.append(
            f"budget {row['budget']:g}, day {row['day']}: "
            f"shipped {row['shipped']['mean']:.1f} % at "
            f"{row['shipped_switchings']['mean']:.2f}, learned {row['learned']['mean']:.1f} % at "
            f"{row['learned_switchings']['mean']:.2f}: {row['gain']['mean']:+.2f} +- "
            f"{0.0 if se is None else se:.2f} points ({row['gain']['n']} streets)"
        )
    spent = told["ms_a_minute"]
    lines.append(
        f"processor time a minute studied: shipped {spent['shipped']:.2f} ms, learned "
        f"{spent['learned']:.2f} ms"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--learn", default=4, type=int, help="streets to learn from")
    parser.add_argument("--streets", default=4, type=int, help="streets to judge by")
    parser.add_argument("--budgets", nargs="+", default=[1.0, 3.0], type=float)
    parser.add_argument("--days", default=3, type=int, help="cold is the first, later the last")
    parser.add_argument("--seed", default=51, type=int)
    args = parser.parse_args()
    if importlib.util.find_spec("sklearn") is None:
        print(
            "bench.learned_forecasts needs scikit-learn: install the extra bench.", file=sys.stderr
        )
        raise SystemExit(4)
    told = measure(args.learn, args.streets, args.budgets, args.days, args.seed)
    print(json.dumps(told, indent=2) if args.json else table(told))


if __name__ == "__main__":
    main()
