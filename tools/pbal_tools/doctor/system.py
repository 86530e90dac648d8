"""The computer that the doctor checks."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_RUN_S = 10.0


def run_command(words: Sequence[str]) -> str | None:
    """What a program prints; None where it is missing, fails or takes too long."""
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=_RUN_S, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


@dataclass(frozen=True)
class Machine:
    """The computer, as the checks see it; tests put other files and programs in its place.

    `root` stands before /sys, /proc, /run and /dev.
    """

    root: Path = Path("/")
    run: Callable[[Sequence[str]], str | None] = run_command
    statvfs: Callable[[Path], Any] = os.statvfs
    wall: Callable[[], float] = field(default=time.time)

    def path(self, name: str) -> Path:
        """A path of this computer."""
        return self.root / name.lstrip("/")

    def text(self, path: str | Path) -> str:
        """The content of a small file, stripped; empty where there is none."""
        where = path if isinstance(path, Path) else self.path(path)
        try:
            with where.open(encoding="utf-8", errors="replace") as file:
                return file.read(65536).strip()
        except OSError:
            return ""
