"""The computer itself: disks, wear, clock, memory, heat and supply."""

import math
import os
from collections.abc import Iterator
from pathlib import Path

from pbal_controller.journal import clock_is_set
from pbal_host import Finding

from .system import Machine

_MB = 1 << 20
#: Free space: a journal of a large site grows by some MB a day.
_DISK_ERROR_MB, _DISK_WARNING_MB, _DISK_SHARE = 50, 300, 0.05
_MEMORY_ERROR_MB, _MEMORY_SHARE = 30, 0.1
_HOT_C = 80.0


def disk(machine: Machine, folder: Path) -> Iterator[Finding]:
    """Space on the disk of a folder (the journal's), and whether it can be written."""
    try:
        found = machine.statvfs(folder)
    except OSError as exc:
        yield Finding(
            "disk", "error", f"{folder}: {exc.strerror}", "Create the folder, or mount its disk."
        )
        return
    if found.f_flag & os.ST_RDONLY:
        yield Finding(
            "disk", "error", f"{folder}: mounted read-only",
            "Look into dmesg for errors of the card; a card that turned read-only is worn out: "
            "replace it and restore a backup.",
        )  # fmt: skip
        return
    free_mb = found.f_bavail * found.f_frsize / _MB
    share = found.f_bavail / found.f_blocks if found.f_blocks else 0.0
    words = f"{folder}: {free_mb:.0f} MB free ({share:.0%})"
    remedy = (
        "Make room (journalctl --vacuum-size=100M, old /opt/pbal-* folders), or lower "
        "journal.keep_days."
    )
    if free_mb < _DISK_ERROR_MB:
        yield Finding("disk", "error", words + "; nothing is ordered once it is full", remedy)
    elif free_mb < _DISK_WARNING_MB or share < _DISK_SHARE:
        yield Finding("disk", "warning", words, remedy)
    elif found.f_files and found.f_favail / found.f_files < _DISK_SHARE:
        yield Finding("disk", "warning", f"{folder}: few inodes are free", remedy)
    else:
        yield Finding("disk", "ok", words)


def wear(machine: Machine) -> Iterator[Finding]:
    """What cards report of their wear, and errors that the file systems noticed.

    eMMC since 5.0 has life_time and pre_eol_info (JESD84-B51, EXT_CSD 267..269); SD cards have not.
    """
    replace = "Back up (pbal backup create) and replace it."
    for card in sorted(machine.path("/sys/block").glob("mmcblk*")):
        if "boot" in card.name or "rpmb" in card.name:
            continue
        kind = machine.text(card / "device/type")
        numbers = [int(x, 0) for x in machine.text(card / "device/life_time").split() if _hex(x)]
        end = machine.text(card / "device/pre_eol_info")
        worst = max(numbers, default=0)
        if end in ("0x02", "0x03") or worst >= 0x0B:
            yield Finding("wear", "error", f"{card.name}: at the end of its life", replace)
        elif worst >= 9:
            yield Finding("wear", "warning", f"{card.name}: {worst * 10} % worn", replace)
        elif worst:
            yield Finding("wear", "ok", f"{card.name}: at most {worst * 10} % worn")
        else:
            yield Finding("wear", "note", f"{card.name}: this {kind or 'card'} does not tell wear")
    for system in sorted(machine.path("/sys/fs/ext4").glob("*/errors_count")):
        name, count = system.parent.name, machine.text(system)
        if count not in ("", "0"):
            yield Finding(
                "wear", "error", f"{name}: the file system noticed {count} errors",
                f"Back up, check it (fsck /dev/{name} while it is not mounted), replace the card.",
            )  # fmt: skip


def _hex(text: str) -> bool:
    try:
        int(text, 0)
    except ValueError:
        return False
    return True


def clock(machine: Machine) -> Iterator[Finding]:
    """Whether the time may be sent to homes, and whether a service keeps it set."""
    now = machine.wall()
    if not clock_is_set(now):
        yield Finding(
            "clock", "error", "the clock is not set: nothing is ordered",
            "Set it (sudo timedatectl set-time), and give the Pi a network or a clock with a "
            "battery.",
        )  # fmt: skip
        return
    synced = machine.run(("timedatectl", "show", "-p", "NTPSynchronized", "--value"))
    battery = machine.path("/sys/class/rtc/rtc0").exists()
    if (synced or "").strip() == "yes" or machine.path(
        "/run/systemd/timesync/synchronized"
    ).exists():
        yield Finding("clock", "ok", "set and kept by the network")
    elif battery:
        yield Finding(
            "clock", "note", "not kept by the network; there is a clock with a battery",
            "Compare it with a watch at every visit.",
        )  # fmt: skip
    else:
        yield Finding(
            "clock", "warning", "nothing keeps the time: no network time, no clock with a battery",
            "Enable systemd-timesyncd, or fit a clock with a battery; after a power cut nothing "
            "is ordered until the time is set.",
        )  # fmt: skip


def memory(machine: Machine) -> Iterator[Finding]:
    """What is left of the memory, and whether programs were killed for lack of it."""
    told = {}
    for line in machine.text("/proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        number = rest.split()[:1]
        if number and number[0].isdigit():
            told[name] = int(number[0]) * 1024
    total, left = told.get("MemTotal", 0), told.get("MemAvailable", 0)
    if not total:
        yield Finding("memory", "note", "this system does not tell")
        return
    words = f"{left / _MB:.0f} of {total / _MB:.0f} MB available"
    remedy = "See what takes it (ps aux --sort=-rss | head), and restart that."
    if left < _MEMORY_ERROR_MB * _MB:
        yield Finding("memory", "error", words, remedy)
    elif left / total < _MEMORY_SHARE:
        yield Finding("memory", "warning", words, remedy)
    else:
        yield Finding("memory", "ok", words)
    for line in machine.text("/proc/vmstat").splitlines():
        if line.startswith("oom_kill ") and line.split()[1] != "0":
            count = line.split()[1]
            yield Finding(
                "memory", "warning", f"{count} programs were killed for lack of memory since boot",
                "journalctl -k | grep -i oom  says which.",
            )  # fmt: skip


def heat_and_supply(machine: Machine) -> Iterator[Finding]:
    """Temperature, and what a Raspberry Pi's firmware reports of its supply (get_throttled)."""
    hottest = max(
        (
            int(text) / 1000
            for zone in machine.path("/sys/class/thermal").glob("thermal_zone*/temp")
            if (text := machine.text(zone)).lstrip("-").isdigit()
        ),
        default=math.nan,
    )
    if hottest >= _HOT_C:
        yield Finding(
            "heat", "warning", f"{hottest:.0f} degrees Celsius",
            "Give the Pi air; it slows itself down from 80 degrees on.",
        )  # fmt: skip
    elif not math.isnan(hottest):
        yield Finding("heat", "ok", f"{hottest:.0f} degrees Celsius")
    told = machine.text("/sys/devices/platform/soc/soc:firmware/get_throttled")
    try:
        bits = int(told, 16)
    except ValueError:
        return
    if bits & 0x1:
        level, words = "error", "the supply voltage is too low now"
    elif bits & 0x10000:
        level, words = "warning", "the supply voltage was too low since boot"
    else:
        yield Finding("supply", "ok", "no low voltage since boot")
        return
    remedy = "Use the Pi's own power supply and a short cable: low voltage damages cards."
    yield Finding("supply", "error" if level == "error" else "warning", words, remedy)
