"""The watchdog and the timers of the ESP32 port's `machine` module."""

import struct
import time

import _chip
import hwmap
from micropython import const

_TIMED_US = const(600000000)


class WDT:
    us = 0  # one chip has one

    def __init__(self, id=0, timeout=5000):
        if timeout <= 0:
            raise ValueError("WDT timeout too short")
        WDT.us = timeout * 1000
        _chip.emit(hwmap.EV_WDT, 0, 0, timeout)
        self.feed()

    @staticmethod
    def grant(us):
        if WDT.us:
            struct.pack_into("<Q", _chip.page, hwmap.WDT_DEADLINE_US, time.ticks_us() + us)

    def feed(self):
        import gc

        WDT.grant(WDT.us)
        _chip.add_u32(hwmap.WDT_FEEDS, 1)
        used = gc.mem_alloc()
        _chip.put_u32(hwmap.HEAP_NOW, used)
        if used > _chip.u32(hwmap.HEAP_PEAK):
            _chip.put_u32(hwmap.HEAP_PEAK, used)


class Timer:
    """Fires while the chip is at its prompt, and in `machine.idle`: the interpreter that runs
    here cannot be interrupted in the middle of a program. So a program that starts one has ten
    minutes until the watchdog expires, as long as boot.py's timer feeds it without activity.
    """

    ONE_SHOT = 0
    PERIODIC = 1
    _running = {}

    def __new__(cls, id=-1, **kw):
        if not -1 <= id <= 3:
            raise ValueError("invalid Timer number")
        self = cls._running.get(id) or object.__new__(cls)
        self._id = id
        return self

    def __init__(self, id=-1, **kw):
        if kw:
            self.init(**kw)

    def init(self, *, mode=PERIODIC, freq=-1, period=-1, callback=None):
        self._ms = int(1000 / freq) if freq > 0 else period
        if self._ms <= 0:
            raise ValueError("needs a period or a frequency")
        self._mode = mode
        self._callback = callback
        self._due = time.ticks_add(time.ticks_ms(), self._ms)
        Timer._running[self._id] = self
        WDT.grant(_TIMED_US)

    def deinit(self):
        if Timer._running.get(self._id) is self:
            del Timer._running[self._id]
            WDT.grant(WDT.us)

    @classmethod
    def fire(cls):
        """Calls what is due by the chip's clock."""
        now = time.ticks_ms()
        for timer in list(cls._running.values()):
            if time.ticks_diff(now, timer._due) < 0:
                continue
            timer._due = time.ticks_add(now, timer._ms)
            if timer._mode == cls.ONE_SHOT:
                timer.deinit()
            if timer._callback:
                timer._callback(timer)
