"""A radio site in virtual time: a hub and homes that take turns, on the emulated air. Several sites
may share one air; `Sites` runs them beside each other.

The turns are those of pbal_protocol.radio.tdma, with beacons and repairs, and of the controller's
`Neighbours` where a site gives way. Frames are not sealed: the place of the seal says which site
sent them. Clocks are off by up to 40 ppm, and homes late by up to 1 ms.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from pbal_controller.bearers.lora import Neighbours
from pbal_protocol.radio import tdma
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.follower import CONTENTION, SILENT, URGENT_BYTES, Follower
from pbal_protocol.radio.records import Beacon
from pbal_protocol.radio.tdma import UP_BYTES, guard_us
from pbal_sim.radio import OPEN_COUNTRY, Air, Ear, VirtualClock, needed_dbm
from pbal_sim.radio.air import Heard

HZ = 865_062_500
BW_HZ = 125_000
POWER_DBM = 14.0
MARGIN_DB = 8.0
SEAL = 15
DRIFT_PPM = 40
JITTER_US = 1000
TURN_US = 1500  # the hub turns from sending to listening and back
_LOOK_US = 20_000


@dataclass(frozen=True)
class Case:
    """A number of homes within a radius, placed where a spreading factor up to `most` is enough."""

    homes: int
    radius_m: float
    most: int


def spot(rng: random.Random, shadow_db: float, case: Case) -> tuple[int, tuple[float, float]]:
    """A place from which a home reaches the hub, and the spreading factor it needs there."""
    while True:
        x, y = (rng.uniform(-case.radius_m, case.radius_m) for _ in "xy")
        distance = max(5.0, math.hypot(x, y))
        strength = POWER_DBM - OPEN_COUNTRY.mean_db(distance) - shadow_db
        for sf in range(7, case.most + 1):
            enough = strength - MARGIN_DB >= needed_dbm(sf, BW_HZ)
            if distance <= case.radius_m and enough:
                return sf, (x, y)


class Home:
    """One home: its place, its clock's rate, and what it knows from beacons."""

    def __init__(self, site: Site, address: int, at: tuple[float, float]) -> None:
        self.site = site
        self.address = address
        self.rate = 1 + site.rng.uniform(-DRIFT_PPM, DRIFT_PPM) * 1e-6
        self.follower = Follower()
        self.ear = Ear(
            site.air, site.name_of(address), at, HZ, power_dbm=POWER_DBM, loss=site.loss,
            rng=random.Random(site.rng.random()), on_frame=self.hears,
        )  # fmt: skip
        self.ear.tune(site.rounds.sf)

    def hears(self, payload: bytes, _heard: object, end_us: int) -> None:
        """A frame: only beacons of its own site have an effect."""
        if payload[0] != Beacon.ID or payload[-1] != self.site.number:
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
        frame = bytes((0, self.site.number)) + self.address.to_bytes(2, "little")
        self.ear.send(frame + bytes(UP_BYTES - len(frame)), self.follower.sf)


class Site:
    """A hub and its homes, around `centre`. With `most_s` above 0 it gives way to other sites."""

    def __init__(
        self,
        case: Case,
        loss: float,
        seed: int,
        *,
        air: Air | None = None,
        clock: VirtualClock | None = None,
        number: int = 0,
        centre: tuple[float, float] = (0.0, 0.0),
        most_s: float = 0.0,
        least_s: float = 0.0,
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.loss = loss
        self.number = number
        self.clock = clock or VirtualClock()
        self.air = air or Air(self.clock, loss=OPEN_COUNTRY, seed=seed)
        self.sent = self.delivered = self.beacons = 0
        self.cycles_us: list[int] = []
        self.heard: list[float] = []  # share of the homes, of each round
        self.least_us = round(1e6 * least_s)
        hub = "hub" if not number else f"hub {number}"
        self.hub = Ear(
            self.air, hub, centre, HZ, power_dbm=POWER_DBM, loss=loss,
            rng=random.Random(self.rng.random()), on_frame=self.hears,
        )  # fmt: skip
        # A home's shadowing depends on its name, so names are assigned with the places.
        spots = []
        for address in range(1, case.homes + 1):
            shadow_db = OPEN_COUNTRY.shadow_db(seed, self.hub.name, self.name_of(address))
            spots.append((*spot(self.rng, shadow_db, case), address))
        spots.sort()  # the fastest come first
        self.sfs = [sf for sf, _, _ in spots]
        # The guard follows from the round's length, which depends on the guard: twice is enough.
        guard = 0
        for _ in range(3):
            self.rounds = tdma.Rounds(1, max(self.sfs), BW_HZ, guard)
            told = [self.rounds.assign(address, sf) for sf, _, address in spots]
            self.round_us = self.rounds.length_us(self.rounds.begin(0, 0))
            guard = guard_us(self.round_us, DRIFT_PPM, JITTER_US) + TURN_US
        self.homes = [
            Home(self, address, (centre[0] + x, centre[1] + y)) for _, (x, y), address in spots
        ]
        for record, home in zip(told, self.homes, strict=True):
            home.follower.assign(record.map_version, record.slot, record.sf)
        self.hub.tune(self.rounds.sf)
        ppm = self.rng.uniform(-DRIFT_PPM, DRIFT_PPM) if number else 0.0
        self._rate = 1 + 1e-6 * ppm
        self.neighbours = Neighbours(
            self.rounds.sf, BW_HZ, self.rounds.guard_us / 1e6, most_s, self.rng.random
        )
        self._counter = self.rng.getrandbits(24)

    def name_of(self, address: int) -> str:
        """On the air."""
        return f"home {address}" if not self.number else f"home {self.number}.{address}"

    def hears(self, payload: bytes, heard: Heard, end_us: int) -> None:
        """A frame at the hub."""
        if payload[0] == Beacon.ID:
            counter = int.from_bytes(payload[-5:-1], "little")
            self.neighbours.beacon(counter, len(payload), self.now_s(end_us), heard.rssi_dbm)
        elif payload[1] == self.number and self.rounds.heard(
            int.from_bytes(payload[2:4], "little")
        ):
            self.delivered += 1

    def now_s(self, us: int | None = None) -> float:
        """By the hub's own clock."""
        return (self.clock.us if us is None else us) * self._rate / 1e6

    def run_until(self, us: int) -> None:
        """Let time pass; for a site that is alone."""
        Sites.pass_time(self.air, self.clock, us)

    def _beacon(self, beacon: Beacon) -> int:
        self.beacons += 1
        self._counter += 1
        tail = self._counter.to_bytes(4, "little") + bytes((self.number,))
        return self.hub.send(beacon.encode() + bytes(SEAL - len(tail)) + tail, self.rounds.sf)

    def _say(self, beacon: Beacon) -> Iterator[int]:
        """Send a beacon and wait until all that follows it is over, tuned to each slot's factor."""
        start_us = self.clock.us
        self._beacon(beacon)
        for _address, sf, begin_us in self.rounds.slots_us(beacon):
            yield start_us + begin_us - TURN_US
            self.hub.tune(sf)
        if not beacon.repair:
            window_us = self.rounds.window_us()
            yield start_us + self.rounds.length_us(beacon) - window_us - TURN_US
            self.hub.tune(self.rounds.sf)
        yield start_us + self.rounds.length_us(beacon)

    def steps(self) -> Iterator[int]:
        """A round: a beacon, all slots, repairs; then, with neighbours, its end. Yields the times
        (us) until which nothing is to be done.
        """
        begin_us = self.clock.us
        beacon: Beacon | None = self.rounds.begin(*self._time())
        while beacon is not None:
            yield from self._say(beacon)
            yield self.clock.us + TURN_US
            beacon = self.rounds.repair(*self._time())
        self.cycles_us.append(self.clock.us - begin_us)
        self.heard.append(1 - len(self.rounds.missing()) / len(self.homes))
        self.hub.tune(self.rounds.sf)
        n = self.neighbours
        if n.says_end(self.now_s()):
            yield self.clock.us + self._beacon(self.rounds.end(*self._time()))
        n.ended(self.now_s(), self.heard[-1], (self.clock.us - begin_us) / 1e6)

    def forever(self) -> Iterator[int]:
        """Rounds, and the waits between them."""
        while True:
            begin_s = self.now_s()
            yield from self.steps()
            due_s = begin_s + self.least_us / 1e6
            while (n := self.neighbours).begin_s(self.now_s(), due_s) > self.now_s():
                yield self.clock.us + _LOOK_US
            n.began(self.now_s(), due_s)

    def one_round(self) -> None:
        """A round of a site that is alone."""
        for us in self.steps():
            self.run_until(us)

    def _time(self) -> tuple[int, int]:
        return divmod(self.clock.us // 1000, 1000)

    def bound_us(self) -> int:
        """Airtime of all that was sent and of what each round reserves, with one guard each."""
        rounds = len(self.cycles_us)
        used = self.hub.airtime_us + sum(home.ear.airtime_us for home in self.homes)
        reserved = CONTENTION * time_on_air_us(URGENT_BYTES, self.rounds.sf)
        frames = self.sent + self.beacons + rounds * CONTENTION
        return used + rounds * reserved + frames * self.rounds.guard_us


class Sites:
    """Several sites on one air, each of which began at a time of its own (us)."""

    def __init__(self, air: Air, clock: VirtualClock, sites: list[tuple[Site, int]]) -> None:
        self._air, self._clock = air, clock
        self._turns = [(begin_us, i, site.forever()) for i, (site, begin_us) in enumerate(sites)]

    @staticmethod
    def pass_time(air: Air, clock: VirtualClock, us: int) -> None:
        """Run what is due on the air until then."""
        while (due_us := air.next_us()) is not None and due_us <= us:
            clock.us = max(clock.us, due_us)
            air.catch_up()
        clock.us = max(clock.us, us)
        air.catch_up()

    def run(self, until_us: int) -> None:
        """All of them, until then."""
        while self._turns:
            self._turns.sort(key=lambda turn: turn[:2])
            us, i, steps = self._turns[0]
            if us > until_us:
                break
            self.pass_time(self._air, self._clock, us)
            self._turns[0] = next(steps), i, steps
        self.pass_time(self._air, self._clock, until_us)
