"""Homes that take turns on one LoRa channel, in virtual time, and the same homes in pure ALOHA.

    python -m bench.radio [--json] [--rounds 60] [--loss 0.1] [--seed 1]
    python -m bench.radio --neighbours [--json] [--seed 1]
    python -m bench.radio --new-key [--json] [--seed 1]
    python -m bench.radio --scenarios [--json] [--only rural] [--moves 60] [--picture FILE.svg]

Each home reads its meter once a round and sends 39 bytes, a compact reading with its seal. The
turns are those of pbal_protocol.radio.tdma with beacons and repairs; clocks are off by up to 40 ppm
and late by up to 1 ms. The channel is pbal_sim.radio's: path loss, sensitivity, collisions,
capture; `--loss` takes away that share of all frames besides, beacons too.

- bound: times on air of all frames that were sent, repairs too, and of the window that a round
  keeps for urgent frames, each with one guard. Commands come after a round, and are not in it.
- least: the same of a round in which nothing is lost.
- delivered: share of readings that arrived within their round.
- ALOHA: every home sends one reading in each round's time, at a moment of its own, and hears
  nothing; its hub hears all spreading factors at once, which is more than one chip can do.

With --neighbours: several sites on one channel that begin within five seconds, with and without
giving way to each other; the second and third minute count.

What these two do not say: no sealed frame is opened, and nothing is said about commands or joining.

With --new-key: how long a village needs for a new group key, from the moment when it is drawn
until each home has proven that it holds it and beacons come under it, with three seeds; how old the
oldest reading became meanwhile. The controller and the media are those of --scenarios.

With --scenarios: the real controller with its real bearers, sealed frames, and model nodes
(bench/_model_nodes.py) on a modelled line, network and air, 48 homes of each kind; how old readings
are (each home, each second), urgent event to journal, order to measured confirmation, and the
neutral current cut that this leaves (bench/_radio_cut.py). One seed gives the same figures each
time. It takes some minutes. `--loss` is of
radio frames. What it does not say: processors are never late, and homes never refuse.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench import _data
from bench._radio_cut import cut
from bench._radio_scenarios import KINDS, Found, Kind, measured, rekeyed
from bench._radio_site import HZ, Case, Site, Sites
from pbal_protocol.radio.tdma import UP_BYTES
from pbal_sim.radio import OPEN_COUNTRY, Air, Ear, VirtualClock

CASES = (Case(50, 400.0, 7), Case(100, 2500.0, 10))


def turns(case: Case, rounds: int, loss: float, seed: int) -> dict[str, Any]:
    """A site that takes turns."""
    site = Site(case, loss, seed)
    for _ in range(rounds):
        site.one_round()
    cycle_us = statistics.mean(site.cycles_us)
    return {
        "homes": case.homes,
        "sf": {sf: site.sfs.count(sf) for sf in sorted(set(site.sfs))},
        "loss": loss,
        "cycle_s": round(cycle_us / 1e6, 3),
        "cycle_over_bound": round(cycle_us * rounds / site.bound_us(), 3),
        "cycle_over_least": round(cycle_us / site.round_us, 3),
        "delivered": round(site.delivered / case.homes / rounds, 5),
        "frames_a_reading": round(site.sent / case.homes / rounds, 3),
    }


def aloha(case: Case, rounds: int, loss: float, seed: int, cycle_s: float) -> float:
    """Share of the readings that arrive when each home sends at a moment of its own."""
    site = Site(case, loss, seed)
    got: set[bytes] = set()

    def hears(payload: bytes, _heard: object, _end_us: int) -> None:
        got.add(payload[1:5])

    site.hub.on_frame = None
    for sf in sorted(set(site.sfs)):
        Ear(
            site.air, "hub", (0.0, 0.0), HZ, sf=sf, loss=loss,
            rng=random.Random(site.rng.random()), on_frame=hears,
        )  # fmt: skip
    for turn in range(rounds):
        for home, sf in zip(site.homes, site.sfs, strict=True):
            home.ear.on_frame = None
            frame = b"\0" + home.address.to_bytes(2, "little") + turn.to_bytes(2, "little")
            frame += bytes(UP_BYTES - len(frame))
            at_us = round(1e6 * cycle_s * (turn + site.rng.random()))
            site.air.call_at(at_us, lambda h=home, f=frame, s=sf: h.ear.send(f, s))
    site.run_until(round(1e6 * cycle_s * rounds) + 10_000_000)
    return round(len(got) / case.homes / rounds, 5)


NEIGHBOURS: tuple[tuple[int, ...], ...] = ((10, 10), (5, 20), (8, 8, 8))
GIVE_WAY_S = 30.0
APART_M = 500.0


def beside(homes: tuple[int, ...], most_s: float, seed: int) -> dict[str, Any]:
    """Sites with so many homes on one channel, in a row."""
    rng, clock = random.Random(seed), VirtualClock()
    air = Air(clock, loss=OPEN_COUNTRY, seed=seed)
    sites = [
        Site(
            Case(count, 400.0, 7), 0.0, seed + 100 * number, air=air, clock=clock, number=number,
            centre=(APART_M * number, 0.0), most_s=most_s,
        )
        for number, count in enumerate(homes, 1)
    ]  # fmt: skip
    together = Sites(air, clock, [(site, rng.randrange(5_000_000)) for site in sites])
    together.run(60_000_000)
    before = [(site.delivered, len(site.cycles_us)) for site in sites]
    together.run(180_000_000)
    delivered = [s.delivered - b[0] for s, b in zip(sites, before, strict=True)]
    rounds = [len(s.cycles_us) - b[1] for s, b in zip(sites, before, strict=True)]
    heard = [statistics.mean(s.heard[b[1] :]) for s, b in zip(sites, before, strict=True)]
    return {
        "homes": homes,
        "give_way_s": most_s,
        "readings_a_minute": round(sum(delivered) / 2),
        "delivered": [round(share, 4) for share in heard],
        "round_s": [round(120 / r, 2) for r in rounds],
    }


BUDGET = 3.0  # switchings a home and day


def scenario(kind: Kind, found: Found, seed: int) -> dict[str, Any]:
    """One row of the table."""

    def times(values: list[float]) -> list[float]:
        return [round(float(np.percentile(values, share)), 2) for share in (50, 95)]

    streets = [_data.households(48, 2, seed), _data.ieee()]
    return {
        "scenario": kind.name,
        "homes": kind.what,
        "start_s": round(found.start_s),
        "hours": round(found.hours, 2),
        "round_s": round(found.round_s, 1),
        "age_s": times(found.ages),
        "event_s": times(found.events),
        "moved_s": times(found.moved),
        "confirmed_s": times(found.confirmed),
        "events": [len(found.events), found.lost_events],
        "moves": [len(found.confirmed), found.failed],
        "moved_twice": found.twice,
        "cut": {
            case.name: cut(case, found.ages, found.moved, BUDGET, seed)
            for case in streets
            if case is not None
        },
    }


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Times of each scenario, and the neutral current cut that they leave (SVG or PNG)."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "pbal"
    import matplotlib.pyplot as plt

    figure, (times, cuts) = plt.subplots(1, 2, figsize=(11, 4))
    names = [row["scenario"].replace(", ", ",\n") for row in rows]
    at = np.arange(len(rows))
    what = {"age_s": "age of a reading", "event_s": "urgent event in the journal",
            "confirmed_s": "move confirmed"}  # fmt: skip
    for number, (key, label) in enumerate(what.items()):
        middle, worst = np.array([row[key] for row in rows]).T
        times.bar(at + 0.27 * (number - 1), worst, 0.25, label=label)
        times.plot(at + 0.27 * (number - 1), middle, "_", color="black", markersize=9)
    times.set_yscale("log")
    times.set_ylabel("s: 95 of 100 are quicker, the line: half")
    streets = list(rows[0]["cut"])
    for number, street in enumerate(streets):
        shift = 0.4 * (number - (len(streets) - 1) / 2)
        cuts.bar(at + shift, [100 * row["cut"][street] for row in rows], 0.38, label=street)
    cuts.set_ylabel("neutral current cut, %")
    for axis in (times, cuts):
        axis.set_xticks(at, names, fontsize=8)
        axis.grid(True, axis="y", alpha=0.3)
        axis.legend(fontsize=8, loc="lower right" if axis is cuts else "upper left")
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def scenarios(args: argparse.Namespace) -> int:
    """Measure, print, draw."""
    logging.disable(logging.CRITICAL)  # the sites' own logs
    rows = []
    for kind in KINDS:
        if args.only in kind.name:
            row = scenario(kind, measured(kind, args.moves, args.loss, args.seed), args.seed)
            rows.append(row)
            print(json.dumps(row) if args.json else "  ".join(f"{k} {v}" for k, v in row.items()),
                  flush=True)  # fmt: skip
    if args.picture and rows:
        draw(rows, args.picture)
    return 0


VILLAGE = Kind("village", "12 with a radio at SF7 to SF9", radio=12, radius_m=1800.0, most=9)
KEY_SEEDS = 3


def new_key(args: argparse.Namespace) -> int:
    """Measure and print."""
    logging.disable(logging.CRITICAL)
    for seed in range(args.seed, args.seed + KEY_SEEDS):
        in_use_s, oldest_s = rekeyed(VILLAGE, args.loss, seed)
        row = {"homes": VILLAGE.what, "loss": args.loss, "seed": seed,
               "in_use_s": round(in_use_s, 1), "oldest_reading_s": round(oldest_s, 1)}  # fmt: skip
        print(json.dumps(row) if args.json else "  ".join(f"{k} {v}" for k, v in row.items()),
              flush=True)  # fmt: skip
    return 0


def measure(rounds: int, loss: float, seed: int) -> list[dict[str, Any]]:
    """All rows."""
    rows = []
    for case in CASES:
        for share in sorted({0.0, loss}):
            row = turns(case, rounds, share, seed)
            row["aloha_delivered"] = aloha(case, rounds, share, seed, row["cycle_s"])
            rows.append(row)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.radio",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rounds", type=int, default=60, help="rounds of each case")
    parser.add_argument("--loss", type=float, default=0.1, help="share of frames lost besides")
    parser.add_argument("--neighbours", action="store_true", help="several sites on one channel")
    parser.add_argument("--new-key", action="store_true", help="a village's new group key")
    parser.add_argument("--scenarios", action="store_true", help="each kind of site as a whole")
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    parser.add_argument("--moves", type=int, default=60, help="moves, and events, of each scenario")
    parser.add_argument("--picture", type=Path, help="draw the scenarios into this file")
    parser.add_argument("--seed", type=int, default=1, help="places, clocks and luck")
    args = parser.parse_args()
    if args.rounds < 1 or not 0 <= args.loss < 1:
        parser.error("give at least one round, and a loss from 0 up to, but not including, 1")
    if args.moves < 1 or not any(args.only in kind.name for kind in KINDS):
        parser.error(f"give at least one move; scenarios: {'; '.join(k.name for k in KINDS)}")
    if args.new_key:
        return new_key(args)
    if args.scenarios:
        return scenarios(args)
    if args.neighbours:
        rows = [beside(n, most_s, args.seed) for n in NEIGHBOURS for most_s in (0.0, GIVE_WAY_S)]
        for row in rows:
            print(json.dumps(row) if args.json else "  ".join(f"{k} {v}" for k, v in row.items()))
        return 0
    rows = measure(args.rounds, args.loss, args.seed)
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        print(f"{row['homes']} homes, {row['sf']}, {100 * row['loss']:g} % lost besides")
        for name in list(row)[3:]:
            print(f"  {name:<18} {row[name]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
