"""SPI, pins and time of a board whose radio is emulated by the test that started this interpreter.

Both sides have one virtual clock: each message carries this side's time, and a wait ends early when
DIO0 rises, whose interrupt handler then runs. See tests/unit/node/test_radio.py.
"""

import json
import struct
import sys
import time

_wire = open(int(sys.argv[2]), "r+b", buffering=0)
_HEAD = "<BHQ"
_BYTE_US = 2  # of SPI at 4 MHz
_sleep_us = time.sleep_us


def _ask(kind, data=b""):
    _wire.write(struct.pack(_HEAD, ord(kind), len(data), time.mono_us()) + data)
    raw = b""
    while len(raw) < 11:
        raw += _wire.read(11 - len(raw))
    size, now_us, edges = struct.unpack("<HQB", raw)
    back = b""
    while len(back) < size:
        back += _wire.read(size - len(back))
    _sleep_us(now_us - time.mono_us())
    for _ in range(edges):
        dio0.rise()
    return back


def tell(what, *more):
    """Ask the test for something: tell("peer_send", hex)."""
    return json.loads(_ask("J", json.dumps([what] + list(more)).encode()))


class SPI:
    def write(self, data):
        _sleep_us(_BYTE_US * len(data))
        _ask("T", bytes(data))

    def readinto(self, buf):
        self.write_readinto(bytes(len(buf)), buf)

    def write_readinto(self, out, buf):
        _sleep_us(_BYTE_US * len(out))
        buf[:] = _ask("T", bytes(out))


class Line:
    """An output: chip select or reset."""

    def __init__(self, kind):
        self._kind = kind

    def __call__(self, level):
        _ask(self._kind, bytes([level]))


class Dio0:
    IRQ_RISING = 1

    def __init__(self):
        self.handler = None
        self.connected = True
        self.rises = 0

    def irq(self, handler=None, trigger=0):
        self.handler = handler

    def rise(self):
        self.rises += 1
        if self.handler and self.connected:
            self.handler(self)


dio0 = Dio0()


def sleep_us(us):
    """Wait, and be woken by DIO0."""
    _ask("W", struct.pack("<Q", time.mono_us() + max(us, 0)))


def sleep_ms(ms):
    end_us = time.mono_us() + 1000 * ms
    while time.mono_us() < end_us:
        sleep_us(end_us - time.mono_us())


time.sleep_us = sleep_us
time.sleep_ms = sleep_ms
