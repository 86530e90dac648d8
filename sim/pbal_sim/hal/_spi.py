"""SPI of the ESP32 port's `machine`, for boards with a radio: loaded only there.

Each access is a request to the simulator, which answers when the emulated chip has. The pins of
the radio use the same socket, so that their changes stay in order with the SPI transactions.
"""

import struct

import _chip
import hwmap

_wire = open(hwmap.FD_SPI, "r+b", buffering=0)
_head = bytearray(3)


def _say(kind, data):
    struct.pack_into("<BH", _head, 0, kind, len(data))
    _wire.write(_head)
    _wire.write(data)


def pin(number, level):
    _say(hwmap.SPI_PIN, bytes((number, level)))


class SPI:
    MSB = 0
    LSB = 1

    def __init__(self, id=-1, baudrate=500000, **kw):
        if id not in (-1, 1, 2):
            raise ValueError("SPI(%d) doesn't exist" % id)
        self._right = True
        self.init(baudrate, **kw)

    def init(
        self,
        baudrate=500000,
        *,
        polarity=0,
        phase=0,
        bits=8,
        firstbit=0,
        sck=None,
        mosi=None,
        miso=None,
    ):
        # Wrong pins or another mode on a real board: the chip does not understand, no error.
        at = hwmap.RADIO_SPI
        for pin in (sck, mosi, miso):
            if pin is not None and pin._pin != _chip.page[at]:
                self._right = False
            at += 1
        if polarity or phase or firstbit:
            self._right = False

    def deinit(self):
        self._right = False

    def _move(self, out, back):
        if not self._right:
            for i in range(len(back or b"")):
                back[i] = 0xFF
            return
        _say(hwmap.SPI_MOVE, out)
        n = len(out)
        if back is None:
            back = bytearray(n)
        view = memoryview(back)
        at = 0
        while at < n:
            at += _wire.readinto(view[at:n]) or 0

    def write(self, buf):
        self._move(buf, None)

    def readinto(self, buf, write=0):
        self._move(bytes((write,)) * len(buf), buf)

    def read(self, nbytes, write=0):
        buf = bytearray(nbytes)
        self.readinto(buf, write)
        return bytes(buf)

    def write_readinto(self, write_buf, read_buf):
        self._move(write_buf, read_buf)
