"""What stands in for a part of the board that is not there: it never works, and never raises.

A node whose converter or port cannot be opened starts all the same, reports the fault, answers
whoever can reach it, and never switches: nothing can be proven without the part.
"""

import io

from micropython import const

_POLL = const(3)  # MP_STREAM_POLL


class NoAdc:
    """Reads ground, which no sensor of a board idles at: sense.py takes it for a broken one."""

    def read_uv(self) -> int:
        return 0


class NoPort(io.IOBase):
    """A serial port that swallows what is sent and hears nothing."""

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
