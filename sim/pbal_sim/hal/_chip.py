"""What every peripheral of the simulated chip shares: its register page and its event wire."""

import struct
import time

import hwmap
import uctypes
from micropython import const

_EV = "<BBHIQ"
_CUT_KIND = const(592)
_CUT_AFTER = const(596)

page = None
config = None
_events = None
_record = bytearray(16)


def attach(address, events):
    global page, config, _events
    import json

    page = uctypes.bytearray_at(address, hwmap.PAGE_SIZE)
    _events = events
    size = struct.unpack_from("<H", page, hwmap.CONFIG)[0]
    text = bytes(memoryview(page)[hwmap.CONFIG + 2 : hwmap.CONFIG + 2 + size])
    config = json.loads(text)


def u32(offset):
    return struct.unpack_from("<I", page, offset)[0]


def put_u32(offset, value):
    struct.pack_into("<I", page, offset, value & 0xFFFFFFFF)


def add_u32(offset, value):
    put_u32(offset, u32(offset) + value)


def emit(kind, a=0, b=0, c=0):
    struct.pack_into(_EV, _record, 0, kind, a, b, c, time.ticks_us())
    _events.write(_record)


def freeze():
    """Stops as a chip without supply does: nothing more happens until the simulator kills it."""
    while True:
        time.sleep(3600)


def cut(kind):
    """Counts down to the instant at which a fault wants this chip to stop."""
    if page[_CUT_KIND] != kind:
        return False
    left = u32(_CUT_AFTER)
    if left > 1:
        put_u32(_CUT_AFTER, left - 1)
        return False
    page[_CUT_KIND] = 0
    return True


def stop():
    emit(hwmap.EV_CUT)
    freeze()
