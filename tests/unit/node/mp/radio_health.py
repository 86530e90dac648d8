"""A chip that hangs, browns out or is gone is noticed and brought up again. Run by radio_app.py."""

import asyncio
import time

import radio_wire
from radio_chip import begun, fill, radio_error, until
from radio_wire import tell

from pbal_node.radio import sx127x, waiting


def test_a_transmission_that_hangs_is_noticed_and_the_chip_brought_up_again():
    one = begun()
    one.send(fill(one, b"x" * 30))
    tell("hang")
    until(one, sx127x.FAILED)
    assert one.restarts == 1
    tell("peer_listen", 7)
    one.send(fill(one, b"again"))
    until(one, sx127x.SENT)
    assert tell("peer_heard") == [list(b"again")]


def test_a_chip_that_browned_out_is_noticed_by_its_registers():
    one = begun(sf=9, power_dbm=10)
    one.listen()
    assert one.check()
    tell("brown_out")
    tell("peer_send", [1])
    time.sleep_ms(400)
    assert one.poll() == sx127x.NOTHING
    assert not one.check()
    assert one.restarts == 1
    one.listen()
    assert one.check()
    tell("peer_send", [1, 2])
    until(one, sx127x.HEARD)


def test_one_register_that_changed_is_enough():
    one = begun()
    one.listen()
    for register in (0x09, 0x1E, 0x39, 0x07, 0x11, 0x0E):
        tell("poke", register, 0x55)
        assert not one.check(), register
        one.listen()
        assert one.check()


def test_a_dead_chip_is_said():
    one = begun()
    one.listen()
    tell("absent")
    assert "0xff" in radio_error(one.check)


async def _check():
    one = begun()
    waiter = waiting.Waiter(one, radio_wire.dio0)
    ticker = asyncio.create_task(waiter.tick())
    one.listen()
    tell("brown_out")
    start = time.mono_us()
    assert await waiter.event() == sx127x.FAILED
    ticker.cancel()
    return time.mono_us() - start


def test_asyncio_looks_after_the_chip():
    assert asyncio.run(_check()) < 10100000
