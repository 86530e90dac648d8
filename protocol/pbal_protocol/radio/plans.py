"""Regional plans: what the law of a region allows, as data. Sources: docs/radio-plans.md.

A band is (low_hz, high_hz, bw_min_hz, bw_max_hz, eirp_cdbm, duty_permille, duty_s, dwell_us, hops,
occupancy_us, occupancy_s); 0 stands for a rule that the region does not have:

- eirp_cdbm: most power at the antenna, in 0.01 dBm EIRP (ERP + 2.15 dB);
- duty_permille of any duty_s: all transmissions in the band together;
- dwell_us: the longest single transmission;
- hops: the least number of channels to hop over;
- occupancy_us in any occupancy_s: all transmissions on one channel.

Where two bands cover a channel, its bandwidth decides which one applies. These are legal limits,
not defaults: no setting may raise them.
"""

from pbal_protocol.errors import FieldError, ForbiddenError


class Band:
    """One row of a plan."""

    def __init__(self, row: tuple[int, ...]) -> None:
        (
            self.low_hz,
            self.high_hz,
            self.bw_min_hz,
            self.bw_max_hz,
            self.eirp_cdbm,
            self.duty_permille,
            self.duty_s,
            self.dwell_us,
            self.hops,
            self.occupancy_us,
            self.occupancy_s,
        ) = row

    def covers(self, hz: int, bw_hz: int) -> bool:
        """Whether all of a channel lies inside, and its bandwidth is one of the band's."""
        half = bw_hz // 2
        return (
            self.low_hz <= hz - half
            and hz + half <= self.high_hz
            and self.bw_min_hz <= bw_hz <= self.bw_max_hz
        )


_K125, _K250, _K500 = 125000, 250000, 500000
_H = 3600

# fmt: off
_BANDS = {
    "IN865": (
        (865000000, 867000000, _K125, _K125, 2920, 0, 0, 0, 0, 0, 0),
    ),
    "EU868": (
        (865000000, 868000000, _K125, _K250, 1615, 10, _H, 0, 0, 0, 0),
        (868000000, 868600000, _K125, _K250, 1615, 10, _H, 0, 0, 0, 0),
        (868700000, 869200000, _K125, _K250, 1615, 1, _H, 0, 0, 0, 0),
        (869400000, 869650000, _K125, _K250, 2915, 100, _H, 0, 0, 0, 0),
        (869700000, 870000000, _K125, _K250, 1615, 10, _H, 0, 0, 0, 0),
    ),
    "US915": (
        (902000000, 928000000, _K125, _K125, 3600, 0, 0, 400000, 50, 400000, 20),
        (902000000, 928000000, _K250, _K250, 3000, 0, 0, 400000, 25, 400000, 10),
        (902000000, 928000000, _K500, _K500, 3600, 0, 0, 0, 0, 0, 0),
    ),
    "AU915": (
        (915000000, 928000000, _K125, _K250, 3000, 0, 0, 400000, 20, 400000, 20),
        (915000000, 928000000, _K500, _K500, 3000, 0, 0, 0, 0, 0, 0),
    ),
    "AS923": (
        (923000000, 923500000, _K125, _K250, 1600, 10, _H, 400000, 0, 0, 0),
    ),
}

# (first Hz, step Hz, how many, bandwidth): the channels of a site without configured ones. Up: the
# nodes' slots. Down: the controller's beacons and commands.
_UP = {
    "IN865": ((865062500, 340000, 2, _K125), (865985000, 0, 1, _K125)),
    "EU868": ((868100000, 200000, 3, _K125),),
    "US915": ((903000000, 1600000, 8, _K500),),
    "AU915": ((915900000, 1600000, 8, _K500),),
    "AS923": ((923200000, 200000, 2, _K125),),
}
_DOWN = {
    "EU868": ((869525000, 0, 1, _K125),),
}
# fmt: on

NAMES = tuple(sorted(_BANDS))


def _channels(rows: tuple[tuple[int, int, int, int], ...]) -> tuple[tuple[int, int], ...]:
    return tuple(
        [(first + i * step, bw_hz) for first, step, count, bw_hz in rows for i in range(count)]
    )


class Plan:
    """A region's rules. `up` and `down` are channels as (centre Hz, bandwidth Hz)."""

    def __init__(self, name: str) -> None:
        rows = _BANDS.get(name)
        if rows is None:
            raise FieldError("no radio plan %r: known are %s" % (name, ", ".join(NAMES)))
        self.name = name
        self.bands = tuple([Band(row) for row in rows])
        self.up = _channels(_UP[name])
        self.down = _channels(_DOWN.get(name, _UP[name]))

    def band(self, hz: int, bw_hz: int) -> Band:
        """Return the rules of a channel. Raises ForbiddenError where none allow it."""
        for band in self.bands:
            if band.covers(hz, bw_hz):
                return band
        raise ForbiddenError(
            "%s allows no %d Hz wide channel at %d Hz: choose one of %s"
            % (self.name, bw_hz, hz, self.up + self.down)
        )

    def check_power(self, hz: int, bw_hz: int, eirp_cdbm: int) -> None:
        """Raise ForbiddenError when a channel does not allow that much power."""
        most = self.band(hz, bw_hz).eirp_cdbm
        if eirp_cdbm > most:
            raise ForbiddenError(
                "%s allows %d.%02d dBm EIRP at %d Hz, not %d.%02d"
                % (self.name, most // 100, most % 100, hz, eirp_cdbm // 100, eirp_cdbm % 100)
            )
