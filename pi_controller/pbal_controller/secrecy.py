"""Keeps keys out of files they do not belong in: core dumps, and files that others may read."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
from pathlib import Path

_PR_SET_DUMPABLE = 4  # linux/prctl.h


def no_core_dump() -> None:
    """From now on this process leaves no core file, and no other program of its user may read its
    memory. Called before keys are read.

    The limit holds for core files; PR_SET_DUMPABLE also for programs that the kernel pipes a dump
    to (core(5)), and for ptrace(2). Neither keeps memory out of swap: see docs/security.md.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Elsewhere than on Linux there is no such call.
    with contextlib.suppress(OSError, AttributeError, MemoryError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def private_umask() -> None:
    """Files of this process are for its user alone, as under systemd's UMask=0077."""
    os.umask(0o077)


def keep_private(path: Path) -> None:
    """Make a file that may exist already, and what SQLite keeps beside it, for its owner alone.

    A file of another user is left as it is: only its owner may change it.
    """
    for name in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            mode = name.stat().st_mode & 0o777
            if mode & 0o077:
                name.chmod(mode & 0o700)
