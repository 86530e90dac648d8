"""Meters by profile: each profile's own examples, over a real Modbus server on a serial line."""

from __future__ import annotations

import asyncio
import contextlib
import math
from pathlib import Path
from typing import Any

import pytest
from rigs.modbus import ModbusLine

from pbal_controller.bearers.rs485 import KIND, BusConfig, serial_registers
from pbal_controller.config import MeterConfig
from pbal_controller.errors import BearerError, ConfigError
from pbal_controller.meters import (
    ModbusMeter,
    Profile,
    TransformerReading,
    contradictions,
    load_profile,
    make_meter,
    names,
)
from pbal_host import check_cancelled

from .conftest import until

EXAMPLES = [(name, index) for name in names() for index in range(len(load_profile(name).example))]


def served(profile: Profile, index: int, unit: int = 1) -> dict[int, Any]:
    """The devices of one example."""
    table = {int(k, 0): words for k, words in profile.example[index].registers.items()}
    device = {profile.registers.function: table}
    return {unit + k: device for k in range(profile.meter.devices)}


def filled(profile: Profile, index: int) -> dict[int, Any]:
    """The same, with zeros in every other register that the profile reads."""
    devices = served(profile, index)
    for unit, device in devices.items():
        [(function, table)] = device.items()
        words = {first + k: word for first, block in table.items() for k, word in enumerate(block)}
        for ask in profile.asks(1):
            if ask.unit == unit:
                for register in range(ask.first, ask.first + ask.count):
                    words.setdefault(register, 0)
        devices[unit] = {function: _joined(words)}
    return devices


def _joined(words: dict[int, int]) -> dict[int, list[int]]:
    blocks: dict[int, list[int]] = {}
    for register in sorted(words):
        last = next(reversed(blocks), None)
        if last is not None and last + len(blocks[last]) == register:
            blocks[last].append(words[register])
        else:
            blocks[register] = [words[register]]
    return blocks


def value(reading: TransformerReading, name: str) -> float:
    if name in ("freq", "neutral"):
        return reading.freq_hz if name == "freq" else reading.neutral_a
    return getattr(reading, {"v": "v", "i": "i", "p": "p_w", "q": "q_var"}[name[0]])[
        int(name[1]) - 1
    ]


def test_every_meter_of_the_list_is_there() -> None:
    assert set(names()) >= {"sdm630", "sdm72d-m-2", "em340", "pzem-004t", "generic", "abb-b23"}
    for name in names():
        profile = load_profile(name)
        assert profile.meter.name == name
        assert profile.meter.source
        # One example at least gives every quantity on every phase.
        wanted = {f"{q}{k}" for q in "vip" for k in (1, 2, 3)}
        assert any(wanted <= set(example.reads) for example in profile.example), name


@pytest.mark.parametrize(("name", "index"), EXAMPLES)
async def test_an_example_is_read_over_the_wire(name: str, index: int) -> None:
    profile = load_profile(name)
    with ModbusLine(filled(profile, index)) as line:
        registers = serial_registers(line.path, 115200, "N", 1)
        try:
            reading = await ModbusMeter(profile, 1, registers).read_unchecked()
        finally:
            registers.close()
    for what, wanted in profile.example[index].reads.items():
        assert value(reading, what) == pytest.approx(wanted, rel=1e-6, abs=1e-6), what


@pytest.mark.parametrize("name", names())
async def test_a_meter_of_another_make_is_refused(name: str) -> None:
    """Read by any other profile an example is an error, or contradicts itself."""
    profile = load_profile(name)
    index = max(range(len(profile.example)), key=lambda k: len(profile.example[k].reads))
    # A real meter answers for all of its registers; what is not ours is 0 here.
    with ModbusLine(filled(profile, index)) as line:
        registers = serial_registers(line.path, 115200, "N", 1)
        try:
            for other in names():
                # The two Eastrons have one map, and are read alike.
                if other == name or {name, other} == {"sdm630", "sdm72d-m-2"}:
                    continue
                with pytest.raises(BearerError):
                    await ModbusMeter(load_profile(other), 1, registers).read()
            assert (await ModbusMeter(profile, 1, registers).read()).v[0] > 200
        finally:
            registers.close()


class Idle:
    """A Traffic with nothing to say."""

    def next_request(self, now: float) -> float:
        return now + 0.05

    def lost(self) -> None:
        pass

    def handle(self, request: object, answer: object, now: float) -> None:
        raise AssertionError

    def unasked(self, where: object, frame: bytes, now: float) -> None:
        raise AssertionError


@pytest.mark.parametrize("name", ["sdm630", "abb-b23"])
async def test_on_a_bus_shared_with_homes(name: str) -> None:
    profile = load_profile(name)
    kind = {"kind": "sdm630"} if name == "sdm630" else {"kind": "modbus", "profile": name}
    with ModbusLine(served(profile, len(profile.example) - 1) | filled(profile, -1)) as line:
        bearer = KIND.make("a", BusConfig(port=line.path), Idle())
        task = asyncio.create_task(bearer.run(check_cancelled))
        try:
            await until(lambda: bearer.up)
            reading = await make_meter(MeterConfig(**kind, bus="a"), bearer).read()
            assert reading.v[0] == pytest.approx(profile.example[-1].reads["v1"])
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_labels_of_phases() -> None:
    profile = load_profile("generic")
    with ModbusLine(served(profile, 0)) as line:
        config = MeterConfig(kind="modbus", profile="generic", port=line.path, phases="BCA")
        meter = make_meter(config)
        try:
            reading = await meter.read()
        finally:
            meter.close()
    # L1 is on B, L2 on C, L3 on A.
    assert reading.v == (229.0, 230.0, 231.0)
    assert reading.p_w == (0.0, 2300.0, -1155.0)


async def test_a_silent_phase_of_three_meters() -> None:
    profile = load_profile("pzem-004t")
    devices = filled(profile, 0)
    del devices[2]
    with ModbusLine(devices) as line:
        meter = make_meter(MeterConfig(kind="modbus", profile="pzem-004t", port=line.path))
        try:
            with pytest.raises(BearerError, match="unit 2"):
                await meter.read()
        finally:
            meter.close()


def test_what_is_marked_as_not_known_is_no_number() -> None:
    profile = load_profile("em340")
    words = [[0] * ask.count for ask in profile.asks(1)]
    words[0][0:2] = [0xFFFF, 0x7FFF]
    with pytest.raises(BearerError, match="no numbers"):
        profile.decode(words)
    nan = [0x7FC0, 0]
    sdm = load_profile("sdm630")
    words = [[0] * ask.count for ask in sdm.asks(1)]
    words[1] = nan  # the frequency may be missing
    assert math.isnan(sdm.decode(words).freq_hz)
    words[0][0:2] = nan
    with pytest.raises(BearerError, match="no numbers"):
        sdm.decode(words)


def test_reactive_power_that_a_meter_does_not_tell() -> None:
    profile = load_profile("pzem-004t")
    # 230 V, 10 A, 1840 W (power factor 0.8) at each phase: 1380 var, as positive.
    block = [2300, 10000, 0, 18400, 0, 0, 0, 500]
    reading = profile.decode([block] * 3)
    assert reading.q_var == pytest.approx((1380.0,) * 3)


def test_contradictions() -> None:
    good = TransformerReading((230.0,) * 3, (10.0,) * 3, (2000.0,) * 3, (0.0,) * 3, freq_hz=50.0)
    assert contradictions(good) == []
    three = {"v": (230.0,) * 3, "i": (10.0,) * 3, "p_w": (2000.0,) * 3, "q_var": (0.0,) * 3}
    for change, words in (
        ({"v": (0.0,) * 3, "p_w": (0.0,) * 3}, "no phase has voltage"),
        ({"v": (2300.0, 230.0, 230.0)}, "2300 V at A"),
        ({"v": (230.0, -3.0, 230.0)}, "-3 V at B"),
        ({"i": (10.0, 10.0, 1e6)}, "1e\\+06 A at C"),
        ({"p_w": (2000.0, 2000.0, 5000.0)}, "5000 W at C"),
        ({"freq_hz": 5.0}, "5 Hz"),
    ):
        [found] = contradictions(TransformerReading(**three | change))
        assert words.replace("\\", "") in found
    # One phase without voltage is a blown fuse, no wrong profile.
    dead = TransformerReading((0.0, 230.0, 231.0), (0.0, 5.0, 5.0), (0.0, 9.0, 9.0), (0.0,) * 3)
    assert contradictions(dead) == []


GOOD = """\
[meter]
name = "x"
title = "X"
source = "X's manual"
[line]
baud = 9600
[registers]
function = 4
word_order = "high first"
most = 60
[values]
v = { at = [0, 2, 4], type = "f32" }
i = { at = [6, 8, 10], type = "f32" }
p_w = { at = [12, 14, 16], type = "f32" }
"""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("at = [0, 2, 4]", "at = [0, 2]", "values.v.at needs 3"),
        ("at = [6, 8, 10]", "at = [6, 8, 65535]", "past the last register"),
        ('"f32"', '"f64"', "values.v.type"),
        ("function = 4", "function = 5", "registers.function"),
        ('source = "X\'s manual"', "", "meter.source"),
        ("[line]", "[line", "not a meter profile"),
        ("most = 60", "most = 126", "registers.most"),
    ],
)
def test_a_wrong_profile_says_what_is_wrong(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(GOOD)
    assert load_profile(str(path)).meter.title == "X"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError, match=words):
        load_profile(str(path))


def test_an_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"no meter profile 'sdm360'; known: .*sdm630"):
        load_profile("sdm360")
    with pytest.raises(ConfigError, match="no meter profile"):
        make_meter(MeterConfig(kind="modbus", profile="none", port="/dev/x"))


def test_no_request_asks_for_more_than_the_meter_gives() -> None:
    for name in names():
        profile = load_profile(name)
        asks = profile.asks(7)
        assert all(ask.count <= profile.registers.most for ask in asks)
        assert {ask.unit for ask in asks} == set(range(7, 7 + profile.meter.devices))
