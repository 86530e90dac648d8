"""The SX127x driver on MicroPython against the emulated chip, in virtual time.

Here: frames out and in, and what wakes the driver.
"""

import sys
import time

import radio_wire
from radio_wire import tell

import asyncio

import clockwork  # noqa: F401
import radio_health
import radio_settings
from radio_chip import HZ, begun, fill, make, until
from pbal_protocol.radio import airtime
from pbal_node.radio import activity, sx127x, waiting


def test_frames_go_out_and_take_their_time_on_air():
    for sf in (7, 9, 12):
        one = begun(sf=sf)
        tell("peer_listen", sf)
        data = bytes(range(1, 40))
        start = time.mono_us()
        one.send(fill(one, data))
        until(one, sx127x.SENT)
        took = time.mono_us() - start
        us = one.time_on_air_us(39)
        assert us == airtime.time_on_air_us(39, sf)
        assert us < took < us + 6000, (took, us)
        assert tell("peer_heard") == [list(data)]
        assert one.poll() == sx127x.NOTHING
    assert one.sent == 1


def test_frames_of_every_length_come_in_whole():
    one = begun()
    one.listen()
    for size in (1, 2, 15, 16, 17, 39, 128, 240, 255):
        data = bytes([(7 * i + size) & 0xFF for i in range(size)])
        tell("peer_send", list(data))
        until(one, sx127x.HEARD)
        assert one.length == size
        assert one.buf[:size] == data, size
    assert one.heard == 9
    assert one.missed == one.bad_crc == one.bad_header == 0


def test_a_turn_from_sending_to_listening_and_back():
    one = begun()
    for turn in range(3):
        tell("peer_listen", 7)
        one.send(fill(one, b"from the node %d" % turn))
        until(one, sx127x.SENT)
        assert tell("peer_heard") == [list(b"from the node %d" % turn)]
        one.listen()
        tell("peer_send", list(b"to the node %d" % turn))
        until(one, sx127x.HEARD)
        assert one.buf[: one.length] == b"to the node %d" % turn


def test_strength_and_noise():
    tell("fresh")
    one = make(activity.Sensing)
    one.begin(HZ)
    one.listen()
    time.sleep_ms(2)
    assert -121 <= one.rssi_now_dbm() <= -115
    tell("peer_send", [1])
    until(one, sx127x.HEARD)
    assert one.rssi_dbm == tell("expected_rssi")
    assert one.snr_q4 == 48
    tell("fresh", "far")
    one = make()
    one.begin(HZ, sf=10)
    one.listen()
    tell("peer_send", [1])
    until(one, sx127x.HEARD)
    assert one.snr_q4 < 0
    assert abs(one.rssi_dbm - tell("expected_rssi")) <= 1


def test_wrong_checksums_are_counted_and_frames_without_one_are_not_taken():
    one = begun()
    one.listen()
    tell("collide")
    time.sleep_ms(400)
    assert one.poll() == sx127x.NOTHING
    assert one.bad_crc == 1
    tell("peer_send_without_crc", [1, 2, 3])
    time.sleep_ms(100)
    assert one.poll() == sx127x.NOTHING
    assert one.bad_crc == 2
    assert one.heard == 0


def test_a_frame_without_a_valid_header_is_counted():
    one = begun()
    one.listen()
    tell("peer_send", [1])
    time.sleep_ms(100)
    tell("clear", 0x10)
    assert one.poll() == sx127x.NOTHING
    assert one.bad_header == 1


def test_frames_that_nobody_fetched_are_counted():
    one = begun()
    one.listen()
    for i in range(3):
        tell("peer_send", [i])
        time.sleep_ms(100)
    assert one.poll() == sx127x.HEARD
    assert one.buf[0] == 2
    assert one.missed == 2


def test_channel_activity():
    tell("fresh")
    one = make(activity.Sensing)
    one.begin(HZ)
    one.look()
    until(one, activity.IDLE)
    tell("peer_send", [1] * 20)
    time.sleep_us(500)
    one.look()
    until(one, activity.BUSY)
    tell("peer_listen", 7)
    one.send(fill(one, b"now"))
    until(one, sx127x.SENT)


def test_the_interrupt_only_stamps_and_flags():
    one = begun()
    flags = []

    class Flag:
        def set(self):
            flags.append(time.mono_us())

    one.flag = Flag()
    radio_wire.dio0.handler = one.on_dio0
    one.listen()
    tell("peer_send", list(range(30)))
    asked = tell("asked")
    time.sleep_ms(300)
    assert tell("asked") == asked, "the handler used the bus"
    assert len(flags) == 1
    assert one.poll() == sx127x.HEARD
    assert abs(time.ticks_diff(one.stamp_us, tell("rx_done_us") % (1 << 30))) < 50
    radio_wire.dio0.handler = None
    # Without it the time is that of the poll.
    tell("peer_send", [1])
    until(one, sx127x.HEARD)
    assert 0 < time.ticks_diff(one.stamp_us, tell("rx_done_us") % (1 << 30)) < 2000


def test_three_drivers_understand_each_other():
    """The node's, rfm9x and pyLoRa: each speaks, the two others hear it."""
    tell("crosstalk")
    one = make()
    one.begin(HZ, power_dbm=17)
    for size in (39, 5, 200):
        data = bytes([(3 * i + size) & 0xFF for i in range(size)])
        tell("pi_listen")
        one.send(fill(one, data))
        until(one, sx127x.SENT)
        assert tell("pi_heard") == [list(data)] * 2, size
        for speaker, other in (("rfm9x_say", 1), ("pylora_say", 0)):
            tell("pi_listen")
            one.listen()
            tell(speaker, list(data))
            until(one, sx127x.HEARD)
            assert one.buf[: one.length] == data
            assert tell("pi_heard")[other] == list(data), (speaker, size)


async def _hear(connected, count):
    one = begun()
    radio_wire.dio0.connected = connected
    waiter = waiting.Waiter(one, radio_wire.dio0)
    ticker = asyncio.create_task(waiter.tick())
    one.listen()
    late = []
    for i in range(count):
        tell("peer_send_in", 137000 + 1000 * i, [i])
        assert await waiter.event() == sx127x.HEARD
        assert one.buf[0] == i
        late.append(time.mono_us() - tell("rx_done_us"))
    ticker.cancel()
    radio_wire.dio0.connected = True
    return late


def test_asyncio_is_woken_by_the_interrupt():
    late = asyncio.run(_hear(True, 5))
    assert max(late) < 2500, late


def test_a_line_that_is_not_connected_costs_time_and_no_frame():
    late = asyncio.run(_hear(False, 5))
    assert 2500 < max(late) < 25000, late


def main():
    wanted = sys.argv[3:]
    for where in (radio_settings.__dict__, globals(), radio_health.__dict__):
        for name, test in list(where.items()):
            if name.startswith("test_") and (not wanted or name in wanted):
                print(name)
                test()
    print("ok")


main()
