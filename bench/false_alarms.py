"""How often HQ's detectors raise on made-up streets on which nothing is wrong.

    python -m bench.false_alarms [--json] [--streets 50] [--days 90]

Each street has 12 to 60 homes of GeneratedLoads on the three phases by turns, moved once a
day each as a planner does; its summaries are made of the homes' minutes, in windows of five.
Voltages fall by the phases' currents, each home's meter is right within its class, one poll in a
hundred is lost and bursts of loss come once a day, homes are switched 2.5 times a day. Each window
goes to the detectors of windows, each hour to those of hours and days. Printed: raised alarms by
kind and transformer-year, and how many of a kind that never raised there are at most (95 %).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from pbal_hq.alarms.detect import DETECTORS, LOOK, Window
from pbal_hq.alarms.trends import BEFORE_DAYS, RECENT_DAYS, TRENDS, WEAR_DAYS, Day, Hour, Past
from pbal_sim.households import GeneratedLoads

T0 = datetime(2026, 1, 1, tzinfo=UTC)
PLAN_PER_DAY = 3.0
_TURN = np.exp(-2j * math.pi / 3 * np.arange(3))
Array = NDArray[np.float64]


class Street:
    """One normal street; a day at a time."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.homes = int(self.rng.integers(12, 61))
        self.loads = GeneratedLoads(self.homes, seed=seed)
        self.phase = np.arange(self.homes) % 3
        # Such that the street's largest minute of ordinary days is near the rated current.
        first = self.loads.day(0).sum(axis=1).max() / 690
        self.rated_a = max(40.0, 1.6 * float(first))
        self.supply_v = float(self.rng.uniform(229, 240))
        self.drop_ohm = 9.0 / self.rated_a  # 9 V at rated current: what planners aim at
        self.switched = Counter[int]()
        self.hotspot = 40.0

    def day(self, n: int) -> tuple[list[Window], list[Hour], Day]:
        """The windows, hours and sums of day n."""
        rng = self.rng
        watts = self.loads.day(n % 360)
        windows: list[Window] = []
        links: list[float] = []
        neutrals: list[float] = []
        volts: list[Array] = []
        energy = 0.0
        burst = int(rng.integers(0, 288))
        for k in range(288):
            self._move(watts[5 * k])
            amps = np.stack(
                [watts[5 * k : 5 * k + 5, self.phase == p].sum(axis=1) / 230 for p in range(3)], 1
            )
            neutral = np.abs(amps @ _TURN)
            means, most = amps.mean(axis=0), amps.max(axis=0)
            # The neutral's drop pulls a loaded phase down and pushes the others up.
            drop = self.drop_ohm * (means + 0.5 * (means - means.mean()))
            mean_v = self.supply_v + 2 * math.sin(2 * math.pi * k / 288) - 0.6 * drop
            noise = rng.normal(0, 0.5, 3)
            lows, highs = mean_v - 0.4 * drop - 1 + noise, mean_v + 0.3 * drop + 1 + noise
            load = 100 * float(most.max()) / self.rated_a
            aim = 30 + 68 * (load / 100) ** 1.6
            self.hotspot += (aim - self.hotspot) * 0.1
            lost = rng.binomial(self.homes * 100, 0.01) / (self.homes * 100)
            lost += 0.15 if burst <= k < burst + 3 else 0.0
            fresh = self.homes - int(rng.binomial(self.homes, 0.005))
            windows.append(
                Window(
                    T0 + timedelta(days=n, minutes=5 * k),
                    100,
                    tuple(means),
                    tuple(most),
                    load,
                    self.hotspot,
                    tuple(lows),
                    tuple(mean_v),
                    tuple(highs),
                    self.homes,
                    fresh,
                )
            )
            links.append(100 * (1 - lost))
            neutrals.append(float(neutral.mean()))
            volts.append(mean_v)
            energy += float(watts[5 * k : 5 * k + 5].sum()) / 60_000
        return windows, *self._sums(windows, links, neutrals, volts, energy)

    def _move(self, watts: Array) -> None:
        """About once a day and home: one from the fullest phase to the emptiest."""
        if self.rng.random() > 1.0 * self.homes / 288:
            return
        totals = np.array([watts[self.phase == p].sum() for p in range(3)])
        here = np.flatnonzero(self.phase == int(totals.argmax()))
        half = (totals.max() - totals.min()) / 2
        if not len(here):
            return
        home = int(here[np.abs(watts[here] - half).argmin()])
        if watts[home] < 2 * half:
            self.phase[home] = int(totals.argmin())

    def _sums(
        self, windows: list[Window], links: list[float], neutrals: list[float],
        volts: list[Array], energy: float,
    ) -> tuple[list[Hour], Day]:  # fmt: skip
        means = np.array([w.means_a for w in windows])
        hours = [
            Hour(3600, tuple(means[12 * h : 12 * h + 12].mean(axis=0)),
                 float(np.mean(neutrals[12 * h : 12 * h + 12])), min(links[12 * h : 12 * h + 12]))
            for h in range(24)
        ]  # fmt: skip
        # A power factor of its own each day, and meters of class 1.
        told = energy * self.rng.normal(1, 0.002)
        factor = float(self.rng.normal(0.95, 0.01))
        day = Day(86_400, tuple(means.mean(axis=0) / factor), float(np.mean(neutrals)),
                  tuple(np.mean(volts, axis=0)), told, 0.0)  # fmt: skip
        return hours, day


def run(seed: int, days: int) -> Counter[str]:
    """Raised alarms of one street, by kind."""
    street = Street(seed)
    raised: Counter[str] = Counter()
    is_open: set[str] = set()
    windows: list[Window] = []
    hours: list[Hour] = []
    sums: list[Day | None] = []
    counts = np.zeros((0, street.homes))

    def see(kind: str, found: object) -> None:
        if found is None:
            is_open.discard(kind)
        elif kind not in is_open:
            is_open.add(kind)
            raised[kind] += 1

    for n in range(days):
        new, today, day = street.day(n)
        for window in new:
            windows = [*windows[1 - LOOK :], window]
            for kind, detector in DETECTORS.items():
                see(kind, detector(windows, kind in is_open))
        counts = np.vstack([counts, street.rng.poisson(2.5, street.homes)])[-WEAR_DAYS:]
        worst = counts.sum(axis=0)
        home = int(worst.argmax())
        for h in range(24):
            hours = [*hours[-191:], today[h]]
            past = Past(
                hours[-24:], hours[:24] if len(hours) == 192 else (),
                [None] * (RECENT_DAYS + BEFORE_DAYS - len(sums)) + sums, True, True,
                (home + 1, int(worst[home])), PLAN_PER_DAY,
            )  # fmt: skip
            for kind, trend in TRENDS.items():
                see(kind, trend(past, kind in is_open))
        sums = [*sums, day][-(RECENT_DAYS + BEFORE_DAYS) :]
    return raised


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--streets", type=int, default=50)
    parser.add_argument("--days", type=int, default=90)
    args = parser.parse_args()
    total: Counter[str] = Counter()
    streets: Counter[str] = Counter()
    for seed in range(args.streets):
        one = run(seed, args.days)
        total += one
        streets.update(one.keys())
        print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    years = args.streets * args.days / 365
    rows = {
        kind: {"alarms": total[kind], "per_year": total[kind] / years, "streets": streets[kind]}
        for kind in [*DETECTORS, *TRENDS]
    }
    # Of a Poisson count of none.
    none_below = -math.log(0.05) / years
    if args.json:
        print(json.dumps({"transformer_years": years, "kinds": rows, "none_below": none_below}))
        return
    print(f"{args.streets} streets, {args.days} days: {years:.1f} transformer-years")
    print("| kind | raised | a transformer-year | streets with any |\n| --- | --- | --- | --- |")
    for kind, row in rows.items():
        print(f"| {kind} | {row['alarms']} | {row['per_year']:.2f} | {row['streets']} |")
    print(f"none raised: with 95 % below {none_below:.2f} a transformer-year")


if __name__ == "__main__":
    main()
