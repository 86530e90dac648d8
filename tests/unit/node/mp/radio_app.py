"""The SX127x driver on MicroPython against the emulated chip, in virtual time."""

import sys
import time

import radio_wire
from radio_wire import tell

import asyncio

import clockwork  # noqa: F401
from pbal_protocol.errors import RangeError
from pbal_protocol.radio import airtime
from pbal_node.radio import activity, sx127x, waiting

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


def test_the_silicon_is_looked_at_before_anything_is_written():
    for fault, version in (("dead", 0), ("absent", 255)):
        tell("fresh")
        tell(fault)
        one = make()
        assert "version 0x%02x" % version in radio_error(one.begin, HZ)
        assert tell("writes") == []


def test_every_register_is_what_the_data_sheet_wants():
    begun(sf=7, power_dbm=17)
    regs = {r: v for r, v in tell("writes")}
    # 868.1 MHz / (32 MHz / 2**19) = 14222950.4
    assert (regs[0x06] << 16 | regs[0x07] << 8 | regs[0x08]) == 14222950
    assert regs[0x09] == 0x8F, hex(regs[0x09])  # PaConfig: PA_BOOST, OutputPower 15
    assert regs[0x4D] == 0x84
    assert regs[0x0B] == 0x2B
    assert regs[0x0C] == 0x23
    assert regs[0x0E] == regs[0x0F] == 0
    assert regs[0x1D] == 0x72  # 125 kHz, 4/5, explicit header
    assert regs[0x1E] == 0x74  # SF7, CRC
    assert regs[0x26] == 0x04
    assert (regs[0x20], regs[0x21]) == (0, 8)
    assert (regs[0x31], regs[0x37]) == (0x43, 0x0A)
    assert (regs[0x36], regs[0x2F], regs[0x30]) == (0x03, 0x40, 0x00)  # errata 2.1, 2.3
    assert (regs[0x33], regs[0x3B]) == (0x27, 0x1D)
    assert regs[0x39] == 0x12
    assert [v for r, v in tell("writes") if r == 0x01] == [0x00, 0x80, 0x81]


def test_power_by_the_table():
    tell("fresh")
    one = make()
    for dbm, config, dac, ocp in (
        (2, 0x80, 0x84, 0x2B),
        (14, 0x8C, 0x84, 0x2B),
        (17, 0x8F, 0x84, 0x2B),
        (18, 0x8D, 0x87, 0x31),
        (20, 0x8F, 0x87, 0x31),
    ):
        one.begin(HZ, power_dbm=dbm)
        assert tell("registers", [0x09, 0x4D, 0x0B]) == [config, dac, ocp]
        assert tell("power") == dbm
    tell("fresh", "rfo")
    one = make(boost=False)
    for dbm in (0, 7, 14):
        one.begin(HZ, power_dbm=dbm)
        assert tell("registers", [0x09]) == [0x70 | dbm]
        assert tell("power") == dbm


def test_what_a_module_can_not_do_is_refused_before_anything_is_written():
    tell("fresh")
    one = make()
    for wrong in (
        {"hz": 433175000},
        {"power_dbm": 21},
        {"power_dbm": 1},
        {"sf": 6},
        {"sf": 13},
        {"bw_hz": 200000},
        {"cr": 4},
        {"preamble": 5},
    ):
        arguments = {"hz": HZ}
        arguments.update(wrong)
        try:
            one.begin(**arguments)
        except RangeError:
            pass
        else:
            raise AssertionError(wrong)
    assert tell("writes") == []
    one.begin(HZ)
    for size in (0, 256):
        try:
            one.send(size)
        except RangeError:
            pass
        else:
            raise AssertionError(size)


def test_errata_and_low_data_rate_follow_the_settings():
    for bw, sf, slow, errata in (
        (125000, 10, 0, [0x03, 0x43, 0x40]),
        (125000, 11, 8, [0x03, 0x43, 0x40]),
        (125000, 12, 8, [0x03, 0x43, 0x40]),
        (250000, 12, 8, [0x03, 0x43, 0x40]),
        (41700, 7, 0, [0x03, 0x43, 0x44]),
        (7800, 7, 8, [0x03, 0x43, 0x48]),
        (500000, 12, 0, [0x02, 0xC3, None]),
    ):
        begun(bw_hz=bw, sf=sf)
        assert tell("registers", [0x26])[0] & 8 == slow, (bw, sf)
        found = tell("registers", [0x36, 0x31, 0x2F])
        assert found[:2] == errata[:2]
        assert errata[2] is None or found[2] == errata[2]
        assert tell("errata") == [True, True], (bw, sf)
    assert tell("registers", [0x3A]) == [0x64]


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


def test_another_spreading_factor_and_channel():
    one = begun(power_dbm=20)
    one.change(11, HZ + 200000)
    assert tell("registers", [0x1E, 0x26, 0x09]) == [0xB4, 0x0C, 0x8F]
    frf = tell("registers", [0x06, 0x07, 0x08])
    # 868.3 MHz / (32 MHz / 2**19) = 14226227.2
    assert (frf[0] << 16 | frf[1] << 8 | frf[2]) == 14226227
    one.change(11, HZ)
    tell("peer_listen", 11)
    one.send(fill(one, b"slow"))
    until(one, sx127x.SENT)
    assert tell("peer_heard") == [list(b"slow")]
    assert one.check()
    tell("brown_out")
    assert not one.check()
    assert tell("registers", [0x1E, 0x09, 0x4D, 0x1D, 0x33]) == [0xB4, 0x8F, 0x87, 0x72, 0x27]
    for sf, hz in ((13, HZ), (6, HZ), (9, 433175000)):
        try:
            one.change(sf, hz)
        except RangeError:
            pass
        else:
            raise AssertionError((sf, hz))
    assert one.check()


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


def main():
    wanted = sys.argv[3:]
    for name, test in list(globals().items()):
        if name.startswith("test_") and (not wanted or name in wanted):
            print(name)
            test()
    print("ok")


main()
