"""How often homes that tell the truth come into doubt: the given data, virtual time.

    python -m bench.false_doubts --days 5 --homes 20

Streets of so many homes each, with the voltages, the meters' rounding, the readings' ages and the
network of bench/virtual_street.py. With a transformer's meter a third as many loads without a node
are on each phase; they hide steps and cause others. Where the data are not found, made-up
households.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench import _data
from bench.virtual_street import VirtualStreet
from pbal_controller.config import PlausibilityConfig
from pbal_sim.households import GeneratedLoads


def power(days: int) -> tuple[str, NDArray[np.float64]]:
    """(name, W[minute, home]) of the days."""
    if _data.PERSISTENT.exists():
        return "60 given homes", _data._read(_data.PERSISTENT)[: 1440 * days]
    made = GeneratedLoads(60, seed=1, start_day=15)
    return "60 made-up households", np.concatenate([made.day(d) for d in range(days)])


def steps_of(watts: NDArray[np.float64], rng: np.random.Generator) -> Callable[[int, float], float]:
    """Each home's minutes begin at a time of their own."""
    offset = rng.uniform(0, 60, watts.shape[1])

    def at(home: int, t_s: float) -> float:
        minute = int((t_s + offset[home]) // 60) % len(watts)
        return float(watts[minute, home])

    return at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--days", type=int, default=2)
    parser.add_argument("--homes", type=int, default=20, help="of one street, 20 by default")
    parser.add_argument("--fuse", type=float, default=100.0, help="A; all homes'")
    parser.add_argument("--floor", type=float, default=PlausibilityConfig().drop_floor_ohm,
                        help="plausibility.drop_floor_ohm")  # fmt: skip
    args = parser.parse_args()
    name, watts = power(args.days)
    total, home_days = 0, 0
    for with_meter in (False, True):
        for first in range(0, watts.shape[1] - args.homes + 1, args.homes):
            began = time.process_time()
            rng = np.random.default_rng(first)
            own = steps_of(watts[:, first : first + args.homes], rng)
            others = np.delete(watts, np.s_[first : first + args.homes], axis=1)
            others = others[:, : args.homes // 3 * 3]
            bare = steps_of(others, rng)

            def without_node(
                k: int, t_s: float,
                bare: Callable[[int, float], float] = bare, n: int = others.shape[1],
            ) -> float:  # fmt: skip
                return sum(bare(h, t_s) for h in range(k, n, 3))

            street = VirtualStreet(
                args.homes, own, seed=first, with_meter=with_meter, fuse_a=args.fuse,
                bare_watts=without_node if with_meter else None,
                plausibility=PlausibilityConfig(drop_floor_ohm=args.floor),
            ).play(86400 * args.days)  # fmt: skip
            doubts = [each for each in street.doubts if each[2]]
            judged = sum(len(samples.spans()) > 0 for samples in street.loop.watch._steps.drop)
            print(
                f"{name} {first + 1} to {first + args.homes}, {args.days} days, "
                f"{'meter' if with_meter else 'no meter'}: {len(doubts)} doubts, "
                f"{judged} homes judged by their voltage, {len(street.moves)} switchings "
                f"({time.process_time() - began:.0f} s)", flush=True,
            )  # fmt: skip
            for when, home, why in doubts:
                print(f"  {when / 3600:6.2f} h  home {home}: {why}", flush=True)
            total += len(doubts)
            home_days += args.days * args.homes
    print(f"{total} doubts in {home_days} days of a home")


if __name__ == "__main__":
    main()
