"""Where homes with a radio stand, as their installer leaves them: each within reach.

Shadowing differs by tens of decibels between two places beside each other, so some places along a
road hear nothing. An installer who finds one sets the site's spreading factor higher, or puts the
antenna elsewhere; here the home is then moved nearer along the road.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pbal_sim.radio import needed_dbm
from pbal_sim.streetconfig import RadioSite

HUB = "controller"  # its name on the air, where it stands at 0 m
POWER_DBM = 14.0  # of both ends, as they are set where nobody says otherwise
BW_HZ = 125_000
MARGIN_DB = 6.0  # what `pbal commission survey` asks for
_NEAREST_M = 5.0


@dataclass(frozen=True)
class Spot:
    """Where a home (0...) stands, how strong it is heard there, and what its link has to spare
    above what the site's spreading factor needs. `road_m`: where it would be along the road, and
    `short_db` what was missing there to the margin, 0 where it stayed.
    """

    home: int
    distance_m: float
    rssi_dbm: float
    spare_db: float
    road_m: float
    short_db: float


def station(home: int) -> str:
    """A home's name on the air; its shadowing follows from it."""
    return f"home {home + 1}"


def placed(
    site: RadioSite, radios: Iterable[int], seed: int, most_sf: int
) -> tuple[RadioSite, list[Spot]]:
    """The site with the least spreading factor from its own to `most_sf` at which all `radios` have
    the margin, and a spot for each of them; who has none at `most_sf` stands nearer.
    """
    homes = sorted(radios)
    if not homes:
        return site, []
    apart_m = min(site.apart_m, site.road_m / (homes[-1] + 1))
    shadows = {i: site.loss.shadow_db(seed, HUB, station(i)) for i in homes}

    def rssi_dbm(i: int, distance_m: float) -> float:
        return POWER_DBM - site.loss.mean_db(distance_m) - shadows[i]

    weakest_dbm = min(rssi_dbm(i, apart_m * (i + 1)) for i in homes)
    sf = site.sf
    while sf < most_sf and weakest_dbm - MARGIN_DB < needed_dbm(sf, BW_HZ):
        sf += 1
    need_dbm = needed_dbm(sf, BW_HZ)
    spots = []
    for i in homes:
        road_m = apart_m * (i + 1)
        short_db = max(0.0, need_dbm + MARGIN_DB - rssi_dbm(i, road_m))
        nearer = 10 ** (-short_db / (10 * site.loss.exponent))
        distance_m = max(_NEAREST_M, road_m * nearer)
        there_dbm = rssi_dbm(i, distance_m)
        spots.append(Spot(i, distance_m, there_dbm, there_dbm - need_dbm, road_m, short_db))
    at_m = {spot.home: spot.distance_m for spot in spots}
    return replace(site, sf=sf, apart_m=apart_m, at_m=at_m), spots
