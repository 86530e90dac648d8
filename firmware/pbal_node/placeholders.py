"""Placeholders for a part of the board that is missing: they never work, and never raise.

A node whose converter or port cannot be opened starts all the same, reports the fault, answers
where it can be reached, and never switches: nothing can be proven without the part.
"""

import io

from micropython import const

_POLL = const(3)  # MP_STREAM_POLL


class NoAdc:
    """Reads 0 V, at which no sensor of a board idles: sense.py takes it for a broken one."""

    def read_uv(self) -> int:
        return 0


class NoPort(io.IOBase):
    """A serial port that discards what is sent and receives nothing."""

    def init(self, *args, **how) -> None:
        pass

    def any(self) -> int:
        return 0

    def readinto(self, buf, nbytes=-1):
        return None

    def write(self, buf) -> int:
        return len(buf)

    def txdone(self) -> bool:
        return True

    def ioctl(self, request, arg) -> int:
        return arg & 4 if request == _POLL else -1
