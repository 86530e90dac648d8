"""`pbal doctor` on the computer: each finding, on one whose files and programs are made up."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace as N
from typing import Any

import pytest
from rigs.doctor import levels, machine, put

from pbal_tools.doctor import machine as computer
from pbal_tools.doctor.system import Machine
from pbal_tools.doctor.versions import versions


def space(free_mb: int, total_mb: int, flag: int = 0, inodes: int = 90) -> Any:
    return lambda _: N(f_flag=flag, f_bavail=free_mb, f_blocks=total_mb, f_frsize=1 << 20,
                       f_files=100, f_favail=inodes)  # fmt: skip


@pytest.mark.parametrize(
    ("said", "level", "words"),
    [
        ({"current": "1.0", "trial": None, "last": None}, "ok", "1.0 is in use"),
        ({"current": "2.0", "trial": "2.0", "last": None}, "note", "2.0 is on trial"),
        ({"current": "1.0", "trial": None, "last": {
            "version": "2.0", "back": "1.0", "kept": False, "why": "it ended"}},
         "warning", "2.0 was taken back (it ended)"),
        ({"current": "2.0", "trial": None, "last": {
            "version": "2.0", "back": "1.0", "kept": True, "why": ""}}, "ok", "2.0 is in use"),
        ({}, "warning", "not understood"),
    ],
)  # fmt: skip
def test_versions(tmp_path: Path, said: Any, level: str, words: str) -> None:
    answers = {"/usr/lib/pbal/pbal-slots status": json.dumps(said)}
    [found] = versions(machine(tmp_path, answers))
    assert found.level == level
    assert words in found.words
    assert found.remedy or level == "ok"
    assert list(versions(machine(tmp_path))) == [], "installed without the package"


@pytest.mark.parametrize(
    ("statvfs", "level", "words"),
    [
        (space(9000, 16000), "ok", "9000 MB free"),
        (space(200, 1000), "warning", "200 MB free"),
        (space(400, 16000), "warning", "(2%)"),
        (space(20, 16000), "error", "nothing is ordered"),
        (space(9000, 16000, os.ST_RDONLY), "error", "read-only"),
        (space(9000, 16000, 0, 2), "warning", "inodes"),
    ],
)
def test_disk(tmp_path: Path, statvfs: Any, level: str, words: str) -> None:
    [found] = computer.disk(machine(tmp_path, statvfs=statvfs), Path("/var/lib/pbal"))
    assert (found.level, words in found.words) == (level, True), found


def test_a_disk_that_is_not_there(tmp_path: Path) -> None:
    assert levels(computer.disk(Machine(), tmp_path / "none")) == [("disk", "error")]


@pytest.mark.parametrize(
    ("files", "level", "words"),
    [
        ({"type": "MMC", "life_time": "0x01 0x02", "pre_eol_info": "0x01"}, "ok", "20 % worn"),
        ({"type": "MMC", "life_time": "0x09 0x02", "pre_eol_info": "0x01"}, "warning", "90 %"),
        ({"type": "MMC", "life_time": "0x0b 0x0b", "pre_eol_info": "0x01"}, "error", "end of"),
        ({"type": "MMC", "life_time": "0x01 0x01", "pre_eol_info": "0x03"}, "error", "end of"),
        ({"type": "SD"}, "note", "this SD does not tell wear"),
    ],
)
def test_wear(tmp_path: Path, files: dict[str, str], level: str, words: str) -> None:
    for name, text in files.items():
        put(tmp_path, f"/sys/block/mmcblk0/device/{name}", text + "\n")
    put(tmp_path, "/sys/block/mmcblk0boot0/device/type", "MMC")
    put(tmp_path, "/sys/fs/ext4/mmcblk0p2/errors_count", "0\n")
    [found] = computer.wear(machine(tmp_path))
    assert (found.level, words in found.words) == (level, True), found


def test_a_file_system_with_errors(tmp_path: Path) -> None:
    put(tmp_path, "/sys/fs/ext4/mmcblk0p2/errors_count", "3\n")
    assert levels(computer.wear(machine(tmp_path))) == [("wear", "error")]


def test_clock(tmp_path: Path) -> None:
    synced = {"timedatectl show": "yes\n"}
    assert levels(computer.clock(machine(tmp_path, synced))) == [("clock", "ok")]
    assert levels(computer.clock(machine(tmp_path))) == [("clock", "warning")]
    put(tmp_path, "/sys/class/rtc/rtc0/name")
    assert levels(computer.clock(machine(tmp_path, {"timedatectl show": "no\n"}))) == [
        ("clock", "note")
    ]
    assert levels(computer.clock(machine(tmp_path, synced, now=86400.0))) == [("clock", "error")]


@pytest.mark.parametrize(
    ("left", "level"), [(500_000, "ok"), (80_000, "warning"), (20_000, "error")]
)
def test_memory(tmp_path: Path, left: int, level: str) -> None:
    put(tmp_path, "/proc/meminfo", f"MemTotal:  1000000 kB\nMemAvailable:  {left} kB\n")
    put(tmp_path, "/proc/vmstat", "pgfault 7\noom_kill 0\n")
    assert levels(computer.memory(machine(tmp_path))) == [("memory", level)]
    put(tmp_path, "/proc/vmstat", "pgfault 7\noom_kill 2\n")
    assert levels(computer.memory(machine(tmp_path)))[1] == ("memory", "warning")


def test_heat_and_supply(tmp_path: Path) -> None:
    put(tmp_path, "/sys/class/thermal/thermal_zone0/temp", "48300\n")
    told = put(tmp_path, "/sys/devices/platform/soc/soc:firmware/get_throttled", "0\n")
    m = machine(tmp_path)
    assert levels(computer.heat_and_supply(m)) == [("heat", "ok"), ("supply", "ok")]
    put(tmp_path, "/sys/class/thermal/thermal_zone1/temp", "83000\n")
    told.write_text("50005")
    assert levels(computer.heat_and_supply(m)) == [("heat", "warning"), ("supply", "error")]
    told.write_text("50000")
    assert levels(computer.heat_and_supply(m))[1] == ("supply", "warning")
