"""Sites on one channel give way to each other: pairs and triples in virtual time, and forgers.

The medium is the worst one: what overlaps is lost everywhere; nobody hears while he sends.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbal_controller.bearers.lora.neighbours import (
    EMPTY_BYTES,
    FORGET_S,
    Neighbours,
    beacon_counter,
    is_command,
)
from pbal_controller.homes import Fleet
from pbal_controller.homes.counters import Counters
from pbal_controller.homes.session import BEACONS, GroupSession
from pbal_controller.journal import AsyncJournal, Journal
from pbal_protocol.frames import DOWN, GROUP, UP, Sealer
from pbal_protocol.radio import tdma
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.follower import SILENT, Follower

BW = 125_000
GUARD_S = 0.012
MOST_S = 30.0


@dataclass
class Frame:
    """On the air; `of` is its site, `size` that of a beacon, 0 of another frame."""

    begin_s: float
    end_s: float
    of: int
    size: int = 0
    counter: int = 0


class Channel:
    """The air between sites, and their turns."""

    def __init__(self) -> None:
        self.now = 0.0
        self.said: list[Frame] = []
        self._due: list[tuple[float, int, object]] = []
        self._order = itertools.count()
        self.sites: list[Site] = []

    def at(self, when: float, what: object) -> None:
        heapq.heappush(self._due, (when, next(self._order), what))

    def say(self, frame: Frame) -> None:
        self.said.append(frame)
        self.at(frame.end_s, frame)

    def alone(self, frame: Frame) -> bool:
        return not any(
            other is not frame and other.begin_s < frame.end_s and frame.begin_s < other.end_s
            for other in self.said[-160:]
        )

    def run(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, _, what = heapq.heappop(self._due)
            if isinstance(what, Frame):
                if self.alone(what):
                    for site in self.sites:
                        site.hears(what)
            else:
                assert isinstance(what, Iterator)
                when = next(what, None)
                if when is not None:
                    self.at(when, what)


class Site:
    """A controller of `homes` homes whose clock is off by `ppm`."""

    def __init__(
        self, channel: Channel, number: int, homes: int, sf: int, seed: int, *, ppm: float = 0.0,
        most_s: float = MOST_S, least_s: float = 0.0,
    ) -> None:  # fmt: skip
        rng = self.rng = random.Random(seed)
        self.channel, self.number, self.least_s = channel, number, least_s
        self._rate = 1 + ppm * 1e-6
        self.rounds = tdma.Rounds(1, sf, BW, round(1e6 * GUARD_S))
        for address in range(homes):
            self.rounds.assign(address + 1, sf)
        self.neighbours = Neighbours(sf, BW, GUARD_S, most_s, rng.random)
        self._counter = 0x80000000 | rng.getrandbits(30)
        self.spans: list[tuple[float, float]] = []
        self.fresh: list[float] = []
        channel.sites.append(self)

    def now(self) -> float:
        return self.channel.now * self._rate

    def hears(self, frame: Frame) -> None:
        if frame.of == self.number:
            if not frame.size:
                self.rounds.heard(frame.counter)
        elif frame.size:
            end_s = frame.end_s * self._rate
            self.neighbours.beacon(frame.counter, frame.size, end_s, -90.0)

    def _beacon(self, beacon: object) -> float:
        size = EMPTY_BYTES + len(beacon.heard)  # type: ignore[attr-defined]
        self._counter += 1
        begin = self.channel.now
        end = begin + time_on_air_us(size, self.rounds.sf, BW) / 1e6
        self.channel.say(Frame(begin, end, self.number, size, self._counter))
        return end

    def turns(self) -> Iterator[float]:
        n = self.neighbours
        while True:
            begin, begin_s = self.channel.now, self.now()
            beacon = self.rounds.begin(0, 0)
            while beacon is not None:
                at = self.channel.now
                end = self._beacon(beacon)
                yield end
                for address, sf, us in self.rounds.slots_us(beacon):
                    slot = at + us / 1e6
                    air = time_on_air_us(tdma.UP_BYTES, sf, BW) / 1e6
                    self.channel.say(Frame(slot, slot + air, self.number, 0, address))
                yield at + self.rounds.length_us(beacon) / 1e6 + 0.002
                beacon = self.rounds.repair(0, 0)
            self.spans.append((begin, self.channel.now))
            self.fresh.append(1 - len(self.rounds.missing()) / len(self.rounds.homes()))
            if n.says_end(self.now()):
                yield self._beacon(self.rounds.end(0, 0))
            n.ended(self.now(), self.fresh[-1], self.channel.now - begin)
            due = begin_s + self.least_s
            while n.begin_s(self.now(), due) > self.now():
                yield self.channel.now + 0.02
            n.began(self.now(), due)


def together(sites: list[Site], after: float) -> float:
    """Share of the rounds' time, after a moment, in which two sites had one."""
    spans = sorted((b, e, s.number) for s in sites for b, e in s.spans if b > after)
    both = 0.0
    for i, (_begin, end, number) in enumerate(spans):
        for begin, other_end, other in spans[i + 1 :]:
            if begin >= end:
                break
            if other != number:
                both += min(end, other_end) - begin
    return both / sum(end - begin for begin, end, _ in spans)


def street(seed: int, homes: list[int], sf: int, most_s: float, least_s: float = 0.0) -> list[Site]:
    """Sites that begin at random times, their clocks up to 40 ppm off."""
    rng, channel = random.Random(seed), Channel()
    for number, count in enumerate(homes):
        site = Site(
            channel, number, count, sf, rng.getrandbits(32), ppm=rng.uniform(-40, 40),
            most_s=most_s, least_s=least_s,
        )  # fmt: skip
        channel.at(rng.choice((0.0, rng.uniform(0, 5))), site.turns())
    return channel.sites


def in_turn(sites: list[Site]) -> bool:
    """Whether after two minutes of five nearly all rounds are alone, all homes are heard in them,
    and every site has its turn.
    """
    sites[0].channel.run(300.0)
    for site in sites:
        late = [s for s, (begin, _) in zip(site.fresh, site.spans, strict=True) if begin > 120]
        begins = [begin for begin, _ in site.spans if begin > 120]
        longest = max(b - a for a, b in itertools.pairwise(begins))
        if sum(late) / len(late) <= 0.97 or longest >= 2 * MOST_S:
            return False
        if site.neighbours.crowded > 3 + len(begins) // 20:
            return False
    return together(sites, 120.0) < 0.03


@pytest.mark.long
def test_pairs_and_triples_find_their_turns():
    """From any beginning, with clocks that drift. Not all do: a short round may go on within a long
    one (docs/radio.md).
    """
    rng = random.Random(5)
    found, alone = 0, 0
    for _ in range(60):
        homes = [rng.randint(1, 40) for _ in range(rng.randint(2, 3))]
        case = rng.getrandbits(32), homes, rng.choice((7, 8))
        least_s = rng.choice((0.0, 20.0))
        found += in_turn(street(*case, MOST_S, least_s))
        alone += in_turn(street(*case, 0.0, least_s))
    print(f"{found} of 60 find their turns, {alone} where nobody gives way")
    assert found >= 56
    assert alone <= 20


@settings(deadline=None, max_examples=5)
@given(st.integers(0, 2**32))
def test_sites_that_began_at_the_same_moment_do_not_stay_together(seed):
    """Equal in everything but their luck."""
    channel = Channel()
    for number in range(2):
        site = Site(channel, number, 12, 7, seed + number)
        channel.at(0.0, site.turns())
    channel.run(300.0)
    assert together(channel.sites, 120.0) < 0.03


def test_without_giving_way_they_do_lose_each_other():
    """What the rule is for; and that the medium of these tests can tell."""
    sites = street(1390851128, [26, 4], 7, 0.0)
    sites[0].channel.run(240.0)
    assert together(sites, 60.0) > 0.3
    assert min(sum(site.fresh) / len(site.fresh) for site in sites) < 0.5


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 2**32), st.floats(0.05, 5.0), st.sampled_from((1, 3, 40, 10_000)))
def test_forged_beacons_do_not_put_a_site_off_the_air(seed, every_s, streams):
    """Whatever is forged, from however many sites: a round begins every `most_s` and one step of
    randomness for each neighbour that seems to be there, with the round itself.
    """
    rng, channel = random.Random(seed), Channel()
    site = Site(channel, 0, 10, 7, seed)
    channel.at(0.0, site.turns())

    def forger() -> Iterator[float]:
        while True:
            counter = 0x80000000 | 1000 * rng.randrange(streams) + int(channel.now)
            size = rng.randint(EMPTY_BYTES, EMPTY_BYTES + 32)
            site.neighbours.beacon(counter, size, site.now(), -80.0)
            if rng.random() < 0.3:
                site.neighbours.command(site.now())
            yield channel.now + rng.uniform(0, 2 * every_s)

    channel.at(1.0, forger())
    channel.run(240.0)
    begins = [begin for begin, _ in site.spans]
    longest_s = max(end - begin for begin, end in site.spans)
    assert max(b - a for a, b in itertools.pairwise(begins)) <= MOST_S + 2 * longest_s + 1.0
    assert len(site.neighbours.all) <= 8
    assert sum(site.fresh) / len(site.fresh) > 0.99


def test_a_neighbour_that_left_costs_nothing():
    n = Neighbours(7, BW, GUARD_S, MOST_S, lambda: 0.9)
    assert n.begin_s(10.0, 12.0) == 12.0
    assert n.beacon(0x80000001, 40, 20.0, -90.0) is not None
    assert n.beacon(0x80000002, 40, 21.0, -90.0) is None
    assert n.begin_s(21.0, 0.0) > 24.0
    late = 21.0 + FORGET_S
    n.ended(late, 1.0, 1.0)
    assert not n.near(late)
    assert n.begin_s(late, late) == late


def test_what_is_no_beacon_is_none():
    key = bytes(32)
    beacon = tdma.Rounds(1, 7, BW, 12_000)
    payload = beacon.begin(1, 0).encode()
    sealed = Sealer(key, GROUP, 9, 0).seal(0x80000005, payload)
    assert beacon_counter(sealed) == 0x80000005
    assert len(sealed) == EMPTY_BYTES
    assert not is_command(sealed)
    # A group frame without the beacons' bit, others' directions, pieces, noise.
    assert beacon_counter(Sealer(key, GROUP, 9, 0).seal(5, payload)) is None
    down = Sealer(key, DOWN, 9, 3).seal(0x80000005, payload)
    assert beacon_counter(down) is None
    assert is_command(down)
    assert beacon_counter(Sealer(key, UP, 9, 3).seal(0x80000005, payload)) is None
    for piece in (b"", sealed[:6], sealed[:34], sealed + bytes(40)):
        assert beacon_counter(piece) is None
        assert not is_command(piece)


def test_the_end_of_a_round_is_shorter_than_a_beacon_with_slots_and_moves_no_node():
    rounds = tdma.Rounds(3, 9, BW, 12_000)
    told = rounds.assign(1, 7)
    node = Follower(BW)
    node.assign(told.map_version, told.slot, told.sf)
    begin = rounds.begin(1, 0)
    assert node.beacon(begin, rounds.beacon_us(begin)) > 0
    end = rounds.end(2, 0)
    assert len(end.encode()) + 15 == EMPTY_BYTES < len(begin.encode()) + 15
    assert node.beacon(end, rounds.beacon_us(end)) == SILENT
    rounds.heard(1)
    again = rounds.begin(3, 0)
    assert node.beacon(again, rounds.beacon_us(again)) > 0
    assert node.lost == 0


async def test_beacons_end_before_one_counter_is_used_twice(tmp_path):
    """Their highest bit is set: the next after the last would be the first again."""
    journal = AsyncJournal(tmp_path / "journal.db")
    await journal.open()
    try:
        group = GroupSession(7, bytes(32), "key")
        counters = Counters(Fleet([]), group, journal, None, lambda: 0.0, True)  # type: ignore[arg-type]
        await counters.reserve()
        assert group.beacons.left > 0
        await journal.call(Journal.set_counter, 1, GROUP, "key", BEACONS - 100)
        group.beacons.end = group.beacons.next_value
        await counters.reserve()
        assert group.beacons.left == 0
        assert group.beacons.spent
        assert not group.beacons.wants_more
    finally:
        await journal.close()
