"""Taking turns on a radio channel: rounds, repairs, nodes that lost a beacon, contention, rates."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbal_protocol import frames
from pbal_protocol.errors import RangeError
from pbal_protocol.radio import tdma
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.follower import SILENT, Contention, Follower
from pbal_protocol.radio.records import Beacon

GUARD = 3000
BW = 125_000


def site(sfs: list[int], version: int = 1) -> tuple[tdma.Rounds, dict[int, Follower]]:
    """A map of homes 100, 101, ..., the controller's side and each node's."""
    rounds = tdma.Rounds(version, max(sfs), BW, GUARD)
    nodes = {}
    for i, sf in enumerate(sfs):
        told = rounds.assign(100 + i, sf)
        node = nodes[100 + i] = Follower()
        node.assign(told.map_version, told.slot, told.sf)
    return rounds, nodes


def over_the_air(beacon: Beacon) -> Beacon:
    return Beacon.decode(beacon.encode())


def beacon_us(rounds: tdma.Rounds, beacon: Beacon) -> int:
    size = len(beacon.encode()) + frames.HEADER_LEN + frames.TAG_LEN
    return time_on_air_us(size, rounds.sf)


@given(st.lists(st.integers(7, 12), min_size=1, max_size=60), st.integers(0, 2**32))
def test_every_home_is_heard_once_and_no_two_frames_touch(sfs, seed):
    """Whoever of them misses whichever beacon, and whichever frames are lost."""
    rng = random.Random(seed)
    rounds, nodes = site(sfs)
    arrived: list[int] = []
    beacon = rounds.begin(1000, 0)
    count = 0
    while beacon is not None:
        count += 1
        us = beacon_us(rounds, beacon)
        assert us == rounds.beacon_us(beacon)
        spans = [(0, us)]
        asked = {address: (sf, begin) for address, sf, begin in rounds.slots_us(beacon)}
        for address, node in nodes.items():
            if rng.random() < 0.3:
                continue  # did not hear the beacon: silent
            after = node.beacon(over_the_air(beacon), us)
            if after == SILENT:
                assert address in arrived
                continue
            assert asked[address] == (node.sf, after)
            assert node.end_us + (0 if beacon.repair else rounds.window_us()) == rounds.length_us(
                beacon
            )
            spans.append((after, after + time_on_air_us(39, node.sf)))
            if rng.random() < 0.7 and rounds.heard(address):
                arrived.append(address)
        spans.sort()
        for (_, end), (begin, _) in itertools.pairwise(spans):
            assert end + GUARD <= begin
        assert spans[-1][1] <= rounds.length_us(beacon)
        beacon = rounds.repair(1000, 0)
    assert count <= 1 + tdma.REPAIRS
    assert len(arrived) == len(set(arrived))
    assert set(rounds.missing()) == set(nodes) - set(arrived)


def test_a_repair_asks_only_those_that_were_not_heard_and_ends():
    rounds, nodes = site([7, 7, 9, 12])
    rounds.begin(1, 0)
    for address in (100, 102):
        assert rounds.heard(address)
        assert not rounds.heard(address)
    assert not rounds.heard(999)
    repair = over_the_air(rounds.repair(2, 0))
    us = beacon_us(rounds, repair)
    assert nodes[100].beacon(repair, us) == nodes[102].beacon(repair, us) == SILENT
    assert nodes[101].beacon(repair, us) == us + GUARD
    assert nodes[103].beacon(repair, us) == us + GUARD + time_on_air_us(39, 7) + GUARD
    for _ in range(tdma.REPAIRS - 1):
        assert rounds.repair(3, 0) is not None
    assert rounds.repair(4, 0) is None
    for address in nodes:
        rounds.heard(address)
    rounds.begin(5, 0)
    assert rounds.missing() == list(nodes)


def test_who_is_silent_for_rounds_is_not_asked_again_in_one_until_it_is_heard():
    rounds, _ = site([7, 7])
    for silent in range(tdma.GIVE_UP):
        rounds.begin(1, 0)
        rounds.heard(100)
        assert rounds.missed(101) == silent
        assert rounds.repair(1, 0) is not None
    rounds.begin(1, 0)
    rounds.heard(100)
    assert rounds.repair(1, 0) is None
    rounds.heard(101)
    rounds.begin(1, 0)
    assert rounds.missed(101) == 0
    assert rounds.repair(1, 0) is not None


def test_the_next_beacon_acknowledges_the_round():
    rounds, nodes = site([7, 7])
    node = nodes[100]
    for heard, lost in ((False, 0), (False, 1), (True, 2), (True, 0)):
        beacon = over_the_air(rounds.begin(1, 0))
        assert node.beacon(beacon, beacon_us(rounds, beacon)) > 0
        assert node.lost == lost
        if heard:
            rounds.heard(100)


def test_another_map_or_no_slot_is_silence():
    rounds, nodes = site([7, 7], version=4)
    beacon = over_the_air(rounds.begin(1, 0))
    us = beacon_us(rounds, beacon)
    stranger = Follower()
    for version, slot in ((SILENT, SILENT), (3, 0), (4, 2)):
        stranger.assign(version, slot, 7)
        assert not stranger.joined(beacon)
        assert stranger.beacon(beacon, us) == SILENT
    nodes[100].leave()
    assert nodes[100].beacon(beacon, us) == SILENT
    assert nodes[101].beacon(beacon, us) > 0


def test_who_joins_or_leaves_moves_nobody_elses_slot():
    rounds, nodes = site([7, 9, 7])
    told = rounds.assign(200, 8)
    late = nodes[200] = Follower()
    late.assign(told.map_version, told.slot, told.sf)
    rounds.drop(100)
    nodes.pop(100)
    beacon = over_the_air(rounds.begin(1, 0))
    us = beacon_us(rounds, beacon)
    places = {address: begin for address, _, begin in rounds.slots_us(beacon) if address > 0}
    assert {address: node.beacon(beacon, us) for address, node in nodes.items()} == places
    assert rounds.assign(201, 7).slot == 0, "the free slot is given away first"


def test_a_slot_that_is_kept_goes_to_nobody_until_it_is_released():
    """Whoever had it may still speak there."""
    rounds, nodes = site([7, 9, 7])
    rounds.drop(100, keep=True)
    rounds.drop(102, keep=True)
    assert [rounds.assign(a, 7).slot for a in (200, 201)] == [2, 3]
    beacon = over_the_air(rounds.begin(1, 0))
    us = beacon_us(rounds, beacon)
    places = {address: begin for address, _, begin in rounds.slots_us(beacon) if address > 0}
    assert sorted(places) == [101, 200, 201]
    gone = {nodes[a].beacon(beacon, us) for a in (100, 102)}
    assert SILENT not in gone
    assert not gone & set(places.values())
    # They are not asked again.
    repair = rounds.repair(1, 0)
    assert repair is not None
    assert {a for a, _, _ in rounds.slots_us(repair)} == {101, 200, 201}
    rounds.release()
    assert [rounds.assign(a, 7).slot for a in (202, 203, 204)] == [0, 1, 4]


def test_a_home_that_changes_its_factor_keeps_its_old_slot_until_it_was_heard_in_the_new_one():
    """Whichever of the two it believes in, nobody else sends there."""
    rounds, _ = site([7, 9])
    told = rounds.assign(100, 8)
    assert rounds.assign(100, 8) == told
    assert [a for a, _, _ in rounds.slots_us(rounds.begin(1, 0))] == [100, 100, 101]
    assert rounds.assign(102, 7).slot == 1
    rounds.confirm(100, 7)  # a frame at the old one confirms nothing
    assert [a for a, _, _ in rounds.slots_us(rounds.begin(1, 0))] == [100, 102, 100, 101]
    rounds.heard(100)
    assert {a for a, _, _ in rounds.slots_us(rounds.repair(1, 0))} == {101, 102}
    rounds.confirm(100, 8)
    assert [a for a, _, _ in rounds.slots_us(rounds.begin(1, 0))] == [SILENT, 102, 100, 101]
    assert rounds.assign(103, 7).slot == 0
    assert rounds.sf_of(100) == 8
    assert rounds.sf_of(999) == 0


def test_what_a_beacon_can_not_tell_is_refused():
    with pytest.raises(RangeError, match="guard"):
        tdma.Rounds(1, 7, BW, 128_000)
    rounds, _ = site([9])
    with pytest.raises(RangeError, match="beacons use 9"):
        rounds.assign(1, 10)
    full, _ = site([7] * 255)
    with pytest.raises(RangeError, match="255 slots"):
        full.assign(1, 7)
    assert len(full.begin(1, 0).encode()) + 15 <= 67


def test_guards_grow_with_the_cycle():
    # Two clocks of 40 ppm, each one way, are 400 us apart after 5 s.
    assert tdma.guard_us(5_000_000) == 400 + 2000
    assert tdma.guard_us(0, jitter_us=0) == 0


def test_contention_backs_off_and_forgets():
    one = Contention(2)
    assert {one.turn(chance) for chance in range(4)} == {0, 1}
    one.failed(1)  # wait for one round
    assert [one.turn(0), one.turn(0)] == [SILENT, 0]
    one.failed(3)
    assert [one.turn(0) for _ in range(4)] == [SILENT] * 3 + [0]
    for _ in range(9):
        one.failed(7)
    assert [one.turn(1) for _ in range(8)] == [SILENT] * 7 + [1]
    one.failed(7)
    one.done()
    assert one.turn(1) == 1
    assert Contention(0).turn(5) == SILENT


def test_a_rate_rises_at_once_and_falls_slowly():
    rate = tdma.Rate(9)
    for _ in range(rate.LOWER_AFTER - 1):
        assert rate.heard(40) == 9  # 10 dB: far above SF8's -10
    assert rate.heard(40) == 8
    # One miss is nothing, two in a row are.
    assert rate.missed() == 8
    rate.heard(40)
    assert rate.missed() == 8
    assert rate.missed() == 9
    # Too little to spare for a lower factor: it stays.
    for _ in range(3 * rate.LOWER_AFTER):
        assert rate.heard(-1) == 9
    for _ in range(99):
        rate.missed()
    assert rate.sf == 12
    with pytest.raises(RangeError):
        tdma.Rate(13)


def test_the_first_factor_is_the_fastest_with_a_margin():
    # 10 dB above the limits of -7.5, -10, -12.5, ... dB
    assert tdma.Rate.first(10, 7, 12) == 7
    assert tdma.Rate.first(9, 7, 12) == 8
    assert tdma.Rate.first(0, 7, 12) == 8
    assert tdma.Rate.first(-1, 7, 12) == 9
    assert tdma.Rate.first(-80, 7, 11) == 11
    assert tdma.Rate.first(99, 8, 11) == 8


def test_who_has_just_joined_makes_no_round_longer() -> None:
    """It may not know its slot: no repair asks for it, and it is not taken for lost."""
    rounds = tdma.Rounds(1, 9, 125000, 12000)
    for address in (1, 2):
        rounds.assign(address, 9)
    rounds.settles(2)
    rounds.settles(3)  # has no slot
    rounds.begin(0, 0)
    rounds.heard(1)
    assert rounds.missing() == [2]
    assert rounds.repair(0, 0) is None
    rounds.begin(0, 0)
    assert (rounds.missed(1), rounds.missed(2)) == (0, 0)
    asked = rounds.repair(0, 0)
    assert asked is not None
    assert [address for address, _, _ in rounds.slots_us(asked)] == [1]
    # It was heard in its slot: from now on it is asked like the other.
    rounds.confirm(2, 9)
    assert not rounds.settling()
    asked = rounds.repair(0, 0)
    assert asked is not None
    assert [address for address, _, _ in rounds.slots_us(asked)] == [1, 2]


def test_who_joined_and_never_used_its_slot_is_lost_in_the_end() -> None:
    rounds = tdma.Rounds(1, 9, 125000, 12000)
    rounds.assign(1, 9)
    rounds.settles(1)
    asked = []
    for _ in range(tdma.SETTLING + 4):
        rounds.begin(0, 0)
        asked.append(rounds.repair(0, 0) is not None)
    assert asked == [*[False] * tdma.SETTLING, *[True] * 3, False]
    assert rounds.missed(1) == 3
    # It says Hello again: it has its time again, and after a drop nothing of it is left.
    rounds.settles(1)
    assert (rounds.missed(1), list(rounds.settling())) == (0, [1])
    rounds.drop(1)
    assert not rounds.settling()
