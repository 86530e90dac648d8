"""The board validator and the wiring picture."""

import itertools
import tomllib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from pbal_build import CHIPS, check, uses
from pbal_tools.board import model
from pbal_tools.board.picture import svg
from pbal_tools.errors import InputError

STREET = Path(__file__).parents[3] / "boards" / "esp32-devkitc.toml"


def board(**changes: Any) -> model.Board:
    """The street's board with "table.key" or "table.inner.key" set to other values."""
    data = tomllib.loads(STREET.read_text())
    for where, value in changes.items():
        *path, key = where.split("__")
        here = data
        for word in path:
            here = here.setdefault(word, {})
        here[key] = value
    return model.Board.model_validate(data)


def errors(found: model.Board) -> list[str]:
    return [f"{f.where}: {f.text}" for f in check(found) if f.level == "error"]


def test_every_board_file_is_fit_to_be_built() -> None:
    assert model.names()
    for name in model.names():
        assert errors(model.load(name)) == []


@pytest.mark.parametrize(
    ("changes", "where", "words"),
    [
        ({"selector__a": 19}, "selector.b", "GPIO19 is already selector.a"),
        ({"uart__rs485__tx": 35}, "uart.rs485.tx", "can only be an input"),
        ({"selector__a": 34}, "selector.a", "can only be an input"),
        ({"sense__va": 27}, "sense.va", "ADC2, which cannot be read while Wi-Fi runs"),
        ({"sense__va": 22}, "sense.va", "no analogue input"),
        ({"selector__c": 12}, "selector.c", "strapping pin GPIO12"),
        ({"selector__c": 15}, "selector.c", "strapping pin GPIO15"),
        ({"selector__c": 14}, "selector.c", "high before any program runs"),
        ({"uart__meter__rx": 9}, "uart.meter.rx", "SPI flash"),
        ({"uart__meter__rx": 24}, "uart.meter.rx", "has no GPIO24"),
        ({"uart__meter__rx": 40}, "uart.meter.rx", "has no GPIO40"),
        ({"uart__meter__tx": 1}, "uart.meter.tx", "console TX"),
        ({"uart__meter__id": 2}, "uart.meter.id", "UART 2 is already"),
        ({"uart__meter__id": 0}, "uart.meter.id", "console"),
        ({"uart__meter__id": 3}, "uart.meter.id", "UART 0..2"),
        ({"selector__dead_time_ms": 5}, "selector.dead_time_ms", "shorter than"),
        ({"selector__kind": "latching"}, "selector.a_set", "is missing"),
        ({"selector__b": "GPIO19"}, "selector.b", "not a number"),
        ({"meter__kind": "cs5490"}, "meter.kind", "not one of pzem, adc"),
        ({"meter__kind": "adc", "sense__ct": None}, "sense.ct", "is missing"),
        ({"sense__bias_v": None}, "sense.bias_v", "the node does not start"),
        ({"uart__rs485__de": None}, "uart.rs485.de", "is missing"),
        ({"uart__meter": {}}, "uart.meter.rx", "is missing"),
        ({"sense__atten_db": 12}, "sense.atten_db", "not one of"),
        ({"selector__interlock": ""}, "selector.interlock", "hardware"),
        ({"selector__kind": "magic"}, "selector.kind", "not one of"),
        ({"board__chip": "esp8266"}, "board.chip", "not known"),
    ],
)
def test_what_must_not_be_built(changes: dict[str, Any], where: str, words: str) -> None:
    found = errors(board(**changes))
    assert any(line.startswith(where + ":") and words in line for line in found), found


def test_the_same_pins_on_another_chip_are_judged_by_that_chip() -> None:
    found = errors(board(board__chip="esp32s3"))
    assert any("GPIO23" in line and "ESP32-S3 has no" in line for line in found)
    assert any("sense.va: GPIO36 has no analogue input" in line for line in found)


def test_adc2_is_only_a_warning_where_wifi_is_off() -> None:
    found = check(board(sense__va=27, wifi__enabled=False))
    (about,) = [f for f in found if f.where == "sense.va"]
    assert about.level == "warning"


def test_strapping_pin_for_a_lamp_is_a_warning() -> None:
    (found,) = [f for f in check(board()) if f.where == "led.pin"]
    assert found.level == "warning"
    assert "strapping" in found.text


def test_driver_enable_and_receiver_enable_may_share_a_pin() -> None:
    assert errors(board(uart__rs485__re=4)) == []
    assert errors(board(uart__rs485__re=25)) != []


def test_latching_relays_and_lists_of_pins_are_seen() -> None:
    changes = {f"selector__{p}_{w}": n for n, (p, w) in
               zip((18, 19, 23, 27, 32, 33), [(p, w) for w in ("set", "reset") for p in "abc"],
                   strict=True)}  # fmt: skip
    found = board(selector__kind="latching", sense__ct=-1, **changes)
    assert {u.pin for u in uses(found) if u.role == "relay"} >= {27, 32, 33}


def test_tables_name_only_pins_that_exist() -> None:
    for chip in CHIPS.values():
        named = {*chip.flash, *chip.strapping, *chip.boots_high, *chip.adc1, *chip.adc2,
                 *chip.console, *chip.usb, *chip.input_only, *chip.no_pulls}  # fmt: skip
        assert named <= chip.pins, chip.name
        assert not set(chip.adc1) & set(chip.adc2)


def test_a_broken_file_names_the_key(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('[board]\nname = "Big Name"\nid = 1\nchip = "esp32"\n')
    with pytest.raises(InputError, match=r"board\.name"):
        model.load(str(path))
    path.write_text("[board\n")
    with pytest.raises(InputError, match="broken"):
        model.load(str(path))


def test_the_picture_shows_every_pin_and_marks_what_is_wrong() -> None:
    drawn = svg(board())
    root = ET.fromstring(drawn)
    words = [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]
    for use in uses(board()):
        assert f"GPIO{use.pin}" in words
    assert words.count("i") == 1  # the lamp on a strapping pin
    assert "!" not in words
    wrong = ET.fromstring(svg(board(selector__a=34)))
    assert "!" in [node.text for node in wrong.iter("{http://www.w3.org/2000/svg}text")]
    height = float(root.get("height", "0"))
    boxes = [
        (float(n.get("y", "0")), float(n.get("height", "0")))
        for n in root.iter("{http://www.w3.org/2000/svg}rect")
    ][2:]
    for (y, tall), (below, _) in itertools.pairwise(boxes):
        assert y + tall < below
    assert boxes[-1][0] + boxes[-1][1] < height


@pytest.mark.parametrize("name", model.names())
def test_the_pictures_in_the_documents_are_up_to_date(name: str) -> None:
    kept = STREET.parents[1] / "docs" / "img" / f"wiring-{name}.svg"
    drawn = svg(model.load(name))
    assert kept.read_text() == drawn, (
        f"run: pbal board show {name} --svg docs/img/wiring-{name}.svg"
    )
