"""What every process of the street is given: its name, its end, its timers and its memory."""

from __future__ import annotations

import ctypes
import mmap
import signal

HAL_FIRST_FD = 10
_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_TIMERSLACK = 29
_libc = ctypes.CDLL(None, use_errno=True)


def name_process(name: str) -> None:
    """Gives this process a short name in process lists (Linux)."""
    _libc.prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0)


def die_with_parent() -> None:
    """Asks the kernel to kill this process when its parent ends (Linux)."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def precise_timers() -> None:
    """Lets timers of this process fire within a microsecond instead of 50 (Linux)."""
    _libc.prctl(_PR_SET_TIMERSLACK, 1, 0, 0, 0)


def mapped(fd: int, size: int, offset: int = 0) -> int:
    """Address of a shared mapping of `fd`; the mapping lives as long as the process."""
    area = mmap.mmap(fd, size, offset=offset)
    _mappings.append(area)
    return ctypes.addressof(ctypes.c_char.from_buffer(area))


_mappings: list[mmap.mmap] = []
