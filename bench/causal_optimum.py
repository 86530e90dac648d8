"""How near to hindsight the best causal controller comes, exactly, on streets small enough.

    python -m bench.causal_optimum --json          about ten minutes

A home is a base and one load of its own size, off or on; how often it comes is the home's own, how
long it lasts follows the table of `_prior.py`, in three ages with random transitions. The street is
then a Markov chain, and the controller that pays least per minute in the long run,

    |I_N|^2 + price * switchings,

follows from value iteration over all phases of the homes times all states of their loads. It knows
the statistics and the states, which is more than any controller can derive from the currents, and
has neither dwell nor cap: no causal controller pays less in the long run. On days drawn from these
statistics it is compared with the hindsight optimum of those days, exact as well, and with the
planner, which reads currents only and has observed the street for `--learn` days before.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench import _data
from bench._spread import spread
from bench.causal_bound import MINUTES, at_budget, mixed, paid, settle
from bench.control import Trial, drive
from pbal_controller.balancing import PlannerConfig
from pbal_controller.balancing._prior import HAZARD
from pbal_controller.balancing.persistence import AGES, SIZES
from pbal_controller.balancing.phasors import TURN

Floats = NDArray[np.float64]
Phases = NDArray[np.int8]
#: Where the ages of a load begin, minutes; and the states of a home: off, and one for each age.
EDGES = np.array([0, 4, 30])
STATES = 1 + len(EDGES)
BUDGETS = (3.0, 1.0)
#: What the loads draw, A, how often they come a day on average, and how homes differ in that:
#: sigma of its logarithm.
_SIZES_A = {"short": (6.0, 14.0), "long": (14.0, 32.0)}
_COMES = {"short": 12.0, "long": 4.0}
_BUSY = 0.68


@dataclass
class Street:
    """chance float[n, s, s]: from state to state in a minute; amps float[n, s]: what it draws."""

    chance: Floats
    amps: Floats

    @property
    def homes(self) -> int:
        return len(self.amps)

    def squares(self) -> NDArray[np.float32]:
        """|I_N|^2 float[3^n, s^n], A^2, the last home's phase and state varying fastest."""
        n = self.homes
        turned = TURN[np.indices([3] * n).reshape(n, -1).T]
        drawn = np.stack([self.amps[h, s] for h, s in enumerate(self.states())])
        return (np.abs(turned @ drawn) ** 2).astype(np.float32)

    def states(self) -> NDArray[np.int64]:
        """int[n, s^n]: the state of each home, by the number of the street's."""
        return np.indices([self.amps.shape[1]] * self.homes).reshape(self.homes, -1)

    def live(self, minutes: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """States int[T, n], after a day that is not recorded."""
        upto = np.cumsum(self.chance, axis=2)
        upto[..., -1] = 1.0
        state = np.zeros(self.homes, np.int64)
        lived = np.empty((minutes, self.homes), np.int64)
        every = np.arange(self.homes)
        for t in range(-MINUTES, minutes):
            state = (rng.random(self.homes)[:, None] >= upto[every, state]).sum(axis=1)
            if t >= 0:
                lived[t] = state
        return lived

    def drawn(self, lived: NDArray[np.int64]) -> Floats:
        return np.asarray(self.amps[np.arange(self.homes), lived])


def draw(homes: int, rng: np.random.Generator, loads: str = "mixed") -> Street:
    """A street of homes with a "short" load, of 6 to 14 A and 12 times a day, or a "long" one, of
    14 to 32 A and 4 times; "mixed": every second one."""
    chance = np.zeros((homes, STATES, STATES))
    amps = np.repeat(rng.uniform(0.4, 0.9, homes)[:, None], STATES, axis=1)
    for h in range(homes):
        kind = ("short", "long")[h % 2] if loads == "mixed" else loads
        size = rng.uniform(*_SIZES_A[kind])
        amps[h, 1:] += size
        comes = _COMES[kind] * rng.lognormal(-0.5 * _BUSY**2, _BUSY) / MINUTES
        chance[h, 0, :2] = 1.0 - comes, comes
        row = HAZARD[np.searchsorted(SIZES, size)]
        for a, begins in enumerate(EDGES):
            ends, on = _age(row, a)
            chance[h, 1 + a, 0] = ends
            if begins != EDGES[-1]:
                chance[h, 1 + a, 2 + a] = on
            chance[h, 1 + a, 1 + a] = 1.0 - chance[h, 1 + a].sum()
    return Street(chance, amps)


def _age(row: Floats, age: int) -> tuple[float, float]:
    """Chance per minute that a load of this age ends, and that it grows older: as often, and
    after as long on average, as one that follows the table minute by minute."""
    begins = EDGES[age]
    last = age + 1 == len(EDGES)
    minutes = np.arange(begins, 1500 if last else EDGES[age + 1])
    ends = row[np.searchsorted(AGES, minutes, side="right") - 1]
    there = np.concatenate(([1.0], np.cumprod(1.0 - ends)))
    stays = there[:-1].sum()
    return float((1.0 - there[-1]) / stays), 0.0 if last else float(there[-1] / stays)


def expected(value: NDArray[np.float32], street: Street) -> NDArray[np.float32]:
    """Mean of value[3^n, s^n] over the next minute's states, by the states of this one."""
    places, s = len(value), street.amps.shape[1]
    v = value.reshape(-1, s)
    for chance in street.chance.astype(np.float32):
        # The first home's axis is moved to the end and multiplied; after n times the order is
        # restored.
        v = np.swapaxes(v.reshape(places, s, -1), 1, 2).reshape(-1, s) @ chance.T
    return np.ascontiguousarray(v.reshape(places, -1))


def worth(
    street: Street, square: NDArray[np.float32], price: float, within: float = 3e-3
) -> tuple[NDArray[np.float32], float]:
    """The remaining cost [3^n, s^n] from the phases chosen for this minute, up to a constant, and
    the cost of the best controller per minute, A^2, to a relative accuracy of `within`."""
    ahead = square.copy()
    while True:
        value = settle(ahead, np.float32(price), street.homes)
        new = square + expected(value, street)
        step = new - ahead
        low, high = float(step.min()), float(step.max())
        ahead = new - new.min()
        if high - low <= within * high:
            return ahead, 0.5 * (low + high)


def number(digits: NDArray[np.int64] | Phases, base: int) -> NDArray[np.int64]:
    """The number of each row of digits [..., n], the last digit varying fastest."""
    return np.asarray(digits.astype(np.int64) @ base ** np.arange(digits.shape[-1])[::-1])


def best(
    street: Street,
    ahead: NDArray[np.float32],
    price: float,
    lived: NDArray[np.int64],
    start: Phases,
) -> Phases:
    """Paths int8[T, n] of the controller that minimises price plus `ahead`."""
    places = np.indices([3] * street.homes).reshape(street.homes, -1).T.astype(np.int8)
    fare = (price * (places[:, None] != places[None]).sum(axis=2)).astype(np.float32)
    # By states, so that one minute's values are contiguous.
    by_state = np.ascontiguousarray(ahead.T)
    at = int(number(start, 3))
    paths = np.empty(lived.shape, np.int8)
    for t, state in enumerate(number(lived, street.amps.shape[1])):
        at = int(np.argmin(by_state[state] + fare[at]))
        paths[t] = places[at]
    return paths


def hindsight(
    street: Street, square: NDArray[np.float32], price: float, lived: NDArray[np.int64],
    start: Phases,
) -> float:  # fmt: skip
    """Least cost of these minutes over all paths, A^2 min."""
    cost = np.full(len(square), np.inf)
    cost[number(start, 3)] = 0.0
    by_state = np.ascontiguousarray(square.T)
    for state in number(lived, street.amps.shape[1]):
        cost = settle(cost, price, street.homes) + by_state[state]
    return float(cost.min())


def planned(drawn: Floats, start: Phases, config: PlannerConfig, learn: int) -> Phases:
    """Paths int8[T - learn, n] of the planner; in the first `learn` minutes it only observes."""
    case = _data.Case("", drawn.astype(np.complex128), start)
    return drive(case, config, Trial(delay=-1, watch=learn))[learn:]


def measure(
    street: Street, prices: Floats, minutes: int, learn: int, rng: np.random.Generator
) -> dict[str, list[tuple[float, float]]]:
    """For each controller (|I_N|^2 per minute, switchings per home and day) at each price; the
    hindsight optimum's first number has its switchings in it already, at that price."""
    start = (np.arange(street.homes) % 3).astype(np.int8)
    lived = street.live(learn + minutes, rng)
    drawn, now = street.drawn(lived), lived[learn:]
    square = street.squares()
    per_day = MINUTES / (minutes * street.homes)

    def row(paths: Phases) -> tuple[float, float]:
        total, moves = paid(drawn[learn:], start, paths)
        return total / minutes, moves * per_day

    rows: dict[str, list[tuple[float, float]]] = {
        "as built": [row(np.broadcast_to(start, now.shape))]
    }
    for price in prices:
        ahead, _ = worth(street, square, price)
        # A planner's price is the mean over its horizon; the planner adapts it itself.
        config = PlannerConfig(price=price / 10.0, wear_budget_per_day=None)
        free = PlannerConfig(price=price / 10.0, wear_budget_per_day=None, fairness=0.0,
                             dwell_s=0.0, daily_cap=1000)  # fmt: skip
        for name, value in {
            "hindsight": (hindsight(street, square, price, now, start) / minutes, 0.0),
            "best causal": row(best(street, ahead, price, now, start)),
            "pbal": row(planned(drawn, start, config, learn)),
            "pbal, no dwell, no cap": row(planned(drawn, start, free, learn)),
        }.items():
            rows.setdefault(name, []).append(value)
    return rows


def cuts(
    rows: dict[str, list[tuple[float, float]]], prices: Floats, budget: float, homes: int
) -> dict[str, float]:
    """Cut of the RMS neutral current at so many switchings per home and day: the most that
    mixing the runs at the prices can give."""
    per_minute = prices * homes / MINUTES  # of one switching per home and day
    built = rows["as built"][0][0]
    out = {}
    for name, row in rows.items():
        if name == "as built":
            continue
        runs = np.array(row)
        least = (
            at_budget(runs[:, 0], per_minute, budget)
            if name == "hindsight"
            else mixed(runs, per_minute, budget)
        )
        out[name] = 1 - float(np.sqrt(max(least, 0.0) / built))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--homes", type=int, default=5)
    parser.add_argument("--streets", type=int, default=6)
    parser.add_argument("--loads", choices=("mixed", "short", "long"), default="mixed")
    parser.add_argument("--days", type=int, default=6, help="of each street, that are measured")
    parser.add_argument("--learn", type=int, default=4, help="days that the planner watches first")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--prices", type=float, nargs="+", default=[60, 150, 400, 1000, 2500],
                        help="of a switching, A^2 min")  # fmt: skip
    args = parser.parse_args()
    if args.homes > 5:
        parser.error("--homes: more than 5 do not fit: the table has (3 * 4)^homes numbers")
    prices = np.array(args.prices)
    found: dict[float, list[dict[str, float]]] = {budget: [] for budget in BUDGETS}
    for k in range(args.streets):
        rng = np.random.default_rng((args.seed, args.homes, k))
        street = draw(args.homes, rng, args.loads)
        rows = measure(street, prices, args.days * MINUTES, args.learn * MINUTES, rng)
        print(f"street {k}: {rows}", file=sys.stderr, flush=True)
        for budget in BUDGETS:
            found[budget].append(cuts(rows, prices, budget, args.homes))
    report = {"bench": "causal_optimum", "homes": args.homes, "loads": args.loads,
              "streets": args.streets, "days": args.days,
              "budgets": [_row(budget, found[budget]) for budget in BUDGETS]}  # fmt: skip
    if args.json:
        print(json.dumps(report, indent=2))
        return
    for row in report["budgets"]:
        print(f"at {row['budget']:g} a day: cut of the RMS neutral current")
        for name, value in row["cut_rms"].items():
            error = "" if value["error"] is None else f" (+- {100 * value['error']:.1f})"
            print(f"  {name:24s} {100 * value['cut']:5.1f} %  {100 * value['share']:5.1f} % of"
                  f" hindsight{error}")  # fmt: skip


def _row(budget: float, streets: list[dict[str, float]]) -> dict[str, object]:
    """Mean cuts over streets, and their share of hindsight's with its standard error."""
    mean = {name: float(np.mean([s[name] for s in streets])) for name in streets[0]}
    whole = mean["hindsight"]
    out = {}
    for name, cut in mean.items():
        # Standard error of a ratio of means, from each street's contribution; none from one street.
        off = spread([(s[name] - cut / whole * s["hindsight"]) / whole for s in streets], 3)
        out[name] = {"cut": round(cut, 4), "share": round(cut / whole, 3), "error": off["se"]}
    return {"budget": budget, "cut_rms": out}


if __name__ == "__main__":
    main()
