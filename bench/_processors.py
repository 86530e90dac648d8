"""Processor time of processes, and of the whole computer."""

from __future__ import annotations

import os
import time
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


def _cpu_clock(pid: int) -> int:
    """The clock of a process's processor time, finer than /proc (clock_getcpuclockid(3))."""
    return (~pid << 3) | 2


def tree_cpu_s(pid: int) -> float:
    """Processor time of a process and all that it started, with those that are gone."""
    total, left = 0.0, [pid]
    while left:
        number = left.pop()
        try:
            fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
            children = Path(f"/proc/{number}/task/{number}/children").read_text()
            own = time.clock_gettime(_cpu_clock(number))
        except OSError:
            continue  # it ended meanwhile: its parent has its time
        total += own + sum(map(int, fields[13:15])) / _TICK
        left += map(int, children.split())
    return total


def busy_s() -> float:
    """Of everything on this computer so far, proc(5): all but idle and waiting."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:9]
    user, nice, system, _, _, irq, softirq, _ = map(int, fields)
    return (user + nice + system + irq + softirq) / _TICK
