"""Homes that take turns on one LoRa channel, in virtual time, and the same homes in pure ALOHA.

    python -m bench.radio [--json] [--rounds 60] [--loss 0.1] [--seed 1]

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

What it does not say: no sealed frame is opened, and nothing is said about commands, joining, or a
neighbour on the same channel.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
from dataclasses import dataclass
from typing import Any

from pbal_protocol.radio import tdma
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.follower import CONTENTION, SILENT, URGENT_BYTES, Follower
from pbal_protocol.radio.records import Beacon
from pbal_protocol.radio.tdma import UP_BYTES, guard_us
from pbal_sim.radio import OPEN_COUNTRY, Air, Ear, VirtualClock
from pbal_sim.radio import propagation as p

HZ = 865_062_500
POWER_DBM = 14.0
MARGIN_DB = 8.0
SEAL = 15
DRIFT_PPM = 40
JITTER_US = 1000
TURN_US = 1500  # the hub turns from sending to listening and back


@dataclass(frozen=True)
class Case:
    """A number of homes within a radius, placed where a spreading factor up to `most` is enough."""

    homes: int
    radius_m: float
    most: int


CASES = (Case(50, 400.0, 7), Case(100, 2500.0, 10))


class Home:
    """One home: its place, its clock's rate, and what it knows from beacons."""

    def __init__(self, site: Site, address: int, at: tuple[float, float]) -> None:
        self.site = site
        self.address = address
        self.rate = 1 + site.rng.uniform(-DRIFT_PPM, DRIFT_PPM) * 1e-6
        self.follower = Follower()
        self.ear = Ear(
            site.air, f"home {address}", at, HZ, power_dbm=POWER_DBM, loss=site.loss,
            rng=random.Random(site.rng.random()), on_frame=self.hears,
        )  # fmt: skip
        self.ear.tune(site.rounds.sf)

    def hears(self, payload: bytes, _heard: object, end_us: int) -> None:
        """A frame: only beacons have an effect."""
        if payload[0] != Beacon.ID:
            return
        beacon = Beacon.decode(payload[: len(payload) - SEAL])
        us = time_on_air_us(len(payload), self.site.rounds.sf)
        after_us = self.follower.beacon(beacon, us)
        if after_us != SILENT:
            late_us = self.site.rng.uniform(0, JITTER_US)
            begin_us = round(end_us - us + after_us * self.rate + late_us)
            self.site.air.call_at(begin_us, self.speak)

    def speak(self) -> None:
        """Its reading; only the address in it counts here."""
        self.site.sent += 1
        frame = b"\0" + self.address.to_bytes(2, "little")
        self.ear.send(frame + bytes(UP_BYTES - len(frame)), self.follower.sf)


class Site:
    """A hub and its homes."""

    def __init__(self, case: Case, loss: float, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.loss = loss
        self.clock = VirtualClock()
        self.air = Air(self.clock, loss=OPEN_COUNTRY, seed=seed)
        self.sent = self.delivered = self.beacons = 0
        self.cycles_us: list[int] = []
        self.hub = Ear(
            self.air, "hub", (0.0, 0.0), HZ, power_dbm=POWER_DBM, loss=loss,
            rng=random.Random(self.rng.random()), on_frame=self.hears,
        )  # fmt: skip
        # A home's shadowing depends on its name, so names are assigned with the places.
        spots = [(*self._spot(i, case), i + 1) for i in range(case.homes)]
        spots.sort()  # the fastest come first
        self.sfs = [sf for sf, _, _ in spots]
        # The guard follows from the round's length, which depends on the guard: twice is enough.
        guard = 0
        for _ in range(3):
            self.rounds = tdma.Rounds(1, max(self.sfs), 125_000, guard)
            told = [self.rounds.assign(address, sf) for sf, _, address in spots]
            self.round_us = self.rounds.length_us(self.rounds.begin(0, 0))
            guard = guard_us(self.round_us, DRIFT_PPM, JITTER_US) + TURN_US
        self.homes = [Home(self, address, at) for _, at, address in spots]
        for record, home in zip(told, self.homes, strict=True):
            home.follower.assign(record.map_version, record.slot, record.sf)

    def _spot(self, i: int, case: Case) -> tuple[int, tuple[float, float]]:
        """A place from which a home reaches the hub, and the spreading factor it needs there."""
        shadow = OPEN_COUNTRY.shadow_db(self.seed, "hub", f"home {i + 1}")
        while True:
            x, y = (self.rng.uniform(-case.radius_m, case.radius_m) for _ in "xy")
            distance = max(5.0, math.hypot(x, y))
            strength = POWER_DBM - OPEN_COUNTRY.mean_db(distance) - shadow
            for sf in range(7, case.most + 1):
                limit = p.noise_dbm(125_000) + p.SNR_LIMIT_DB[sf]
                need = max(p.sensitivity_dbm(sf, 125_000), limit)
                if distance <= case.radius_m and strength - MARGIN_DB >= need:
                    return sf, (x, y)

    def hears(self, payload: bytes, _heard: object, _end_us: int) -> None:
        """A frame at the hub."""
        if payload[0] == 0 and self.rounds.heard(int.from_bytes(payload[1:3], "little")):
            self.delivered += 1

    def run_until(self, us: int) -> None:
        """Let time pass."""
        while (due_us := self.air.next_us()) is not None and due_us <= us:
            self.clock.us = max(self.clock.us, due_us)
            self.air.catch_up()
        self.clock.us = max(self.clock.us, us)
        self.air.catch_up()

    def say(self, beacon: Beacon) -> None:
        """Send a beacon and wait until all that follows it is over, tuned to each slot's factor."""
        start_us = self.clock.us
        self.beacons += 1
        self.hub.send(beacon.encode() + bytes(SEAL), self.rounds.sf)
        for _address, sf, begin_us in self.rounds.slots_us(beacon):
            self.run_until(start_us + begin_us - TURN_US)
            self.hub.tune(sf)
        self.run_until(start_us + self.rounds.length_us(beacon))

    def one_round(self) -> None:
        """A beacon, all slots, repairs."""
        begin_us = self.clock.us
        beacon: Beacon | None = self.rounds.begin(*divmod(begin_us // 1000, 1000))
        while beacon is not None:
            self.say(beacon)
            self.run_until(self.clock.us + TURN_US)
            beacon = self.rounds.repair(*divmod(self.clock.us // 1000, 1000))
        self.cycles_us.append(self.clock.us - begin_us)

    def bound_us(self) -> int:
        """Airtime of all that was sent and of what each round reserves, with one guard each."""
        rounds = len(self.cycles_us)
        used = self.hub.airtime_us + sum(home.ear.airtime_us for home in self.homes)
        reserved = CONTENTION * time_on_air_us(URGENT_BYTES, self.rounds.sf)
        frames = self.sent + self.beacons + rounds * CONTENTION
        return used + rounds * reserved + frames * self.rounds.guard_us


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
    parser.add_argument("--seed", type=int, default=1, help="places, clocks and luck")
    args = parser.parse_args()
    if args.rounds < 1 or not 0 <= args.loss < 1:
        parser.error("give at least one round, and a loss from 0 up to, but not including, 1")
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
