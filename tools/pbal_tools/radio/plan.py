"""Which spreading factor each home will need, and the round that follows from it. Pure.

The path loss is the emulated channel's (`pbal_sim.radio`), times and rules are the protocol's, so a
plan and the twin agree. It is an estimate: houses, hills and antennas decide.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

from pbal_controller.bearers.lora import ANSWER_BYTES, SLOWEST, RadioConfig
from pbal_protocol.radio.airtime import SF_MIN, time_on_air_us
from pbal_protocol.radio.plans import Plan
from pbal_protocol.radio.tdma import HOMES, UP_BYTES, Rounds
from pbal_sim.radio import OPEN_COUNTRY, PathLoss, needed_dbm

from ..errors import InputError
from .places import Place

AREAS = {"open": OPEN_COUNTRY, "built-up": PathLoss()}
DOWN_BYTES = 64  # a command, sealed


@dataclass(frozen=True)
class Assumed:
    """The assumptions of the estimate. Power is at the antenna, dBm EIRP; gains are in it."""

    region: str = "IN865"
    channel: int = 0
    eirp_dbm: float = 16.15
    antenna_dbi: float = 2.15  # of the one that receives
    area: str = "open"
    margin_db: float = 8.0


@dataclass(frozen=True)
class HomeLink:
    """One home. `sf` 0: out of reach; `holds`: the probability that it is enough."""

    address: int
    name: str
    x_m: float
    y_m: float
    distance_m: float
    rssi_dbm: float
    sf: int
    margin_db: float
    holds: float
    airtime_ms: float
    airtime_share: float = 0.0


@dataclass(frozen=True)
class Planned:
    """The whole site. Shares are of one transmitter's time."""

    assumed: Assumed
    homes: tuple[HomeLink, ...]
    frequency_mhz: float
    bandwidth_khz: float
    beacon_sf: int
    cycle_s: float
    airtime_s: float
    limited_by: str
    up_limit: float | None
    down_share: float
    down_limit: float | None
    dwell_ms: float | None

    @property
    def unreached(self) -> list[HomeLink]:
        """Homes out of reach."""
        return [home for home in self.homes if not home.sf]

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            **asdict(self),
            "factors": self.factors,
            "unreached": [home.address for home in self.unreached],
        }

    @property
    def factors(self) -> dict[int, int]:
        """How many homes at each spreading factor."""
        used = sorted({home.sf for home in self.homes if home.sf})
        return {sf: sum(home.sf == sf for home in self.homes) for sf in used}


def _allowed(dwell_us: int, bw_hz: int) -> list[int]:
    """The spreading factors whose longest answers are not longer than a frame may be."""
    return [
        sf
        for sf in range(SF_MIN, SLOWEST + 1)
        if not dwell_us or time_on_air_us(ANSWER_BYTES, sf, bw_hz) <= dwell_us
    ]


def _link(place: Place, a: Assumed, bw_hz: int, factors: list[int]) -> HomeLink:
    loss = AREAS[a.area]
    rssi = a.eirp_dbm - loss.mean_db(place.distance_m) + a.antenna_dbi
    enough = [sf for sf in factors if rssi - needed_dbm(sf, bw_hz) >= a.margin_db]
    sf = enough[0] if enough else 0
    # Out of reach: by how much, at the slowest factor that is allowed.
    margin = rssi - needed_dbm(sf or factors[-1], bw_hz)
    return HomeLink(
        place.address, place.name, round(place.x_m, 1), round(place.y_m, 1),
        round(place.distance_m, 1), round(rssi, 1), sf, round(margin, 1),
        round(NormalDist(0.0, loss.sigma_db).cdf(margin), 3),
        round(time_on_air_us(UP_BYTES, sf, bw_hz) / 1000, 1) if sf else 0.0,
    )  # fmt: skip


def plan(places: Sequence[Place], a: Assumed) -> Planned:
    """The site as it will be. Raises InputError for what the region does not allow."""
    if len(places) > HOMES:
        raise InputError(
            f"{len(places)} homes: one radio takes turns with {HOMES} at most.",
            "Plan two radios on two channels, each with its own list.",
        )
    rules = Plan(a.region)
    if not 0 <= a.channel < len(rules.up):
        raise InputError(
            f"{a.region} has no channel {a.channel}.", f"It has 0 to {len(rules.up) - 1}."
        )
    hz, bw_hz = rules.up[a.channel]
    down_hz, down_bw = rules.down[a.channel % len(rules.down)]
    up, down = rules.band(hz, bw_hz), rules.band(down_hz, down_bw)
    most_dbm = min(up.eirp_cdbm, down.eirp_cdbm) / 100
    if a.eirp_dbm > most_dbm:
        raise InputError(
            f"{a.eirp_dbm:g} dBm EIRP: {a.region} allows {most_dbm:g} on this channel.",
            "Lower --power or --antenna.",
        )
    factors = _allowed(up.dwell_us, bw_hz)
    links = [_link(place, a, bw_hz, factors) for place in places]
    reached = sorted((home for home in links if home.sf), key=lambda home: home.sf)
    beacon_sf = max((home.sf for home in reached), default=SF_MIN)
    # With the defaults of [radio.NAME].
    usual = RadioConfig.model_fields
    guard_us = round(1000 * usual["guard_ms"].default)
    exchanges = int(usual["exchanges"].default)
    rounds = Rounds(1, beacon_sf, bw_hz, guard_us)
    for home in reached:
        rounds.assign(home.address, home.sf)
    beacon = rounds.begin(0, 0)
    down_us = time_on_air_us(DOWN_BYTES, beacon_sf, down_bw)
    answer_us = time_on_air_us(ANSWER_BYTES, beacon_sf, bw_hz)
    readings_us = sum(time_on_air_us(UP_BYTES, home.sf, bw_hz) for home in reached)
    spoken_us = rounds.beacon_us(beacon) + exchanges * down_us
    airtime_us = spoken_us + readings_us + exchanges * answer_us
    cycle_us = rounds.length_us(beacon) + exchanges * (down_us + answer_us + 2 * guard_us)
    limited_by = "the channel"
    least_us = round(1e6 * usual["round_s"].default)
    if cycle_us < least_us:
        cycle_us, limited_by = least_us, "round_s, the shortest there is"
    if down.duty_permille and spoken_us * 1000 / down.duty_permille > cycle_us:
        cycle_us = round(spoken_us * 1000 / down.duty_permille)
        limited_by = "the controller's duty cycle"
    longest_us = max((round(1000 * home.airtime_ms) for home in reached), default=0)
    if up.duty_permille and longest_us * 1000 / up.duty_permille > cycle_us:
        cycle_us = round(longest_us * 1000 / up.duty_permille)
        limited_by = "the duty cycle of the slowest home"
    cycle_s = cycle_us / 1e6
    homes = tuple(
        HomeLink(**{**asdict(home), "airtime_share": round(home.airtime_ms / 1000 / cycle_s, 6)})
        for home in links
    )
    return Planned(
        a, homes, hz / 1e6, bw_hz / 1e3, beacon_sf, round(cycle_s, 3),
        round(airtime_us / 1e6, 3), limited_by,
        up.duty_permille / 1000 if up.duty_permille else None,
        round(spoken_us / cycle_us, 6),
        down.duty_permille / 1000 if down.duty_permille else None,
        up.dwell_us / 1000 if up.dwell_us else None,
    )  # fmt: skip
