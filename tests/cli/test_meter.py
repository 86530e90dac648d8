"""`pbal meter` against a meter on a serial line of this computer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rigs import quick
from rigs.flash import Ran
from rigs.modbus import ModbusLine

from pbal_controller.meters import load_profile


def pbal(*words: str) -> Ran:
    assert quick.shared is not None
    return Ran(*quick.shared.run(["meter", *words], quick.BARE, Path("/"), 100))


def sdm630() -> dict[int, Any]:
    """An SDM630 with all of its registers, as its profile's whole example."""
    example = load_profile("sdm630").example[1]
    words = dict.fromkeys(range(250), 0)
    for first, block in example.registers.items():
        words |= {int(first, 0) + k: word for k, word in enumerate(block)}
    return {1: {4: {0: [words[k] for k in range(250)]}}}


def test_which_profiles_fit() -> None:
    with ModbusLine(sdm630()) as line:
        done = pbal("probe", "--port", line.path, "--json")
    assert done.code == 0, done.err
    said = done.json
    # The two Eastrons have one map: nothing in it tells them apart.
    assert said["fits"] == ["sdm630", "sdm72d-m-2"]
    [one] = [item for item in said["probed"] if item["profile"] == "sdm630"]
    assert one["reading"]["v"] == [231.5, 229.0, 230.25]
    assert any("C exports 6643 W" in note for note in one["notes"])


def test_a_profile_that_does_not_fit() -> None:
    with ModbusLine(sdm630()) as line:
        done = pbal("probe", "--port", line.path, "--profile", "em340")
        assert done.code == 7
        assert "em340 does not fit" in done.err
        assert "generic.toml" in done.err
        done = pbal("probe", "--port", line.path, "--profile", "sdm630", "--phases", "CAB")
    assert done.code == 0
    # L1, with 231.5 V, is on C.
    assert [row.split()[1] for row in done.out.splitlines()[4:7]] == ["229", "230.25", "231.5"]


def test_nobody_there() -> None:
    with ModbusLine(sdm630()) as line:
        done = pbal("probe", "--port", line.path, "--profile", "sdm630", "--unit", "9")
    assert done.code == 7
    assert "Nobody answers at unit 9" in done.err
    assert "--unit" in done.err


def test_wrong_words() -> None:
    done = pbal("probe", "--port", "/dev/nowhere", "--profile", "sdm630")
    assert done.code == 10
    assert "does not open" in done.err
    done = pbal("probe", "--port", "/dev/nowhere", "--profile", "sdm63")
    assert done.code == 3
    assert "known: " in done.err
    done = pbal("probe", "--port", "/dev/nowhere", "--parity", "X")
    assert done.code == 3
    done = pbal("probe", "--port", "/dev/nowhere", "--phases", "AAB")
    assert done.code == 3
    for said in (done.err, done.out):
        assert "Traceback" not in said


@pytest.mark.parametrize("broken", ["meter = 1", "[meter]\nname = 'a b'"])
def test_a_file_of_ones_own(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(broken)
    done = pbal("show", str(path))
    assert done.code == 3
    assert "mine.toml" in done.err
    listed = pbal("list", "--json").json
    assert {"name", "source", "line"} <= set(listed[0])
    shown = pbal("show", "em340").out
    assert "Version 2 Revision 17" in shown
    assert "0x001E" in shown
