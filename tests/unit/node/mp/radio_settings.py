"""What the driver writes to the chip: by the data sheet, and nothing that it can not do.

Run by radio_app.py.
"""

from radio_chip import HZ, begun, fill, make, radio_error, until
from radio_wire import tell

from pbal_node.radio import sx127x
from pbal_protocol.errors import RangeError


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
