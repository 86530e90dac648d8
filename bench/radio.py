"""Homes that take turns on one LoRa channel, in virtual time, and the same homes in pure ALOHA.

    python -m bench.radio [--json] [--rounds 60] [--loss 0.1] [--seed 1]
    python -m bench.radio --neighbours [--json] [--seed 1]

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

What it does not say: no sealed frame is opened, and nothing is said about commands or joining.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from typing import Any

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
    parser.add_argument("--seed", type=int, default=1, help="places, clocks and luck")
    args = parser.parse_args()
    if args.rounds < 1 or not 0 <= args.loss < 1:
        parser.error("give at least one round, and a loss from 0 up to, but not including, 1")
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
