"""A node's side of the TDMA schedule (tdma.py): how it follows beacons. Sans-IO, both interpreters.

    | beacon | slots | contention | repair: beacon, slots | ... | exchanges | next beacon

A slot is named by its spreading factor and its number among those of the same factor. Its start
follows from the beacon itself, so homes join and leave without a message to the others. A node
sends only at a time counted from a beacon that it has just heard: one that heard none, or has
another version of the map, is silent.
"""

from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.records import Beacon

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SILENT = -1
CONTENTION = 3  # urgent frames that a round has room for
URGENT_BYTES = 64  # of the longest of them
GUARD_US = 500  # the unit of a beacon's guard


def bit(heard: "bytes | bytearray | memoryview", slot: int) -> int:
    """Whether a beacon's bitmap has this slot."""
    at = slot >> 3
    return heard[at] >> (slot & 7) & 1 if at < len(heard) else 0


def turns(beacon: Beacon, us: int, bw_hz: int) -> "Iterator[tuple[int, int, int]]":
    """Yield (slot, sf, begin) of the frames that a beacon asks for, and at last (SILENT, 0, end).

    Slots are counted over all spreading factors. `us` is the beacon's own time on air; begin and
    end are microseconds from its begin.
    """
    shape = beacon.shape
    guard = GUARD_US * shape[6]
    at = us + guard
    slot = 0
    for sf in range(7, 13):
        count = shape[sf - 7]
        if count:
            step = time_on_air_us(shape[7], sf, bw_hz) + guard
            for _ in range(count):
                # A repair asks those that were not heard.
                if not beacon.repair or not bit(beacon.heard, slot):
                    yield slot, sf, at
                    at += step
                slot += 1
    yield SILENT, 0, at


class Follower:
    """A node's slot, and when a beacon lets it send. `end_us`: where the slots of the last beacon
    end, from its begin; the contention window begins there. `lost`: rounds in a row in which the
    controller did not hear this node.
    """

    def __init__(self, bw_hz: int = 125000) -> None:
        self._bw_hz = bw_hz
        self.slot = SILENT  # among those of its spreading factor
        self.sf = 0
        self._version = SILENT
        self._sent = SILENT  # the round in which it sent last
        self.round = SILENT
        self.lost = 0
        self.end_us = 0

    def assign(self, map_version: int, slot: int, sf: int) -> None:
        """Take the slot of a map that the controller assigned."""
        self._version = map_version
        self.slot = slot
        self.sf = sf

    def leave(self) -> None:
        """Give up the slot."""
        self.slot = SILENT

    def joined(self, beacon: Beacon) -> bool:
        """Whether the node has a slot in the map of this beacon."""
        return 0 <= self.slot < beacon.shape[self.sf - 7] and beacon.map_version == self._version

    def beacon(self, beacon: Beacon, us: int) -> int:
        """Return after how many microseconds from the beacon's begin to send, or SILENT.

        `us` is the beacon's own time on air.
        """
        before = self.round
        self.round = beacon.round
        mine = SILENT
        if self.joined(beacon):
            mine = self.slot
            for sf in range(7, self.sf):
                mine += beacon.shape[sf - 7]
            if not beacon.repair:
                if bit(beacon.heard, mine):
                    self.lost = 0
                elif self._sent >= 0 and self._sent == before:
                    self.lost += 1
        begin = SILENT
        for slot, _sf, at in turns(beacon, us, self._bw_hz):
            if slot < 0:
                self.end_us = at
            elif slot == mine:
                begin = at
        if begin >= 0:
            self._sent = beacon.round
        return begin


class Contention:
    """When to send an urgent frame in the contention window: at random, with back-off."""

    def __init__(self, slots: int = CONTENTION) -> None:
        self._slots = slots
        self._wait = 0
        self._failed = 0

    def turn(self, chance: int) -> int:
        """Return the contention slot to use in this round, or SILENT; `chance` is any random number
        from 0 up.
        """
        if self._slots == 0:
            return SILENT
        if self._wait > 0:
            self._wait -= 1
            return SILENT
        return chance % self._slots

    def failed(self, chance: int) -> None:
        """The frame was not acknowledged: wait up to 1, 3, 7 rounds, by `chance`."""
        self._failed = min(3, self._failed + 1)
        self._wait = chance % (1 << self._failed)

    def done(self) -> None:
        """The frame was acknowledged."""
        self._failed = self._wait = 0
