"""What every peripheral of the simulated chip shares: its register page and its event wire."""

import struct
import time

import hwmap
import uctypes

page = None
_events = None
_record = bytearray(hwmap.EVENT_SIZE)


def attach(address):
    global page, _events
    page = uctypes.bytearray_at(address, hwmap.PAGE_SIZE)
    _events = open(hwmap.FD_EVENTS, "r+b", buffering=0)


def u32(offset):
    return struct.unpack_from("<I", page, offset)[0]


def put_u32(offset, value):
    struct.pack_into("<I", page, offset, value & 0xFFFFFFFF)


def add_u32(offset, value):
    put_u32(offset, u32(offset) + value)


def emit(kind, a=0, b=0, c=0):
    struct.pack_into(hwmap.EVENT_FORMAT, _record, 0, kind, a, b, c, time.ticks_us())
    _events.write(_record)


def freeze():
    """Stops as a chip without supply does: nothing more happens until the simulator kills it."""
    while True:
        time.sleep(3600)


def cut(kind):
    """Counts down to the instant at which a fault is to stop this chip."""
    if page[hwmap.CUT_KIND] != kind:
        return False
    left = u32(hwmap.CUT_AFTER)
    if left > 1:
        put_u32(hwmap.CUT_AFTER, left - 1)
        return False
    page[hwmap.CUT_KIND] = 0
    return True


def stop():
    emit(hwmap.EV_CUT)
    freeze()
