"""The scenarios' topology: the picture, the words, and what nodes and controller are told."""

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pbal_controller.config import load
from pbal_sim.installation import first_files, identity_of
from pbal_sim.street import Street
from pbal_tools import topology
from pbal_tools.streetoptions import SCENARIOS, RunOptions
from pbal_tools.streetrun import StreetRun
from pbal_tools.topology import CONTROLLER, LORA, RS485, WIFI, Link, links, svg

IMAGES = Path(__file__).parents[3] / "docs" / "img"
HOMES = (1, 2, 3, 12, 13, 96)


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_drawn_one_is_the_scenario_s(name: str) -> None:
    """`pbal sim topology NAME --svg docs/img/topology-NAME.svg` draws it anew."""
    drawn = (IMAGES / f"topology-{name}.svg").read_text(encoding="utf-8")
    assert drawn == svg(name, SCENARIOS[name], 12)


@pytest.mark.parametrize("homes", HOMES)
@pytest.mark.parametrize("name", SCENARIOS)
def test_every_home_bridge_and_link_is_drawn_once(name: str, homes: int) -> None:
    scenario = SCENARIOS[name]
    root = ET.fromstring(svg(name, scenario, homes))
    every = list(root.iter())
    numbers = [e.attrib["data-home"] for e in every if "data-home" in e.attrib]
    assert sorted(numbers) == [f"{i + 1:02d}" for i in range(homes)]
    bridges = {e.attrib["data-home"] for e in every if e.attrib.get("data-role") == "bridge"}
    assert bridges == {f"{b[0] + 1:02d}" for b in scenario.buildings(homes) if len(b) > 1}
    drawn = [
        (e.attrib["data-over"], e.attrib["data-from"], e.attrib["data-to"])
        for e in every if "data-over" in e.attrib
    ]  # fmt: skip
    assert sorted(drawn) == sorted(
        (x.over, "controller" if x.at == CONTROLLER else f"{x.at + 1:02d}", f"{x.home + 1:02d}")
        for x in links(scenario, homes)
    )
    # Nothing is outside of it, and no home on another.
    wide, high = float(root.attrib["width"]), float(root.attrib["height"])
    places = [_place(e.attrib["d"]) for e in every if "data-home" in e.attrib]
    assert all(0 < x < wide - 40 and 0 < y < high - 44 for x, y in places)
    for i, (x, y) in enumerate(places):
        assert all(abs(x - u) >= 40 or abs(y - v) >= 44 for u, v in places[:i])


def _place(way: str) -> tuple[float, float]:
    """Where a home's eaves begin."""
    words = way.split()
    return float(words[1]), float(words[2])


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_links_are_those_that_nodes_and_controller_are_told(name: str, tmp_path: Path) -> None:
    """Of the very street that `pbal sim run` starts."""
    run = StreetRun(RunOptions(homes=13, scenario=name))
    config = run.street_config()
    identities = [identity_of(config, i) for i in range(13)]
    street = SimpleNamespace(config=config, identities=identities, device="/dev/null")
    found = load(run._configure(cast(Street, street), tmp_path, {}), {})
    told = [
        json.loads(first_files(config, i, identity)["/cfg/identity.json"])
        for i, identity in enumerate(identities)
    ]
    expected = links(SCENARIOS[name], 13)
    assert [x for home in found.home for x in _links(found, home)] == expected
    for i, one in enumerate(told):
        its = [x for x in expected if x.home == i]
        assert ("radio" in one) == any(x.over == LORA for x in its)
        assert ("udp" in one) == any(x.over == WIFI for x in its)
        behind = [x.home for x in expected if x.at == i]
        assert [number - 1 for number in one.get("neighbours", [])] == behind
    assert run.picture.told[: len(topology.told(SCENARIOS[name], 13))] == topology.told(
        SCENARIOS[name], 13
    )


def _links(config: Any, home: Any) -> list[Link]:
    kinds = dict.fromkeys(config.bus, RS485) | dict.fromkeys(config.radio, LORA)
    kinds |= dict.fromkeys(config.bearer, WIFI)
    its = []
    for bearer, at in config.ways(home):
        if isinstance(at, tuple):  # behind a bridge, on whose wires it is
            its.append(Link(RS485, at[1] - 1, at[0] - 1))
        else:
            its.append(Link(kinds[bearer], CONTROLLER, home.address - 1))
    return its
