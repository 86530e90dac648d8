"""Runs a program and buries what its dead children leave: `python -m pbal_engines.reaper WORDS`.

Storm's Supervisor starts a worker anew only when all of the old one's processes are gone, and they
are not while nobody has asked how they ended. That is init's business; in a container there may be
none.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from pbal_engines.service import die_with_parent

_PR_SET_CHILD_SUBREAPER = 36


def main(words: Sequence[str]) -> int:
    """Until the program ends; its exit code."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = subprocess.Popen(words, preexec_fn=die_with_parent)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _: os.kill(child.pid, got))
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            return os.waitstatus_to_exitcode(status) % 256


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
