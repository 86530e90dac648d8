"""The controller's side of the TDMA schedule on one channel (the node's: follower.py). Sans-IO.

    | beacon | slots | contention | repair: beacon, slots | ... | exchanges | next beacon

A repair beacon names the homes that the controller did not hear; these send again, in turn.
Mains-powered nodes listen all the time, so the length of a round need not be known in advance.
"""

from pbal_protocol.errors import RangeError
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.follower import CONTENTION, GUARD_US, SILENT, URGENT_BYTES, turns
from pbal_protocol.radio.records import Beacon, SlotAssign

REPAIRS = 4  # passes at most
SETTLING = 10  # rounds: a node has the time by then, and its reading room in its slot
GIVE_UP = 3  # a home not heard for so many rounds is not asked to send again
HOMES = 255  # a beacon's bitmap has room for no more
UP_BYTES = 39  # a compact reading, sealed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_SEAL = 15
_KEPT = -2  # in the place of a home that was dropped and may still use its slot
# Least signal to noise ratio of SF7, SF8, ..., quarters of a decibel (SX1276 data sheet, table 13).
_LIMITS_Q4 = (-30, -40, -50, -60, -70, -80)


def guard_us(cycle_us: int, drift_ppm: int = 40, jitter_us: int = 2000) -> int:
    """Return the gap that keeps two slots apart: both clocks may drift, each one way, since the
    beacon, and each end of a slot may be late by `jitter_us`.
    """
    return 2 * drift_ppm * (cycle_us // 1000) // 1000 + jitter_us


class Rounds:
    """Which home has which slot, and the contents of beacons. `sf` is the beacons' own spreading
    factor, which none of the homes exceeds.

    A round is `begin`, frames as they come (`heard`), and `repair` until it returns None. A home
    that changes its spreading factor keeps its old slot until it was heard in the new one
    (`confirm`): an assignment that was lost leads to no collision.
    """

    def __init__(
        self, version: int, sf: int, bw_hz: int, guard_us: int, up_bytes: int = UP_BYTES
    ) -> None:
        self.version = version
        self.sf = sf
        self.bw_hz = bw_hz
        self.up_bytes = up_bytes
        units = (guard_us + GUARD_US - 1) // GUARD_US
        if not 0 <= units <= 255:
            raise RangeError("a guard of %d us: a beacon can tell %d" % (guard_us, 255 * GUARD_US))
        self.guard_us = units * GUARD_US
        self._groups: dict[int, list[int]] = {factor: [] for factor in range(7, 13)}
        self._place: dict[int, tuple[int, int]] = {}  # the newest slot of each home
        self._heard: set[int] = set()
        self._missed: dict[int, int] = {}
        self._settling: dict[int, int] = {}  # rounds that are left to a home
        self.round = 0
        self.passes = 0

    # -- the map ----------------------------------------------------------------------------------

    def assign(self, address: int, sf: int) -> SlotAssign:
        """Give a home a slot at this spreading factor, or return the one it has.

        Raises RangeError when the map is full, or for a factor that the beacons do not reach.
        """
        if not 7 <= sf <= self.sf:
            raise RangeError("spreading factor %d: the site's beacons use %d" % (sf, self.sf))
        place = self._place.get(address)
        if place is None or place[0] != sf:
            group = self._groups[sf]
            if address in group:  # it was changing to another factor, and returns
                slot = group.index(address)
            elif SILENT in group:
                slot = group.index(SILENT)
                group[slot] = address
            else:
                if sum(len(each) for each in self._groups.values()) >= HOMES:
                    raise RangeError("%d slots are taken: a beacon has room for no more" % HOMES)
                slot = len(group)
                group.append(address)
            place = self._place[address] = sf, slot
            self._missed.setdefault(address, 0)
        return SlotAssign(map_version=self.version, slot=place[1], begin_us=0, sf=sf)

    def confirm(self, address: int, sf: int) -> None:
        """The home was heard in its slot at this spreading factor: its other slots become free."""
        if address in self._place and self._place[address][0] == sf:
            self._settling.pop(address, None)
            self._free(address, sf)

    def settles(self, address: int) -> None:
        """The home may not know its slot yet, and its first readings may have no room there. Until
        it is heard in it (`confirm`), for SETTLING rounds at most, no repair asks for it, which
        would only make rounds longer, and a round without it does not count as missed.
        """
        if address in self._place:
            self._settling[address] = SETTLING
            self._missed[address] = 0

    def settling(self) -> "Collection[int]":
        """The homes that do."""
        return self._settling.keys()

    def drop(self, address: int, keep: bool = False) -> None:
        """Remove a home: its slots become free. With `keep` nobody gets them before `release`, as
        it may still use them.
        """
        self._place.pop(address, None)
        self._missed.pop(address, None)
        self._heard.discard(address)
        self._settling.pop(address, None)
        self._free(address, 0, _KEPT if keep else SILENT)

    def release(self) -> None:
        """Slots that were kept become free."""
        while any(_KEPT in group for group in self._groups.values()):
            self._free(_KEPT, 0)

    def _free(self, address: int, but: int, leave: int = SILENT) -> None:
        for sf, group in self._groups.items():
            if sf != but and address in group:
                group[group.index(address)] = leave
                while group and group[-1] == SILENT:
                    group.pop()

    def sf_of(self, address: int) -> int:
        """The spreading factor of a home's newest slot, 0 without one."""
        place = self._place.get(address)
        return 0 if place is None else place[0]

    def homes(self) -> list[int]:
        """All that have a slot."""
        return list(self._place)

    # -- a round ----------------------------------------------------------------------------------

    def begin(self, time_s: int, time_ms: int) -> Beacon:
        """Return the beacon of a new round. Its bitmap has the homes heard in the last one."""
        if self.round:
            for address in self._missed:
                left = self._settling.get(address, 0)
                if left:
                    self._settling[address] = left - 1
                elif address in self._heard:
                    self._missed[address] = 0
                else:
                    self._missed[address] = min(self._missed[address] + 1, 0xFFFF)
            for address in [a for a, left in self._settling.items() if not left]:
                del self._settling[address]
        self.round = self.round % 0xFFFF + 1
        self.passes = 0
        beacon = self._beacon(time_s, time_ms, self._heard)
        self._heard = set()
        return beacon

    def _beacon(self, time_s: int, time_ms: int, told: set[int]) -> Beacon:
        owners = [owner for sf in range(7, 13) for owner in self._groups[sf]]
        bitmap = bytearray((len(owners) + 7) // 8)
        for slot, owner in enumerate(owners):
            if owner in told:
                bitmap[slot >> 3] |= 1 << (slot & 7)
        shape = [len(self._groups[sf]) for sf in range(7, 13)]
        shape += [self.guard_us // GUARD_US, self.up_bytes]
        return Beacon(
            time_s=time_s,
            time_ms=time_ms,
            round=self.round,
            map_version=self.version,
            repair=self.passes,
            shape=bytes(shape),
            heard=bytes(bitmap),
        )

    def heard(self, address: int) -> bool:
        """A good frame of a home; True when it is the first of this round."""
        new = address not in self._heard
        self._heard.add(address)
        return new and address in self._place

    def missing(self) -> list[int]:
        """The homes with a slot that were not heard in this round."""
        return [address for address in self._place if address not in self._heard]

    def missed(self, address: int) -> int:
        """Rounds in a row, before this one, in which a home was not heard."""
        return self._missed.get(address, 0)

    def repair(self, time_s: int, time_ms: int) -> "Beacon | None":
        """Return the repair beacon, None when no home is left to ask or all passes are used."""
        asked = {a for a in self.missing() if self._missed[a] < GIVE_UP}
        asked -= self._settling.keys()
        if self.passes >= REPAIRS or not asked:
            return None
        self.passes += 1
        owners = {owner for group in self._groups.values() for owner in group}
        return self._beacon(time_s, time_ms, owners - asked)

    def end(self, time_s: int, time_ms: int) -> Beacon:
        """Return a beacon that asks nobody: it tells other sites that the round is over. It is
        shorter than each that has a slot, so that they know it without a key.
        """
        return Beacon(
            time_s=time_s,
            time_ms=time_ms,
            round=self.round,
            map_version=self.version,
            repair=REPAIRS + 1,
            shape=bytes(6) + bytes((self.guard_us // GUARD_US, self.up_bytes)),
            heard=b"",
        )

    def beacon_us(self, beacon: Beacon) -> int:
        """Time on air of a sealed beacon."""
        return time_on_air_us(len(beacon.encode()) + _SEAL, self.sf, self.bw_hz)

    def slots_us(self, beacon: Beacon) -> list[tuple[int, int, int]]:
        """Return (address, sf, begin) of the frames that follow a beacon, from its own begin; the
        address is SILENT where a slot is free.
        """
        owners = [owner for sf in range(7, 13) for owner in self._groups[sf]]
        asked = turns(beacon, self.beacon_us(beacon), self.bw_hz)
        return [(owners[slot], sf, begin) for slot, sf, begin in asked if slot >= 0]

    def window_us(self) -> int:
        """Length of the contention window."""
        urgent_us = time_on_air_us(URGENT_BYTES, self.sf, self.bw_hz)
        return CONTENTION * (urgent_us + self.guard_us)

    def length_us(self, beacon: Beacon) -> int:
        """From a beacon's begin to the end of what follows it."""
        end = 0
        for slot, _sf, begin in turns(beacon, self.beacon_us(beacon), self.bw_hz):
            if slot < 0:
                end = begin
        return end if beacon.repair else end + self.window_us()


class Rate:
    """The spreading factor of one home: raised soon after frames are lost, lowered slowly."""

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

    @classmethod
    def first(cls, snr_q4: int, least: int, most: int) -> int:
        """The factor to begin with, by one frame's ratio: the least that has the margin."""
        sf = most
        while sf > least and snr_q4 - _LIMITS_Q4[sf - 8] >= cls.MARGIN_Q4:
            sf -= 1
        return sf

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
