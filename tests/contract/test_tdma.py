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
from pbal_protocol.radio.records import Beacon
from pbal_protocol.radio.slots import Shape, SlotMap

GUARD = 3000


def site(sfs: list[int], version: int = 1) -> tuple[SlotMap, tdma.Rounds, dict[int, tdma.Follower]]:
    """A map of homes 100, 101, ..., the controller's side and each node's."""
    sfs = sorted(sfs)
    shape = Shape(beacon_sf=max(sfs), guard_us=GUARD)
    slot_map = SlotMap(version, shape, [(i, 100 + i, sf) for i, sf in enumerate(sfs)])
    nodes = {}
    for i in range(len(sfs)):
        node = nodes[100 + i] = tdma.Follower()
        begin, _length, sf = slot_map.slot(100 + i)
        node.assign(version, i, begin, sf)
    return slot_map, tdma.Rounds(slot_map, list(nodes)), nodes


def over_the_air(beacon: Beacon) -> Beacon:
    return Beacon.decode(beacon.encode())


def beacon_us(slot_map: SlotMap, beacon: Beacon) -> int:
    size = len(beacon.encode()) + frames.HEADER_LEN + frames.TAG_LEN
    return time_on_air_us(size, slot_map.shape.beacon_sf)


@given(st.lists(st.integers(7, 12), min_size=1, max_size=60), st.integers(0, 2**32))
def test_every_home_is_heard_once_and_no_two_frames_touch(sfs, seed):
    """Whoever of them misses whichever beacon, and whichever frames are lost."""
    rng = random.Random(seed)
    slot_map, rounds, nodes = site(sfs)
    arrived: list[int] = []
    beacon = rounds.begin(1000, 0)
    count = 0
    while beacon is not None:
        count += 1
        us = beacon_us(slot_map, beacon)
        assert us == rounds.beacon_us(beacon)
        spans = [(0, us)]
        asked = dict(rounds.slots_us(beacon))
        for address, node in nodes.items():
            if rng.random() < 0.3:
                continue  # did not hear the beacon: silent
            after = node.beacon(over_the_air(beacon), us)
            if after == tdma.SILENT:
                assert address in arrived
                continue
            assert asked[address] == after
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
    slot_map, rounds, nodes = site([7, 7, 9, 12])
    rounds.begin(1, 0)
    for address in (100, 102):
        assert rounds.heard(address)
        assert not rounds.heard(address)
    assert not rounds.heard(999)
    repair = over_the_air(rounds.repair(2, 0))
    us = beacon_us(slot_map, repair)
    assert nodes[100].beacon(repair, us) == nodes[102].beacon(repair, us) == tdma.SILENT
    assert nodes[101].beacon(repair, us) == us + GUARD
    assert nodes[103].beacon(repair, us) == us + GUARD + time_on_air_us(39, 7) + GUARD
    for _ in range(tdma.REPAIRS - 1):
        assert rounds.repair(3, 0) is not None
    assert rounds.repair(4, 0) is None
    for address in nodes:
        rounds.heard(address)
    rounds.begin(5, 0)
    assert rounds.missing() == list(nodes)


def test_the_next_beacon_acknowledges_the_round():
    slot_map, rounds, nodes = site([7, 7])
    node = nodes[100]
    for heard, lost in ((False, 0), (False, 1), (True, 2), (True, 0)):
        beacon = over_the_air(rounds.begin(1, 0))
        assert node.beacon(beacon, beacon_us(slot_map, beacon)) > 0
        assert node.lost == lost
        if heard:
            rounds.heard(100)


def test_another_map_or_no_slot_is_silence():
    slot_map, rounds, nodes = site([7, 7], version=4)
    beacon = over_the_air(rounds.begin(1, 0))
    us = beacon_us(slot_map, beacon)
    stranger = tdma.Follower()
    assert stranger.beacon(beacon, us) == tdma.SILENT
    stranger.assign(3, 0, 363048, 7)
    assert stranger.beacon(beacon, us) == tdma.SILENT
    nodes[100].leave()
    assert nodes[100].beacon(beacon, us) == tdma.SILENT
    assert nodes[101].beacon(beacon, us) > 0


def test_what_a_beacon_can_not_tell_is_refused():
    shape = Shape(guard_us=GUARD)
    mixed = SlotMap(1, shape, [(0, 1, 9), (1, 2, 7)])
    with pytest.raises(RangeError, match="fastest"):
        tdma.Rounds(mixed, [1, 2])
    good = SlotMap(1, shape, [(0, 1, 7), (1, 2, 9)])
    for order in ([1], [1, 1], [2, 1]):
        with pytest.raises(RangeError):
            tdma.Rounds(good, order)
    slow = SlotMap(1, Shape(guard_us=26_000), [(0, 1, 7)])
    with pytest.raises(RangeError, match="guard"):
        tdma.Rounds(slow, [1])
    many = SlotMap(1, shape, [(i, i, 7) for i in range(256)])
    with pytest.raises(RangeError, match="255"):
        tdma.Rounds(many, list(range(256)))


def test_the_longest_beacon_fits_the_shape_of_the_map():
    slot_map, rounds, _ = site([7] * 255)
    assert beacon_us(slot_map, rounds.begin(1, 0)) <= slot_map.shape.beacon_us
    short = SlotMap(1, Shape(beacon_bytes=40), [(i, i, 7) for i in range(255)])
    with pytest.raises(RangeError, match="too few bytes"):
        tdma.Rounds(short, list(range(255)))


def test_contention_backs_off_and_forgets():
    one = tdma.Contention(2)
    assert {one.turn(chance) for chance in range(4)} == {0, 1}
    one.failed(1)  # wait for one round
    assert [one.turn(0), one.turn(0)] == [tdma.SILENT, 0]
    one.failed(3)
    assert [one.turn(0) for _ in range(4)] == [tdma.SILENT] * 3 + [0]
    for _ in range(9):
        one.failed(7)
    assert [one.turn(1) for _ in range(8)] == [tdma.SILENT] * 7 + [1]
    one.failed(7)
    one.done()
    assert one.turn(1) == 1
    assert tdma.Contention(0).turn(5) == tdma.SILENT


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
