"""A stand-in for the ESP32's `machine`: one home's relays, sensors, meter and line, in real time.

`house` is the world; tests change it (a welded contact, a dead phase) and look at it.
"""

import io
import math
import struct
import time

from pbal_protocol.loops import crc16

PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5


# The house's own clock: unlike the chip's it does not wrap within minutes.
mono_us = getattr(time, "mono_us", None) or time.ticks_us
_VIRTUAL = hasattr(time, "mono_us")
if _VIRTUAL:
    import clockwork  # noqa: F401
_CONVERSION_US = 45  # what a conversion takes on the chip


class House:
    """Contacts follow their coils after a delay; the output follows the closed contact."""

    def __init__(self):
        self.volts = [0.0, 231.0, 229.0, 233.0]
        self.amps = 3.0
        self.wdt_ms = 0
        self.coils = {18: 1, 19: 2, 23: 3}
        self.level = {}
        self.changed_us = {}
        self.welded = 0
        self.stuck_open = 0
        self.delay_us = 6000
        self.shorts = 0
        self.closings = 0  # of held coils
        self.lit_us = 0  # one of them was driven for so long, once all are off
        self.cause = PWRON_RESET
        self.resets = 0
        self.fed = 0
        self.timer = None  # what machine.Timer(0) calls
        self.meter_silent = False
        self.meter_hz = 50.0
        self.de = 0
        self.de_errors = 0
        self.broken_uarts = ()
        self.broken_adc = False  # there is no converter
        self.failing_adc = False  # there is one, and it fails
        self.rails = {}  # ADC channel -> what it hangs at, in uV

    def count(self, x):
        """A held coil was switched."""
        if x:
            self.closings += 1
            self.lit_us -= mono_us()
        else:
            self.lit_us += mono_us()

    def fall(self):
        """A reset of the chip: held coils fall."""
        for pin in self.coils:
            Pin(pin, value=0)

    def closed(self):
        now = mono_us()
        out = []
        for pin, phase in self.coils.items():
            level = self.level.get(pin, 0)
            if now - self.changed_us.get(pin, now) < self.delay_us:
                level = 1 - level if pin in self.changed_us else level
            if (level and phase != self.stuck_open) or phase == self.welded:
                out.append(phase)
        if len(out) > 1:
            self.shorts += 1
        return out

    def out_v(self):
        on = self.closed()
        return self.volts[on[0]] if on else 0.0


house = House()


class ResetError(BaseException):
    pass


def reset():
    house.resets += 1
    raise ResetError


def reset_cause():
    return house.cause


def unique_id():
    return b"\x01\x02\x03\x04\x05\x06"


class Pin:
    IN, OUT, PULL_UP = 1, 3, 2

    def __init__(self, number, mode=-1, pull=-1, value=None):
        self.number = number
        if value is not None:
            self.value(value)

    def value(self, x=None):
        if x is None:
            return house.level.get(self.number, 1)
        if house.level.get(self.number, 0) != x:
            if self.number in house.coils:
                house.count(x)
            house.changed_us[self.number] = mono_us()
        house.level[self.number] = x
        if self.number in house.coils:
            house.closed()
            if sum(house.level.get(p, 0) for p in house.coils) > 1:
                house.shorts += 1


class ADC:
    ATTN_0DB, ATTN_2_5DB, ATTN_6DB, ATTN_11DB = 0, 1, 2, 3
    _CH = {35: 0, 36: 1, 39: 2, 34: 3}

    def __init__(self, pin, atten=0):
        self._ch = self._CH[pin.number]
        if house.broken_adc:
            raise OSError(-258, "ESP_ERR_INVALID_ARG")

    def read_uv(self):
        if house.failing_adc:
            raise OSError(-263, "ESP_ERR_TIMEOUT")
        if _VIRTUAL:
            time.sleep_us(_CONVERSION_US)
        if self._ch in house.rails:
            return house.rails[self._ch]
        phase = self._ch or (house.closed() or [0])[0]
        w = 2 * math.pi * 50e-6 * (mono_us() % 20000)
        peak = house.volts[phase] * math.sqrt(2)
        return int(1300000 + peak * math.sin(w + phase * 2.094) * 2500)


class UART(io.IOBase):
    made = {}

    def __init__(
        self,
        uart_id,
        baudrate=9600,
        bits=8,
        parity=None,
        stop=1,
        tx=None,
        rx=None,
        txbuf=0,
        rxbuf=0,
        timeout=0,
        timeout_char=0,
    ):
        # As the ESP-IDF's driver has it: buffers are larger than the FIFO, or there is none.
        if rxbuf <= 128 or 0 < txbuf <= 128 or uart_id in house.broken_uarts:
            raise OSError(-1, "ESP_FAIL")
        self.id = uart_id
        self.rx = b""
        self.tx = b""
        self.baud = baudrate
        self.parity = parity
        self.end = time.ticks_us()
        self.inits = 0
        self.line = None  # what brings bytes by itself, see line.py
        UART.made[uart_id] = self

    def init(self, baudrate, bits, parity, stop, *, txbuf=0, rxbuf=0):
        self.rx = b""
        self.inits += 1

    def any(self):
        if self.line:
            self.line.catch_up()
        return len(self.rx)

    def due_us(self):
        return self.line.due_us() if self.line else 1000000000

    def readinto(self, buf):
        n = min(len(buf), len(self.rx))
        if not n:
            return None
        buf[:n] = self.rx[:n]
        self.rx = self.rx[n:]
        return n

    def write(self, data):
        data = bytes(data)
        self.end = time.ticks_add(time.ticks_us(), len(data) * 11000000 // self.baud)
        if self.id == 1:
            self._meter(data)
        else:
            if not house.level.get(4, 0):
                house.de_errors += 1
            self.tx += data
            if self.line:
                self.line.transmitted(data)
        return len(data)

    def txdone(self):
        return time.ticks_diff(time.ticks_us(), self.end) >= 0

    def ioctl(self, request, arg):
        if request != 3:  # no file descriptor: poll asks this object
            return -1
        return arg & 4 | (arg & 1 if self.any() else 0)

    def _meter(self, data):
        if house.meter_silent or house.out_v() < 80:
            return
        if data[1] == 4:
            v = house.out_v()
            a = int(house.amps * 1000)
            p = int(v * house.amps * 10)
            body = struct.pack(
                ">BBB10H",
                data[0],
                4,
                20,
                int(v * 10),
                a & 0xFFFF,
                a >> 16,
                p & 0xFFFF,
                p >> 16,
                38,
                0,
                int(house.meter_hz * 10),
                100,
                0,
            )
            self.rx += body + struct.pack("<H", crc16(body))


class WDT:
    def __init__(self, id=0, timeout=5000):
        house.wdt_ms = timeout

    def feed(self):
        house.fed += 1


class Timer:
    PERIODIC = 1

    def __init__(self, n):
        pass

    def init(self, period=0, mode=0, callback=None):
        house.timer = callback

    def deinit(self):
        house.timer = None
