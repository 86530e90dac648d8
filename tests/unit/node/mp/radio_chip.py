"""A driver of the emulated chip, fresh for each test."""

import time

import radio_wire
from radio_wire import tell

from pbal_node.radio import sx127x

HZ = 868100000


def make(kind=sx127x.SX127x, **more):
    return kind(radio_wire.SPI(), radio_wire.Line("C"), radio_wire.Line("R"), **more)


def begun(**more):
    tell("fresh")
    one = make()
    one.begin(HZ, **more)
    return one


def radio_error(call, *arguments):
    try:
        call(*arguments)
    except sx127x.RadioError as e:
        return str(e)
    raise AssertionError("no error")


def until(one, wanted, ms=5000):
    """Polls each millisecond, as a program without an interrupt does."""
    for _ in range(ms):
        found = one.poll()
        if found == wanted:
            return
        assert not found, found
        time.sleep_ms(1)
    raise AssertionError("never")


def fill(one, data):
    one.buf[: len(data)] = data
    return len(data)
