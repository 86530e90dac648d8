"""Bearers and paths in the configuration: short forms, complaints, kinds of other packages."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pbal_controller.balancing import PlannerConfig
from pbal_controller.bearers import find, kinds, known
from pbal_controller.config import describe, load
from pbal_controller.errors import ConfigError

from . import toy_bearer
from .fake import SITE
from .test_bearers import _toy, home

__all__ = ["_toy"]

BASE = f"[site]\nid = {SITE}\n"
BUS = BASE + '[bus.a]\nport = "/dev/ttyUSB0"\n[bus.b]\nport = "/dev/ttyUSB1"\n'


def test_bus_is_short_for_a_path(tmp_path: Path) -> None:
    path = tmp_path / "pbal.toml"
    path.write_text(BUS + '[[home]]\naddress = 257\nbus = "a"\n')
    short = load(path, {})
    path.write_text(BUS + '[[home]]\naddress = 257\npaths = [{ bearer = "a" }]\n')
    written = load(path, {})
    assert short.ways(short.home[0]) == written.ways(written.home[0]) == [("a", 1)]
    path.write_text(
        BUS
        + home(257, '{ bearer = "b", at = 9 }', '{ bearer = "a" }')
        + home(258, '{ bearer="a" }')
    )
    config = load(path, {})
    assert [config.ways(each) for each in config.home] == [[("b", 9), ("a", 1)], [("a", 2)]]


def test_check_config_says_every_way_to_a_home(tmp_path: Path) -> None:
    path = tmp_path / "pbal.toml"
    path.write_text(
        BUS
        + '[bearer.gone]\nkind = "null"\n'
        + home(257, '{ bearer = "b", at = 9 }', '{ bearer = "gone" }')
        + '[[home]]\naddress = 258\nbus = "a"\nfixed = true\n'
    )
    lines = describe(load(path, {}), PlannerConfig(), "two keys")
    assert "bus a: /dev/ttyUSB0, 115200 baud, 8E1, 1 home" in lines
    assert "bearer gone: null, 1 home" in lines
    assert "  home 257: bus b, unit 9; then bearer gone, 257" in lines
    assert "  home 258: bus a, unit 2, fixed" in lines


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (BUS + "[[home]]\naddress = 257\n", ["home 257", "no path", 'bus = "NAME"', "paths"]),
        (
            BUS + '[[home]]\naddress = 257\nbus = "a"\npaths = [{ bearer = "b" }]\n',
            ["home 257", "both bus and paths", "drop bus"],
        ),
        (BUS + home(257, '{ bearer = "x" }'), ['bearer "x"', "known: a, b", "[bearer.x]"]),
        (BUS + home(257, '{ bearer = "a" }', '{ bearer = "a", at = 2 }'), ["two paths over a"]),
        (BUS + home(257, '{ bearer = "a", at = 0 }'), ["home[0]", "at = 0", "1..247"]),
        (BUS + home(257, '{ bearer = "a", at = "x" }'), ["home[0]", "at = 'x'", "1..247"]),
        (
            BUS + home(257, '{ bearer = "a" }') + home(300, '{ bearer = "a", at = 1 }'),
            ["two homes on bus a have unit 1"],
        ),
        (BUS + '[bearer.a]\nkind = "null"\n', ["bus a and bearer a", "rename"]),
        (BASE, ["no bearer", "[bus.NAME]"]),
        (BASE + '[bearer.a]\nkind = "smoke"\n', ["bearer.a", '"smoke"', "null, rs485"]),
        (BASE + '[bearer.a]\nkind = "rs485"\n', ["bearer.a.port", "is missing"]),
        (
            BASE + '[bearer.a]\nkind = "null"\ncolour = 1\n',
            ["bearer.a.colour", "not a known key"],
        ),
        (
            BASE + '[bearer.a]\nkind = "lossy"\nover = { kind = "smoke" }\n',
            ["bearer.a.over", '"smoke"'],
        ),
        (
            BASE + '[bearer.air]\nkind = "toy"\n' + home(1, '{ bearer = "air" }'),
            ["home[0]", "HOST:PORT"],
        ),
        (
            BUS + '[bearer.air]\nkind = "rs485"\nport = "/dev/ttyUSB0"\n',
            ["on one port", "/dev/ttyUSB0"],
        ),
        (
            BUS + '[bearer.n]\nkind = "null"\n[transformer.meter]\nkind = "sdm630"\nbus = "n"\n',
            ["transformer.meter.bus", '"n"', "RS-485"],
        ),
    ],
)
def test_complaints_about_bearers_and_paths(tmp_path: Path, text: str, parts: list[str]) -> None:
    path = tmp_path / "pbal.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    for part in parts:
        assert part in str(caught.value)


def test_a_bearer_of_kind_rs485_is_a_bus_by_another_name(tmp_path: Path) -> None:
    path = tmp_path / "pbal.toml"
    path.write_text(
        BASE + '[bearer.a]\nkind = "rs485"\nport = "/dev/ttyUSB0"\nbaud = 9600\n'
        "[transformer.meter]\nkind = 'sdm630'\nbus = 'a'\nunit = 100\n"
        + home(257, '{ bearer = "a" }')
    )
    config = load(path, {})
    kind, settings = config.bearers()["a"]
    assert (kind.name, settings.baud) == ("rs485", 9600)
    assert config.ways(config.home[0]) == [("a", 1)]


def test_a_kind_of_another_package_is_found_by_its_entry_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point = SimpleNamespace(name="smoke", load=lambda: toy_bearer.KIND.__class__(
        "smoke", toy_bearer.ToyConfig, toy_bearer.locate, toy_bearer.ToyBearer
    ))  # fmt: skip
    asked = []

    def entry_points(group: str, name: str | None = None) -> list[Any]:
        asked.append(group)
        return [point] if name in (None, "smoke") else []

    monkeypatch.setattr(kinds, "entry_points", entry_points)
    assert find("smoke").settings is toy_bearer.ToyConfig
    assert set(asked) == {"pbal.bearers"}
    assert {"lossy", "null", "rs485", "smoke", "toy"} <= set(known())
    kinds._made.pop("smoke")
