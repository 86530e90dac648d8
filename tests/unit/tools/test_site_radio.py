"""A site file with a radio: what it may say, what the controller is given, what is measured."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pbal_controller.config import load as load_config
from pbal_tools.commission.reserved import FILE, Reserved
from pbal_tools.commission.sitemeasured import measured
from pbal_tools.commission.state import State
from pbal_tools.errors import InputError
from pbal_tools.site.importer import import_csv
from pbal_tools.sitefile import Site, controller_toml, dump, load, validate


def site(**more: Any) -> Site:
    data: dict[str, Any] = {
        "site": {"id": 7}, "radio": {"village": {"region": "IN865", "sf": 8}},
        "home": [{"address": 1, "bus": "village"}, {"address": 257, "bus": "village"}],
    }  # fmt: skip
    return validate(data | more, "site.toml")


def test_it_is_written_read_and_handed_to_the_controller(tmp_path: Path) -> None:
    made = site()
    (tmp_path / "site.toml").write_text(dump(made))
    assert load(tmp_path / "site.toml") == made
    (tmp_path / "pbal.toml").write_text(controller_toml(made, "keys.json"))
    config = load_config(tmp_path / "pbal.toml", environ={})
    assert config.radio["village"].sf == 8
    # Addresses of one unit are two homes on a radio, which has no units.
    assert [config.ways(home) for home in config.home] == [[("village", 1)], [("village", 257)]]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"radio": {"village": {"region": "IN865", "channel": 9}}}, "IN865 has 0 to 2"),
        ({"radio": {"village": {"region": "nowhere"}}}, "no radio plan"),
        ({"bus": {"village": {"port": "/dev/ttyUSB0"}}}, "both a bus and a radio"),
        ({"radio": {"village": {"region": "IN865", "feeder": "F9"}}}, "radio village is on feeder"),
        ({"home": [{"address": 1, "bus": "hill"}]}, "not declared .village."),
    ],
)
def test_what_is_wrong_is_named(more: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        site(**more)


def test_a_list_of_homes_becomes_a_site_on_a_radio(tmp_path: Path) -> None:
    (tmp_path / "homes.csv").write_text("address,name\n1,Mill\n2,Hill\n")
    made = import_csv(tmp_path / "homes.csv", 7, "", {}, radios={"village": "IN865"})
    assert [home.bus for home in made.home] == ["village", "village"]
    assert made.radio["village"].region == "IN865"


def test_what_was_measured_stands_in_the_site_and_nothing_else_changes(tmp_path: Path) -> None:
    state = State.open(tmp_path / "record", 7, "village")
    job: Any = SimpleNamespace(bus_name="village", state=state)
    state.home(1)["contact"] = {"ok": True, "eui": "24a160fffe000001", "board": ""}
    state.home(1)["phases"] = {"ok": True, "real_phase": "B", "relative_to": "transformer"}
    # Named by another home, it may be another letter at the transformer.
    state.home(257)["phases"] = {"ok": True, "real_phase": "C", "relative_to": "home 1"}
    first, second = measured(site(), job).home
    assert (first.phase, first.eui) == ("B", "24a160fffe000001")
    assert (second.phase, second.eui) == ("", "")


def test_counters_are_never_given_out_twice(tmp_path: Path) -> None:
    one = Reserved(tmp_path, {"3": {"key": "k", "next": 500}})
    assert one.reserve("3", "k", 1, 64) == 500
    assert one.reserve("3", "k", 1000, 64) == 1000
    again = Reserved(tmp_path, {})
    assert again.reserve("3", "k", 1, 64) == 1064
    assert again.reserve("3", "another key", 7, 64) == 7
    (tmp_path / FILE).write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        Reserved(tmp_path, {}).reserve("3", "k", 1, 64)
