"""A timer descriptor for epoll: microseconds where epoll's own timeout has milliseconds."""

from __future__ import annotations

import contextlib
import ctypes
import os
import time

_CLOCK_MONOTONIC = 1
_TFD_NONBLOCK = 0o4000
_TFD_CLOEXEC = 0o2000000
_TFD_TIMER_ABSTIME = 1
_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = (("sec", ctypes.c_long), ("nsec", ctypes.c_long))


class _Itimerspec(ctypes.Structure):
    _fields_ = (("interval", _Timespec), ("value", _Timespec))


class TimerFd:
    """Fires once at an absolute CLOCK_MONOTONIC time in microseconds."""

    def __init__(self) -> None:
        self.fd: int = _libc.timerfd_create(_CLOCK_MONOTONIC, _TFD_NONBLOCK | _TFD_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._spec = _Itimerspec()
        self._armed = 0.0

    def at_us(self, t_us: float) -> None:
        """Arms the timer; a time in the past fires at once."""
        if t_us == self._armed:
            return
        self._armed = t_us
        ns = max(int(t_us * 1000), time.monotonic_ns() + 1000)
        self._spec.value.sec, self._spec.value.nsec = divmod(ns, 1_000_000_000)
        _libc.timerfd_settime(self.fd, _TFD_TIMER_ABSTIME, ctypes.byref(self._spec), None)

    def clear(self) -> None:
        """Clears the event of a timer that fired."""
        self._armed = 0.0
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 8)
