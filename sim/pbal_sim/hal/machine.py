"""The part of the ESP32 port's `machine` module that the node's firmware uses.

Names, signatures and meanings follow the MicroPython documentation of the ESP32 port.
Pins, UARTs, converter and watchdog reach the simulated hardware through `_chip`; the watchdog and
the timers are in _timers.py.
"""

import io
import select
import struct
import time

import _chip
import hwmap
from _adc import sample
from _timers import WDT, Timer  # noqa: F401  # both are names of `machine`
from micropython import const

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5

# Per chip: GPIOs that exist, those without an output driver, those of ADC1 (data sheets).
_GPIOS = (
    (0b1111111100001110111111111111111111111111, 0b11111111 << 32, 0b1111111100000000 << 24),
    (0b1111111111111111111111100001111111111111111111111, 0, 0b11111111110),
)


def _is(table, pin):
    return _GPIOS[_chip.page[hwmap.CHIP]][table] >> pin & 1


_FIFO = const(128)
_STREAM_POLL = const(3)
_STREAM_TIMEOUT = const(6)
_STREAM_FILENO = const(10)


def reset():
    _chip.emit(hwmap.EV_RESET)
    _chip.freeze()


def reset_cause():
    return _chip.page[hwmap.CAUSE]


def unique_id():
    return bytes(memoryview(_chip.page)[hwmap.UID : hwmap.UID + 6])


def freq(hz=None):
    return 160000000


def idle():
    Timer.fire()
    time.sleep_us(100)


soft_reset = reset


class Pin:
    IN = 1
    OUT = 3
    OPEN_DRAIN = 7
    PULL_DOWN = 1
    PULL_UP = 2
    IRQ_FALLING = 2
    IRQ_RISING = 1
    _all = {}
    radio = None  # what a pin of the radio calls, see _spi

    def __new__(cls, pin, *args, **kw):
        if isinstance(pin, Pin):
            return pin
        if not 0 <= pin < hwmap.PINS or not _is(0, pin):
            raise ValueError("invalid pin")
        self = cls._all.get(pin)
        if self is None:
            self = object.__new__(cls)
            self._pin = pin
            self._mode = cls.IN
            self._level = 0
            self._watch = _chip.page[hwmap.WATCH + pin]
            cls._all[pin] = self
        return self

    def __init__(self, pin, mode=-1, pull=-1, *, value=None, drive=None, hold=None):
        if pin is not self:
            self.init(mode, pull, value=value)

    def init(self, mode=-1, pull=-1, *, value=None, drive=None, hold=None):
        if mode == Pin.OUT or mode == Pin.OPEN_DRAIN:
            if _is(1, self._pin):
                raise ValueError("pin can only be input")
            # The level is set before the driver is enabled: no glitch.
            self._drive(self._level if value is None else (1 if value else 0), True)
            self._mode = mode
        elif mode == Pin.IN:
            self._drive(0, self._mode != Pin.IN)
            self._mode = mode
        elif value is not None:
            self.value(value)

    def _drive(self, level, force=False):
        if level == self._level and not force:
            return
        changed = level != self._level
        watch = self._watch
        contact = changed and watch == hwmap.WATCH_CONTACT
        if contact and _chip.cut(hwmap.CUT_PIN):
            _chip.stop()
        self._level = level
        if watch == hwmap.WATCH_RADIO:
            Pin.radio(self._pin, level)
        elif watch == hwmap.WATCH_DE:
            _uart_event(hwmap.LINK_RS485, hwmap.EV_PIN, self._pin, level)
        elif watch:
            _chip.emit(hwmap.EV_PIN, self._pin, level)
        if contact and _chip.cut(hwmap.CUT_PIN_DONE):
            _chip.stop()

    def value(self, x=None):
        if x is None:
            if self._mode == Pin.IN:
                pin = self._pin
                return (_chip.page[hwmap.PIN_IN + (pin >> 3)] >> (pin & 7)) & 1
            return self._level
        if self._mode != Pin.IN:
            self._drive(1 if x else 0)
        else:
            self._level = 1 if x else 0

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    def irq(self, handler=None, trigger=3, wake=None):
        return None


_links = {}
_tx = bytearray(16 + 512)


def _uart_event(link, kind, a, b, c=0):
    wire = _links.get(link)
    if wire is not None:
        struct.pack_into(hwmap.EVENT_FORMAT, _tx, 0, kind, a, b, c, time.ticks_us())
        wire.write(_tx, 0, 16)


class UART(io.IOBase):
    INV_TX = 1
    INV_RX = 2

    def __init__(self, uart_id, baudrate=115200, **kw):
        if not 0 <= uart_id <= 2:
            raise ValueError("UART(%d) does not exist" % uart_id)
        self._id = uart_id
        self._link = -1
        self._file = None
        self._bits = 8
        self._parity = None
        self._stop = 1
        self._timeout = 0
        self._tx_end = time.ticks_us()
        self._poll = select.poll()
        self.init(baudrate, **kw)

    def init(
        self,
        baudrate=115200,
        bits=8,
        parity=None,
        stop=1,
        *,
        tx=None,
        rx=None,
        rts=None,
        cts=None,
        txbuf=256,
        rxbuf=256,
        timeout=0,
        timeout_char=0,
        invert=0,
        flow=0,
    ):
        # The driver of the ESP-IDF refuses buffers that are no larger than the UART's FIFO.
        if rxbuf <= _FIFO or 0 < txbuf <= _FIFO:
            raise OSError(-1, "ESP_FAIL")
        self._baud = baudrate
        self._bits = bits
        self._parity = parity
        self._stop = stop
        self._timeout = timeout
        self._txbuf = txbuf
        char = 1 + bits + (parity is not None) + stop
        self._bits_us = char * 1000000  # microseconds of one character, times the baud rate
        # Wrong pins on a real board: silence, no error.
        at = hwmap.UART_OF + 4 * self._id
        link, tx_pin, rx_pin = _chip.page[at : at + 3]
        right = link != 255 and _number(tx, tx_pin) == tx_pin and _number(rx, rx_pin) == rx_pin
        self._link = link if right else -1
        self._file = _links[self._link]
        try:
            self._poll.unregister(self._file)
        except (OSError, KeyError):
            pass
        self._poll.register(self._file, select.POLLIN)
        if right:
            p = 0 if parity is None else 2 - (parity & 1)
            _uart_event(self._link, hwmap.EV_UART, self._link, p, baudrate)
            struct.pack_into("<I", _chip.page, hwmap.RX_SIZE + 4 * self._link, rxbuf)

    def deinit(self):
        self._link = -1
        self._file = _links[-1]

    def any(self):
        if self._link < 0:
            return 0
        o = 4 * self._link
        return (_chip.u32(hwmap.RX_GIVEN + o) - _chip.u32(hwmap.RX_READ + o)) & 0xFFFFFFFF

    def _took(self, n):
        if n and self._link >= 0:
            _chip.add_u32(hwmap.RX_READ + 4 * self._link, n)
        return n

    def read(self, nbytes=-1):
        if self._timeout:
            self._poll.poll(self._timeout)
        data = self._file.read(512 if nbytes is None or nbytes < 0 else nbytes)
        if data:
            self._took(len(data))
            return data
        return None

    def readinto(self, buf, nbytes=-1):
        if self._timeout:
            self._poll.poll(self._timeout)
        if nbytes < 0:
            n = self._file.readinto(buf)
        else:
            n = self._file.readinto(buf, nbytes)
        return self._took(n) if n else None

    def write(self, buf, off=None, size=None):
        if off is not None:
            # stream.write(buf, len) and stream.write(buf, off, len), as every stream has
            buf = memoryview(buf)[:off] if size is None else memoryview(buf)[off : off + size]
        n = len(buf)
        if self._link < 0:
            return n
        if n > 512:
            n = 512
            buf = memoryview(buf)[:n]
        if self._link == hwmap.LINK_RS485 and _chip.cut(hwmap.CUT_TX):
            _chip.stop()
        now = time.ticks_us()
        if time.ticks_diff(self._tx_end, now) < 0:
            self._tx_end = now
        struct.pack_into(hwmap.EVENT_FORMAT, _tx, 0, hwmap.EV_TX, self._link, n, 0, self._tx_end)
        _tx[16 : 16 + n] = buf
        self._tx_end = time.ticks_add(self._tx_end, n * self._bits_us // self._baud + 1)
        self._file.write(_tx, 0, 16 + n)
        return n

    def txdone(self):
        return time.ticks_diff(self._tx_end, time.ticks_us()) <= 0

    def flush(self):
        left = time.ticks_diff(self._tx_end, time.ticks_us())
        if left > 0:
            time.sleep_us(left)

    def ioctl(self, request, arg):
        if request == _STREAM_FILENO:
            return hwmap.FD_SILENT if self._link < 0 else hwmap.FD_LINK + self._link
        if request == _STREAM_POLL:
            ready = arg & 4
            if arg & 1 and self.any():
                ready |= 1
            return ready
        return 0


def _number(pin, default):
    if pin is None:
        return default
    return pin._pin if isinstance(pin, Pin) else pin


class ADC:
    ATTN_0DB = 0
    ATTN_2_5DB = 1
    ATTN_6DB = 2
    ATTN_11DB = 3
    # Full scale of the converter in microvolts for each attenuation (ESP32 data sheet, ADC
    # characteristics); outside of it the reading saturates.
    _RANGE = (950000, 1250000, 1750000, 3100000)

    def __init__(self, pin, *, atten=0):
        number = _number(pin, None)
        if number is None or not _is(2, number):
            raise ValueError("invalid Pin for ADC")
        self._ch = min(_chip.page[hwmap.ADC_OF + number], len(hwmap.CHANNELS))
        self._full = ADC._RANGE[atten]

    def atten(self, atten):
        self._full = ADC._RANGE[atten]

    def read_uv(self):
        uv = sample(_chip.page, self._ch, time.ticks_us())
        full = self._full
        if uv <= 0:
            return 0
        if uv >= full:
            return full
        return (uv << 12) // full * full >> 12

    def read_u16(self):
        uv = sample(_chip.page, self._ch, time.ticks_us())
        full = self._full
        if uv <= 0:
            return 0
        if uv >= full:
            return 65535
        return (uv << 12) // full << 4
