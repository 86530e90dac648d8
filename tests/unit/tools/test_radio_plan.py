"""`pbal radio plan`: a plan that the twin's channel agrees with, and words for bad lists."""

import json
import math
from pathlib import Path

import pytest
from rigs import needs
from typer.testing import CliRunner

from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.plans import NAMES, Plan
from pbal_sim.radio import OPEN_COUNTRY, Air, Ear, VirtualClock
from pbal_tools import homestable
from pbal_tools.errors import InputError
from pbal_tools.radio import app
from pbal_tools.radio.places import Place, parse_gateway, places
from pbal_tools.radio.plan import Assumed, plan

RUN = CliRunner()


def listed(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "homes.csv"
    path.write_text(text)
    return path


def along(*distances_m: float) -> list[Place]:
    return [Place(i + 1, f"home {i + 1}", d, 0.0) for i, d in enumerate(distances_m)]


def test_farther_homes_need_slower_factors_and_the_farthest_are_out_of_reach() -> None:
    planned = plan(along(100, 1000, 2000, 3000, 4000, 20000), Assumed())
    factors = [home.sf for home in planned.homes]
    assert factors[0] == 7
    assert factors[-1] == 0
    assert [home.address for home in planned.unreached] == [6]
    near = factors[:-1]
    assert near == sorted(near)
    assert planned.beacon_sf == max(factors)
    for home in planned.homes[:-1]:
        assert home.margin_db >= 8.0
        assert home.airtime_ms == round(time_on_air_us(39, home.sf) / 1000, 1)
        # The next faster one would not do.
        if home.sf > 7:
            assert home.margin_db - 3.0 < 8.0
    assert planned.factors == {sf: factors.count(sf) for sf in sorted(set(factors)) if sf}


def test_what_is_planned_arrives_on_the_emulated_channel() -> None:
    """Each home's frame at its factor reaches a hub in the twin's air, one factor faster than the
    signal allows does not: the two share one path loss.
    """
    far = plan(along(*range(500, 9000, 500)), Assumed(margin_db=0.0))
    for home in far.homes:
        if not home.sf:
            continue
        for sf, arrives in ((home.sf, True), (home.sf - 1, False)):
            if sf < 7:
                continue  # there is none faster
            clock = VirtualClock()
            loss = type(OPEN_COUNTRY)(
                OPEN_COUNTRY.at_m, OPEN_COUNTRY.loss_db, OPEN_COUNTRY.exponent, 0.0
            )
            air = Air(clock, loss=loss)
            came: list[bytes] = []
            hub = Ear(air, "hub", (0.0, 0.0), 865_062_500,
                      on_frame=lambda data, heard, us, came=came: came.append(data))  # fmt: skip
            # Both antennas' gain in the sender's power: the twin's stations have none.
            one = Ear(air, "home", (home.distance_m, 0.0), 865_062_500, power_dbm=14 + 2 * 2.15)
            for ear in (hub, one):
                ear.tune(sf)
            one.send(bytes(39))
            for _ in range(300):
                clock.advance(10_000)
                air.catch_up()
            assert bool(came) is arrives, (home, sf)


@pytest.mark.parametrize("region", NAMES)
def test_no_share_of_time_is_more_than_the_region_allows(region: str) -> None:
    spots = along(*(60.0 * i for i in range(1, 61)))
    eirp = min(band.eirp_cdbm for band in Plan(region).bands) / 100
    planned = plan(spots, Assumed(region, eirp_dbm=min(16.15, eirp), margin_db=6.0))
    rules = Plan(region)
    up = rules.band(*rules.up[0])
    for home in planned.homes:
        if planned.up_limit is not None:
            assert home.airtime_share <= planned.up_limit + 1e-6
        if up.dwell_us:
            assert home.airtime_ms <= up.dwell_us / 1000
    if planned.down_limit is not None:
        assert planned.down_share <= planned.down_limit + 1e-6
    assert planned.cycle_s >= planned.airtime_s


def test_a_list_in_degrees_and_one_in_metres_are_one(tmp_path: Path) -> None:
    north_m = math.radians(0.01) * 6_371_008.8
    degrees = listed(tmp_path, "address,lat,lon\n1,12.98,77.59\n2,12.97,77.60\n")
    found = places(homestable.read(degrees), (12.97, 77.59))
    assert found[0].y_m == pytest.approx(north_m, rel=1e-6)
    assert found[0].x_m == pytest.approx(0.0, abs=1e-6)
    assert found[1].x_m == pytest.approx(north_m * math.cos(math.radians(12.97)), rel=1e-6)
    metres = listed(tmp_path, f"address;x_m;y_m\n1;0;{north_m:.3f}\n2;{found[1].x_m:.3f};0\n")
    again = places(homestable.read(metres), (0.0, 0.0))
    assert again[0].distance_m == pytest.approx(found[0].distance_m, abs=0.01)
    assert places(homestable.read(metres), None)[0].y_m == pytest.approx(north_m / 2, abs=0.01)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("address,lat,lon\n1,12.97,\n", "line 2: lat and lon belong together"),
        ("address,lat,lon\n1,north,77\n", "lat is 'north', not a number of degrees"),
        ("address,lat,lon\n1,97,12\n", "lat is 97; at most 90"),
        ("address,name\n1,mill\n", "Line 2: home 1 has no place"),
        ("address,lat,lon,x_m,y_m\n1,12,77,,\n2,,,5,5\n", "degrees in some lines"),
        ("address,lat,lon\n1,12,77\n2,77,12\n", "km from the gateway"),
        ("address,lat,lon\n1,12,77\n1,12,77\n", "address 1 is also in line 2"),
        ("lat,lon\n12,77\n", "no column 'address'"),
    ],
)
def test_a_bad_list_names_the_line(tmp_path: Path, text: str, words: str) -> None:
    done = RUN.invoke(app, ["plan", "--homes", str(listed(tmp_path, text))])
    assert isinstance(done.exception, InputError)
    assert words in str(done.exception.message)
    assert done.exception.remedy


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("--region", "XX1"), "no region"),
        (("--channel", "9"), "no channel 9"),
        (("--power", "30"), "allows"),
        (("--area", "moon"), "no area"),
        (("--gateway-at", "here"), "is no place"),
        (("--gateway-at", "1"), "is no place"),
        (("--picture", "x.jpg"), "a PNG or an SVG"),
    ],
)
def test_bad_options_say_what_there_is(tmp_path: Path, option: tuple[str, str], words: str) -> None:
    path = listed(tmp_path, "address,x_m,y_m\n1,10,10\n2,20,20\n")
    done = RUN.invoke(app, ["plan", "--homes", str(path), *option])
    assert isinstance(done.exception, InputError)
    assert words in str(done.exception.message)


def test_too_many_homes_for_one_beacon() -> None:
    with pytest.raises(InputError, match="255"):
        plan([Place(i, "", 1.0 * i, 0.0) for i in range(1, 257)], Assumed())


def test_table_json_and_picture(tmp_path: Path) -> None:
    needs.require_module("matplotlib", "report")
    path = listed(
        tmp_path,
        "address,name,x_m,y_m\n"
        + "".join(f"{i},house {i},{90 * i},{40 * i}\n" for i in range(1, 9)),
    )
    for name, begin in (("map.svg", b"<?xml"), ("map.png", b"\x89PNG")):
        done = RUN.invoke(
            app, ["plan", "--homes", str(path), "--gateway-at", "0,0", "--picture",
                  str(tmp_path / name), "--json"],
        )  # fmt: skip
        assert done.exit_code == 0, done.output
        assert (tmp_path / name).read_bytes().startswith(begin)
    told = json.loads(done.stdout)
    assert len(told["homes"]) == 8
    assert told["unreached"] == []
    assert told["gateway_at"] == "0,0"
    done = RUN.invoke(app, ["plan", "--homes", str(path)])
    assert done.exit_code == 0
    assert "house 8" in done.output
    assert "limited by the channel" in done.output


def test_a_gateway_is_two_numbers() -> None:
    assert parse_gateway("12.5,77") == (12.5, 77.0)
    with pytest.raises(InputError):
        parse_gateway("nan,1")
