"""The slot map of a site: who may send when, counted from the begin of the beacon.

    | beacon | downlinks | one slot for each home | contention |
    0                                                          cycle_us

Each part is the time on air of its longest frame and one guard. Homes may have different
spreading factors, so their slots have different lengths. The map is made by the controller; a
node is told the begin of its own slot and what it needs to find the other parts.
"""

from pbal_protocol.errors import FieldError, RangeError
from pbal_protocol.radio.airtime import time_on_air_us

UP_BYTES = 39  # a compact reading, sealed


def guard_us(cycle_us: int, drift_ppm: int = 40, jitter_us: int = 2000) -> int:
    """Return the gap that keeps two slots apart: both clocks may drift, each one way, since the
    beacon, and each end of a slot may be late by `jitter_us`.
    """
    return 2 * drift_ppm * (cycle_us // 1000) // 1000 + jitter_us


class Shape:
    """What a site's frames look like on the air."""

    def __init__(
        self,
        *,
        bw_hz: int = 125000,
        beacon_sf: int = 7,
        beacon_bytes: int = 67,  # for 255 homes, sealed
        downlinks: int = 2,
        downlink_bytes: int = 64,
        up_bytes: int = UP_BYTES,
        contention: int = 2,
        guard_us: int = 3000,
    ) -> None:
        self.bw_hz = bw_hz
        self.beacon_sf = beacon_sf
        self.beacon_us = time_on_air_us(beacon_bytes, beacon_sf, bw_hz)
        self.downlinks = downlinks
        self.downlink_us = time_on_air_us(downlink_bytes, beacon_sf, bw_hz)
        self.up_bytes = up_bytes
        self.contention = contention
        self.contention_us = time_on_air_us(up_bytes, beacon_sf, bw_hz)
        self.guard_us = guard_us
        if downlinks < 0 or contention < 0 or guard_us < 0:
            raise RangeError("a slot map can not have a negative part")

    def up_us(self, sf: int) -> int:
        """Time on air of a home's frame."""
        return time_on_air_us(self.up_bytes, sf, self.bw_hz)


class SlotMap:
    """Slots of one site. `homes` are (slot, address, sf); slot numbers need not be dense.

    Raises RangeError for two homes in one slot, or one home in two.
    """

    def __init__(self, version: int, shape: Shape, homes: list[tuple[int, int, int]]) -> None:
        self.version = version
        self.shape = shape
        self._begin: dict[int, int] = {}
        self._sf: dict[int, int] = {}
        taken: dict[int, int] = {}
        at = shape.beacon_us + shape.guard_us
        self.downlink_at_us = at
        at += shape.downlinks * (shape.downlink_us + shape.guard_us)
        for slot, address, sf in sorted(homes):
            if slot in taken:
                raise RangeError(
                    "slot %d is given to the homes %d and %d: give each its own"
                    % (slot, taken[slot], address)
                )
            if address in self._begin:
                raise RangeError("home %d has two slots: give it one" % address)
            taken[slot] = address
            self._begin[address] = at
            self._sf[address] = sf
            at += shape.up_us(sf) + shape.guard_us
        self.contention_at_us = at
        at += shape.contention * (shape.contention_us + shape.guard_us)
        self.cycle_us = (at + 999) // 1000 * 1000  # beacons begin at a whole millisecond

    def __len__(self) -> int:
        return len(self._begin)

    def slot(self, address: int) -> tuple[int, int, int]:
        """Return (begin in us, length in us, sf) of a home's slot. Raises FieldError."""
        begin = self._begin.get(address)
        if begin is None:
            raise FieldError("home %d has no slot" % address)
        sf = self._sf[address]
        return begin, self.shape.up_us(sf), sf

    def airtime_us(self) -> int:
        """Return the sum of all frames' time on air: no cycle can be shorter."""
        shape = self.shape
        total = shape.beacon_us + shape.downlinks * shape.downlink_us
        total += shape.contention * shape.contention_us
        for sf in self._sf.values():
            total += shape.up_us(sf)
        return total
