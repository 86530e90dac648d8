"""Where `pbal sim run` puts homes with a radio: within reach, whatever seed and number."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pbal_sim.placing import BW_HZ, HUB, MARGIN_DB, placed, station
from pbal_sim.radio import OPEN_COUNTRY, Air, Ear, VirtualClock, needed_dbm
from pbal_sim.streetconfig import RadioSite
from pbal_tools import topology
from pbal_tools.streetoptions import SCENARIOS, RunOptions
from pbal_tools.streetresult import never_read, start_note
from pbal_tools.streetrun import StreetRun

HZ = 865_062_500
RADIO = [name for name, scenario in SCENARIOS.items() if scenario.radio is not None]


class Everybody:
    """All radios of a site on the air, and who heard somebody."""

    def __init__(self, site: RadioSite, radios: list[int], seed: int) -> None:
        self.clock = VirtualClock()
        self.air = Air(self.clock, loss=site.loss, seed=seed)
        self.heard: dict[str, int] = dict.fromkeys((HUB, *map(station, radios)), 0)
        places = {HUB: 0.0} | {station(i): site.distance_m(i) for i in radios}
        self.ears = [self._ear(name, at_m, site.sf) for name, at_m in places.items()]

    def _ear(self, name: str, at_m: float, sf: int) -> Ear:
        def note(*_: object) -> None:
            self.heard[name] += 1

        return Ear(self.air, name, (at_m, 0.0), HZ, sf=sf, on_frame=note)

    def speak(self, who: slice) -> None:
        """One after the other."""
        for ear in self.ears[who]:
            ear.send(bytes(39))
            self.clock.us += 2_000_000
            self.air.catch_up()


@pytest.mark.parametrize("name", RADIO)
@pytest.mark.parametrize("homes", [1, 3, 12, 13, 48, pytest.param(96, marks=pytest.mark.long)])
def test_each_home_hears_its_controller_and_is_heard(name: str, homes: int) -> None:
    """On the air itself, for the street that `pbal sim run` starts."""
    for seed in (1, 2, 3, 4, 42):
        run = StreetRun(RunOptions(homes=homes, scenario=name, seed=seed))
        site = run.street_config().radio
        assert site is not None
        assert site.sf <= SCENARIOS[name].most_sf
        radios = topology.radios(SCENARIOS[name], homes)
        everybody = Everybody(site, radios, seed)
        everybody.speak(slice(0, 1))
        assert all(everybody.heard[station(i)] == 1 for i in radios)
        everybody.speak(slice(1, None))
        assert everybody.heard[HUB] == len(radios)
        assert all(site.distance_m(i) <= site.road_m + 1e-6 for i in radios)


def test_the_site_takes_a_higher_spreading_factor_before_a_home_is_moved() -> None:
    flat = replace(OPEN_COUNTRY, sigma_db=0.0)
    site = RadioSite(sf=7, loss=flat, apart_m=150.0)
    for most in (7, 8, 9, 10, 11):
        found, spots = placed(site, range(12), 1, most)
        road_dbm = 14.0 - flat.mean_db(1800.0)
        enough = [sf for sf in range(7, 12) if road_dbm - MARGIN_DB >= needed_dbm(sf, BW_HZ)]
        assert found.sf == min([most, *enough])
        assert all(spot.spare_db >= MARGIN_DB - 1e-9 for spot in spots)
        moved = [spot for spot in spots if spot.short_db]
        assert bool(moved) == (most < min(enough))
        for spot in moved:
            assert spot.distance_m < spot.road_m
            assert spot.spare_db == pytest.approx(MARGIN_DB)
            assert math.isclose(found.distance_m(spot.home), spot.distance_m)


def test_a_run_says_the_weakest_link_and_who_was_moved() -> None:
    told = StreetRun(RunOptions(homes=12, scenario="rural", seed=42)).picture.told
    assert told[0] == "controller ~LoRa~ 12 homes"
    assert told[1].startswith("LoRa at SF8: the weakest link is home ")
    assert ", 6.0 dB to spare (-1" in told[1]
    assert [line.split(" stands at ")[0] for line in told[2:]] == [
        f"home {number:02d}" for number in (6, 9, 11, 12)
    ]
    assert "1800 m along the road its link would be 9.7 dB short of that" in told[5]
    assert topology.placed_lines(RadioSite(), []) == []


def test_who_is_waited_for_is_named() -> None:
    homes = [{"name": f"home {i:02d}", "age_s": None if i in (2, 3) else 0.5} for i in range(1, 5)]
    status = {"homes": homes, "homes_configured": 4, "homes_fresh": 2}
    assert never_read(status) == ["home 02", "home 03"]
    assert "5 s of good voltage" in start_note(status, 3)
    assert start_note(status, 4) == (
        "2 of 4 homes are read, 4 are supplied: not yet read home 02, home 03."
    )
