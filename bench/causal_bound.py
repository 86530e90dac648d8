"""What no causal controller can do better than, on streets whose law is known.

    python -m bench.causal_bound --json            about ten minutes

A home is a base and independent steps; how often they come and how long they last is given
(`_prior.py` and the two tables below), so that what can be expected ahead is known exactly. The
hindsight optimum of such a street knows the future. A penalty is added for that: with V(x, s) an
estimate of the remaining cost when the homes are on phases x and the steps are s,

    sum over minutes of  |I_N|^2 + price * switchings + E[V(x, next) | now] - V(x, next)

has the same mean as without the penalty for a controller that does not look ahead, so its least
value over all paths is, on average, at most what any causal controller pays (information
relaxation). The better the estimate, the tighter the bound. Here V is the expected |I_N|^2 of the
best assignment that can be reached at the price, later minutes weighing less; its expectation is
the mean over independent draws of the next minute, which leaves the bound valid whatever their
number. The least value is
exact: all 3^n assignments are followed. Dwell and caps are left out, which only lowers it.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench import _data
from bench.control import Trial, drive
from pbal_controller.balancing import PlannerConfig, neutral_current
from pbal_controller.balancing._prior import HAZARD
from pbal_controller.balancing.persistence import AGES, SIZES
from pbal_controller.balancing.phasors import TURN

Floats = NDArray[np.float64]
MINUTES = 1440
#: Steps per home and day by size class, and by the hour, of the development homes.
_PER_DAY = np.array([0, 1738, 502, 150, 21, 43, 95, 35, 41, 110, 350, 135, 80, 63, 59, 40, 33, 8,
                     2, 2, 32, 40]) / 100  # fmt: skip
_HOURS = np.array([31, 30, 36, 27, 30, 36, 62, 99, 111, 124, 108, 102, 99, 102, 114, 115, 128,
                   145, 164, 172, 157, 160, 142, 108]) / 100  # fmt: skip
_BUSY = 0.68  # how homes differ: sigma of the logarithm of their steps per day
_OLDEST = 1500
#: The minutes ahead at which V is evaluated, and the edges of the interval of each.
_AHEAD = np.array([0, 1, 2, 5, 11, 23, 47, 95])
_EDGES = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128.0])
_BLOCK = 8  # minutes at once
BUDGETS = (3.0, 1.0)


@dataclass
class Day:
    """now float[T, n] A; ahead float[T, k, n]: expected at _AHEAD; drawn float[T, r, k, n]: the
    same for other draws of the last minute; start int8[n]."""

    now: Floats
    ahead: Floats
    drawn: Floats
    start: NDArray[np.int8]


class Law:
    """Survival of a step of each size class, by age in minutes."""

    def __init__(self) -> None:
        age = np.arange(_OLDEST + _AHEAD[-1] + 2)
        self.ends = HAZARD[:, np.searchsorted(AGES, age, side="right") - 1]
        kept = np.cumsum(np.log1p(-self.ends), axis=1)
        self.log_stays = np.concatenate((np.zeros((len(HAZARD), 1)), kept), axis=1)

    def ahead(self, size: Floats, kind: NDArray[np.int64], age: NDArray[np.int64]) -> Floats:
        """Expected current of steps of these ages at _AHEAD, float[steps, k]."""
        gone = self.log_stays[kind[:, None], age[:, None] + _AHEAD]
        return np.asarray(size[:, None] * np.exp(gone - self.log_stays[kind, age][:, None]))


def day(homes: int, draws: int, rng: np.random.Generator) -> Day:
    law = Law()
    shape = (MINUTES, draws, len(_AHEAD), homes)
    made = Day(np.empty((MINUTES, homes)), np.empty((MINUTES, *shape[2:])), np.empty(shape),
               rng.permutation(np.arange(homes) % 3).astype(np.int8))  # fmt: skip
    for h in range(homes):
        _live(law, made, h, rng)
    return made


def _live(law: Law, made: Day, h: int, rng: np.random.Generator) -> None:
    """One day of home h, after a day that is not recorded."""
    minute = np.arange(-MINUTES, MINUTES + _AHEAD[-1] + 1)
    rate = _PER_DAY.sum() * _HOURS[minute % MINUTES // 60] / MINUTES
    rate *= rng.lognormal(-0.5 * _BUSY**2, _BUSY)
    base = rng.uniform(0.4, 0.9)
    chance = _PER_DAY / _PER_DAY.sum()
    low = np.concatenate(([0.6], SIZES))
    high = np.append(SIZES, 48.0)
    kinds = np.arange(len(SIZES) + 1)
    # The expected current of a future step, by the minutes since it began.
    mean = (chance * (low + high) / 2) @ np.exp(law.log_stays[:, : _AHEAD[-1] + 1])
    to_come = np.zeros((2 * MINUTES, len(_AHEAD)))
    for k, u in enumerate(_AHEAD):
        for v in range(1, u + 1):
            to_come[:, k] += rate[v : v + 2 * MINUTES] * mean[u - v]

    def comes(count: int) -> tuple[Floats, NDArray[np.int64]]:
        kind = rng.choice(kinds, count, p=chance)
        return rng.uniform(low[kind], high[kind]), kind

    size, kind, age = np.empty(0), np.empty(0, np.int64), np.empty(0, np.int64)
    draws = made.drawn.shape[1]
    for t in range(2 * MINUTES):
        at = t - MINUTES
        older = np.minimum(age + 1, _OLDEST)
        if at >= 0:
            stays = rng.random((draws, len(size))) >= law.ends[kind, age]
            drawn = stays @ law.ahead(size, kind, older)
            born = rng.poisson(rate[t], draws)
            for i in np.flatnonzero(born):
                new, of = comes(int(born[i]))
                drawn[i] += law.ahead(new, of, np.zeros(len(of), np.int64)).sum(axis=0)
            made.drawn[at, :, :, h] = base + to_come[t] + drawn
        stays = rng.random(len(size)) >= law.ends[kind, age]
        new, of = comes(int(rng.poisson(rate[t])))
        size, kind = np.append(size[stays], new), np.append(kind[stays], of)
        age = np.append(older[stays], np.zeros(len(of), np.int64))
        if at >= 0:
            made.ahead[at, :, h] = base + to_come[t] + law.ahead(size, kind, age).sum(axis=0)
            made.now[at, h] = base + size.sum()


def settle(value: Floats, price: float, homes: int) -> Floats:
    """Least of value [3^n, ...] plus price times the homes that must switch to get there."""
    v = value.reshape((*([3] * homes), *value.shape[1:]))
    for axis in range(homes):
        v = np.minimum(v, v.min(axis=axis, keepdims=True) + price)
    return v.reshape(value.shape)


def least(
    made: Day, prices: Floats, tau_min: float, paths: list[NDArray[np.int8]] | None = None
) -> Floats:
    """Least cost of the day over all paths, A^2 min, at each price, with the penalty for looking
    ahead.

    tau_min: how fast the weight of later minutes falls in V; 0: no penalty, which is hindsight.
    paths: for each price what a causal controller did, int[T, n]. Its penalty is subtracted: its
        mean is zero, and it removes most of the day's variance (a control variate).
    """
    minutes, homes = made.now.shape
    places = np.indices([3] * homes).reshape(homes, -1).T
    turned = TURN[places].astype(np.complex64)
    square = np.abs(turned @ made.now.T.astype(np.float32)) ** 2
    first = np.ravel_multi_index(tuple(made.start), [3] * homes)
    cost = np.full((len(prices), len(places)), np.inf)
    cost[:, first] = 0.0
    stood = [np.ravel_multi_index(tuple(path.T), [3] * homes) for path in paths or []]
    by_chance = np.zeros(len(prices))
    weights = np.zeros(len(_AHEAD))
    if tau_min > 0:
        weights[:] = tau_min * -np.diff(np.exp(-_EDGES / tau_min))
    for block in range(0, minutes, _BLOCK):
        charges = np.zeros((len(prices), len(places), min(_BLOCK, minutes - block)))
        if tau_min > 0:
            # The actual course is the last of the draws; by minutes t + 1.
            came = made.ahead[block + 1 : block + 1 + _BLOCK, None]
            drawn = made.drawn[block + 1 : block + 1 + _BLOCK]
            amps = np.concatenate((drawn, came), axis=1) * np.sqrt(weights)[:, None]
            amps = np.ascontiguousarray(np.moveaxis(amps, (2, 3), (0, 1)), np.float32)
            ahead = np.zeros((len(places), *amps.shape[2:]), np.float32)
            for of_k in amps:
                flat = of_k.reshape(homes, -1)
                for part in (turned.real, turned.imag):
                    ahead += ((part @ flat) ** 2).reshape(ahead.shape)
            for i, price in enumerate(prices):
                v = settle(ahead, np.float32(price), homes)
                charges[i, :, : v.shape[1]] = v[..., :-1].mean(axis=-1) - v[..., -1]
        minute = np.arange(charges.shape[2])
        for i, at in enumerate(stood):
            by_chance[i] += charges[i, at[block + minute], minute].sum()
        for t in minute:
            for i, price in enumerate(prices):
                cost[i] = settle(cost[i], price, homes)
            cost += square[:, block + t] + charges[:, :, t]
    return np.asarray(cost.min(axis=1) - by_chance)


def done(made: Day, config: PlannerConfig) -> NDArray[np.int8]:
    """Paths int8[T, n] of the planner."""
    return drive(
        _data.Case("", made.now.astype(np.complex128), made.start), config, Trial(delay=-1)
    )


def paid(now: Floats, start: NDArray[np.int8], paths: NDArray[np.int8]) -> tuple[float, float]:
    """sum of |I_N|^2, A^2 min, and switchings, of paths int8[T, n] from start on."""
    moves = (np.diff(paths, axis=0) != 0).sum() + (paths[0] != start).sum()
    return float((np.abs(neutral_current(now, paths)) ** 2).sum()), float(moves)


def at_budget(totals: Floats, prices: Floats, moves: float) -> float:
    """The least sum of |I_N|^2 with so many switchings, from what is least at these prices."""
    return float((totals - prices * moves).max())


def mixed(runs: Floats, prices: Floats, moves: float) -> float:
    """The least sum of |I_N|^2 with so many switchings that mixing runs gives, of each its sum
    and its switchings, float[runs, 2]."""
    square, made = runs.T
    return at_budget((square + prices[:, None] * made).min(axis=1), prices, moves)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--homes", type=int, default=6)
    parser.add_argument("--days", type=int, default=12, help="streets, a day of each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--draws", type=int, default=24, help="of the next minute")
    parser.add_argument("--prices", type=float, nargs="+", default=[300, 700, 1500, 3500],
                        help="of a switching, A^2 min")  # fmt: skip
    parser.add_argument("--tau", type=float, nargs="+", default=[40.0, 80.0], help="min, of V")
    args = parser.parse_args()
    prices = np.array(args.prices)
    # A planner's price is the mean over its horizon; the planner adapts it itself.
    asked = prices / 10.0
    planners = {
        "pbal": [PlannerConfig(price=p, wear_budget_per_day=None) for p in asked],
        "pbal, no dwell, no cap": [
            PlannerConfig(price=p, wear_budget_per_day=None, fairness=0.0, dwell_s=0.0,
                          daily_cap=1000) for p in asked
        ],
    }  # fmt: skip
    built, relaxed, causal = [], [], {name: [] for name in planners}
    for d in range(args.days):
        made = day(args.homes, args.draws, np.random.default_rng((args.seed, d)))
        built.append(float((np.abs(neutral_current(made.now, made.start)) ** 2).sum()))
        for name, configs in planners.items():
            paths = [done(made, c) for c in configs]
            causal[name].append([paid(made.now, made.start, path) for path in paths])
        # `paths` are those of the last controller, which has no dwell.
        relaxed.append([least(made, prices, tau, paths) for tau in (0.0, *args.tau)])
        print(f"street {d}: built {built[-1]:.0f}, least {np.round(relaxed[-1])}, "
              f"{ {n: np.round(v[-1]).tolist() for n, v in causal.items()} }",
              file=sys.stderr, flush=True)  # fmt: skip
    report = {"bench": "causal_bound", "homes": args.homes, "streets": args.days, "budgets": [
        _row(budget, args.homes, prices, np.array(built), np.array(relaxed),
             {n: np.array(v) for n, v in causal.items()}) for budget in BUDGETS]}  # fmt: skip
    if args.json:
        print(json.dumps(report, indent=2))
        return
    for row in report["budgets"]:
        print(f"at {row['budget']:g} a day: cut of the RMS neutral current")
        for name, value in row["cut_rms"].items():
            low, high = value["share_90"]
            print(f"  {name:36s} {100 * value['cut']:5.1f} %  {100 * value['share']:5.1f} % of"
                  f" hindsight (90 % of draws {100 * low:.0f} to {100 * high:.0f})")  # fmt: skip


def _row(
    budget: float,
    homes: int,
    prices: Floats,
    built: Floats,
    relaxed: Floats,
    causal: dict[str, Floats],
) -> dict[str, object]:
    """Cuts at one budget, and the uncertainty of their shares: bootstrap over the streets."""

    def cuts(picked: NDArray[np.int64]) -> dict[str, float]:
        least_mean = relaxed[picked].mean(axis=0)
        moves = budget * homes
        squares = {
            "hindsight": at_budget(least_mean[0], prices, moves),
            "no causal controller cuts more": max(
                at_budget(row, prices, moves) for row in least_mean
            ),
        }
        for name, rows in causal.items():
            squares[name] = mixed(rows[picked].mean(axis=0), prices, moves)
        whole = built[picked].mean()
        return {k: 1 - float(np.sqrt(max(v, 0.0) / whole)) for k, v in squares.items()}

    everything = np.arange(len(built))
    rng = np.random.default_rng(1)
    again = [cuts(rng.choice(everything, len(everything))) for _ in range(500)]
    best = cuts(everything)
    out = {}
    for name, cut in best.items():
        share = np.quantile([a[name] / a["hindsight"] for a in again], (0.05, 0.95))
        out[name] = {"cut": round(cut, 4), "share": round(cut / best["hindsight"], 3),
                     "share_90": share.round(3).tolist()}  # fmt: skip
    return {"budget": budget, "cut_rms": out}


if __name__ == "__main__":
    main()
