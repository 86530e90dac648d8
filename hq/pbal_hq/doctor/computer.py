"""This computer: disk and clock."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pbal_host import Finding
from pbal_hq.config import Config

_LOW, _LOWEST = 0.15, 0.05  # of the disk
_RUN_S = 10.0


def disk(config: Config) -> Iterator[Finding]:
    """Space and inodes where HQ keeps its files."""
    try:
        room = os.statvfs(config.data)
    except OSError as error:
        yield Finding("disk", "error", f"{config.data}: {error.strerror}", "pbal-hq init makes it")
        return
    free_mb = room.f_bavail * room.f_frsize / 1e6
    share = room.f_bavail / max(1, room.f_blocks)
    inodes = room.f_favail / room.f_files if room.f_files else 1.0
    words = f"{free_mb / 1000:.1f} GB ({share:.0%}) free at {config.data}"
    remedy = "delete what is not HQ's, or give it a larger disk; bus.keep_hours keeps less"
    if free_mb < config.bus.min_free_mb and config.bus.kind == "file":
        words += f": below bus.min_free_mb ({config.bus.min_free_mb}), HQ takes nothing in"
        yield Finding("disk", "error", words, remedy)
    elif share < _LOWEST or inodes < _LOWEST:
        yield Finding("disk", "error", f"{words}, {inodes:.0%} of the inodes", remedy)
    elif share < _LOW or inodes < _LOW:
        yield Finding("disk", "warning", f"{words}, {inodes:.0%} of the inodes", remedy)
    else:
        yield Finding("disk", "ok", words)


def clock() -> Iterator[Finding]:
    """Whether something keeps the clock right; certificates and orders depend on it."""
    if not Path("/run/systemd/system").exists():
        yield Finding("clock", "note", "whether it is kept right cannot be told without systemd")
        return
    try:
        said = subprocess.run(
            ["timedatectl", "show", "--property=NTPSynchronized", "--value"],
            capture_output=True, text=True, timeout=_RUN_S,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        said = ""
    if said == "yes":
        yield Finding("clock", "ok", "synchronised")
    elif said == "no":
        yield Finding("clock", "warning", "not synchronised", "timedatectl set-ntp true")
    else:
        yield Finding("clock", "note", "timedatectl does not say whether it is synchronised")
