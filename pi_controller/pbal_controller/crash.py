"""Crash injection for the fault tests. Never set `PBAL_CRASH_AT` on a real controller.

`PBAL_CRASH_AT=journaled|sent|acked` makes the process kill itself (SIGKILL: no cleanup, no
flush) the first time it reaches that point of carrying out a command.
"""

from __future__ import annotations

import os
import signal

POINTS = ("journaled", "sent", "acked")


def crash_point(name: str) -> None:
    """Kill the process here if PBAL_CRASH_AT names this point."""
    if os.environ.get("PBAL_CRASH_AT") == name:
        os.kill(os.getpid(), signal.SIGKILL)
