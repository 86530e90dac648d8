"""Taking turns on one channel: who sends when, told by beacons. Sans-IO, both ends.

    | beacon | downlinks | slots | contention | repair beacon, slots | ... | next beacon

The controller's `Rounds` decides, a node's `Follower` obeys. A node sends only at a time counted
from a beacon that it has just heard: one that heard none, or whose slot map is another version, is
silent. So clocks need to agree for one round only, and a node that is lost can not collide.

Mains-powered nodes listen all the time, so the length of a round need not be known in advance: a
repair beacon names whom the controller did not hear, and these send again, one after the other.
"""

from pbal_protocol.compat import const
from pbal_protocol.errors import RangeError
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.records import Beacon
from pbal_protocol.radio.slots import SlotMap

SILENT = -1
REPAIRS = 4  # passes at most

_SEAL = const(15)
# Least signal to noise ratio of SF7, SF8, ..., quarters of a decibel (SX1276 data sheet, table 13).
_LIMITS_Q4 = (-30, -40, -50, -60, -70, -80)


def _bit(heard: "bytes | bytearray", slot: int) -> int:
    at = slot >> 3
    return heard[at] >> (slot & 7) & 1 if at < len(heard) else 0


def _repairs_us(beacon: Beacon, bw_hz: int) -> "list[tuple[int, int]]":
    """Return (slot, begin) of each frame that a repair beacon asks for, from the beacon's end."""
    shape = beacon.shape
    guard = 100 * shape[6]
    out = []
    at = guard
    slot = 0
    for sf in range(7, 13):
        count = shape[sf - 7]
        if count:
            us = time_on_air_us(shape[7], sf, bw_hz) + guard
            for _ in range(count):
                if not _bit(beacon.heard, slot):
                    out.append((slot, at))
                    at += us
                slot += 1
    return out


class Rounds:
    """The controller's side. Slots are numbered 0, 1, ... in the order of the map, which is that of
    the spreading factors, the fastest first.

    `order` are the addresses by slot. A round is `begin`, frames as they come (`heard`), and
    `repair` until it returns None.
    """

    def __init__(self, slot_map: SlotMap, order: list[int]) -> None:
        if len(order) != len(slot_map) or len(set(order)) != len(order):
            raise RangeError("the order has %d homes, the map %d" % (len(order), len(slot_map)))
        if len(order) > 255:
            raise RangeError("%d homes: a beacon has room for 255" % len(order))
        self._map = slot_map
        self.order = order
        shape = slot_map.shape
        guard = (shape.guard_us + 99) // 100
        if guard > 255:
            raise RangeError("a guard of %d us: a beacon can tell 25500" % shape.guard_us)
        counts = bytearray(8)
        counts[6] = guard
        counts[7] = shape.up_bytes
        last = (0, 7)
        for address in order:
            begin, _length, sf = slot_map.slot(address)
            if begin < last[0] or sf < last[1]:
                raise RangeError("home %d: the fastest spreading factors come first" % address)
            last = (begin, sf)
            counts[sf - 7] += 1
        self._shape = bytes(counts)
        self._slots = {address: i for i, address in enumerate(order)}
        self._heard = bytearray((len(order) + 7) // 8)
        self.round = 0
        self.passes = 0
        if self.beacon_us(self._beacon(0, 0)) > shape.beacon_us:
            raise RangeError("the shape has too few bytes for a beacon of %d homes" % len(order))

    def begin(self, time_s: int, time_ms: int) -> Beacon:
        """Return the beacon of a new round. Its bitmap is whom the last round heard."""
        self.round = (self.round + 1) & 0xFFFF
        self.passes = 0
        beacon = self._beacon(time_s, time_ms)
        for i in range(len(self._heard)):
            self._heard[i] = 0
        return beacon

    def _beacon(self, time_s: int, time_ms: int) -> Beacon:
        return Beacon(
            time_s=time_s,
            time_ms=time_ms,
            round=self.round,
            map_version=self._map.version,
            repair=self.passes,
            shape=self._shape,
            heard=bytes(self._heard),
        )

    def heard(self, address: int) -> bool:
        """A good frame of a home; True when it is the first of this round."""
        slot = self._slots.get(address)
        if slot is None:
            return False
        new = not _bit(self._heard, slot)
        self._heard[slot >> 3] |= 1 << (slot & 7)
        return new

    def missing(self) -> list[int]:
        """The addresses not heard in this round, by slot."""
        return [a for i, a in enumerate(self.order) if not _bit(self._heard, i)]

    def repair(self, time_s: int, time_ms: int) -> "Beacon | None":
        """Return the beacon that asks again, None when all were heard or it was asked enough."""
        if self.passes >= REPAIRS or not self.missing():
            return None
        self.passes += 1
        return self._beacon(time_s, time_ms)

    def beacon_us(self, beacon: Beacon) -> int:
        """Time on air of a sealed beacon."""
        shape = self._map.shape
        return time_on_air_us(len(beacon.encode()) + _SEAL, shape.beacon_sf, shape.bw_hz)

    def slots_us(self, beacon: Beacon) -> "list[tuple[int, int]]":
        """Return (address, begin) of the frames that follow a beacon, begin from its own begin."""
        if not beacon.repair:
            return [(address, self._map.slot(address)[0]) for address in self.order]
        us = self.beacon_us(beacon)
        bw_hz = self._map.shape.bw_hz
        return [(self.order[slot], us + at) for slot, at in _repairs_us(beacon, bw_hz)]

    def length_us(self, beacon: Beacon) -> int:
        """From a beacon's begin to the end of what follows it."""
        if not beacon.repair:
            return self._map.cycle_us
        address, begin = self.slots_us(beacon)[-1]
        return begin + self._map.slot(address)[1] + self._map.shape.guard_us


class Follower:
    """A node's side: its slot, and what a beacon means for it."""

    def __init__(self, bw_hz: int = 125000) -> None:
        self._bw_hz = bw_hz
        self.slot = SILENT
        self.sf = 0
        self._version = SILENT
        self._begin_us = 0
        self._sent = SILENT  # the round in which it sent last
        self.round = SILENT
        self.lost = 0  # rounds in a row that the controller did not hear

    def assign(self, map_version: int, slot: int, begin_us: int, sf: int) -> None:
        """The controller gives it a slot of a map."""
        self._version = map_version
        self.slot = slot
        self._begin_us = begin_us
        self.sf = sf

    def leave(self) -> None:
        """No slot any more."""
        self.slot = SILENT

    def beacon(self, beacon: Beacon, us: int) -> int:
        """Return after how many microseconds from the beacon's begin to send, or SILENT.

        `us` is the beacon's own time on air.
        """
        before = self.round
        self.round = beacon.round
        if self.slot < 0 or beacon.map_version != self._version:
            return SILENT
        heard = _bit(beacon.heard, self.slot)
        if not beacon.repair:
            if heard:
                self.lost = 0
            elif self._sent >= 0 and self._sent == before:
                self.lost += 1
            self._sent = beacon.round
            return self._begin_us
        if not heard:
            for slot, at in _repairs_us(beacon, self._bw_hz):
                if slot == self.slot:
                    self._sent = beacon.round
                    return us + at
        return SILENT


class Contention:
    """When an urgent frame goes into the contention window: at random, and rarer when it failed."""

    def __init__(self, slots: int) -> None:
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
        """It was not acknowledged: wait up to 1, 3, 7 rounds, by `chance`."""
        self._failed = min(3, self._failed + 1)
        self._wait = chance % (1 << self._failed)

    def done(self) -> None:
        """It was acknowledged."""
        self._failed = self._wait = 0


class Rate:
    """The spreading factor of one home: raised at once when it is lost, lowered slowly."""

    RAISE_AFTER = 2  # rounds in a row without a frame
    LOWER_AFTER = 30  # good rounds in a row
    MARGIN_Q4 = 40  # 10 dB to spare at the lower factor

    def __init__(self, sf: int, least: int = 7, most: int = 12) -> None:
        if not 7 <= least <= sf <= most <= 12:
            raise RangeError("spreading factors %d..%d and %d" % (least, most, sf))
        self.sf = sf
        self._least = least
        self._most = most
        self._missed = 0
        self._good = 0

    def heard(self, snr_q4: int) -> int:
        """A frame came with this ratio, in quarters of a decibel; return the factor to use."""
        self._missed = 0
        if self.sf > self._least and snr_q4 - _LIMITS_Q4[self.sf - 8] >= self.MARGIN_Q4:
            self._good += 1
            if self._good >= self.LOWER_AFTER:
                self._good = 0
                self.sf -= 1
        else:
            self._good = 0
        return self.sf

    def missed(self) -> int:
        """A round without a frame; return the factor to use."""
        self._good = 0
        self._missed += 1
        if self._missed >= self.RAISE_AFTER and self.sf < self._most:
            self._missed = 0
            self.sf += 1
        return self.sf
