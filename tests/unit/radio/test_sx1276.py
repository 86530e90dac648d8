"""The emulated chip by the data sheet: modes, FIFO, flags, DIO lines, power, times, faults."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbal_protocol.radio.airtime import time_on_air_us
from pbal_sim.radio import registers as r
from pbal_sim.radio.sx1276 import Sx1276

from .conftest import Hand, Place

TX_START_US = 120


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 255), st.integers(7, 12), st.sampled_from([125_000, 250_000, 500_000]))
def test_tx_done_comes_after_exactly_the_time_on_air(size: int, sf: int, bw: int) -> None:
    place = Place()
    one = place.chip("a")
    one.tune(sf=sf, bw=bw)
    one.send(bytes(size))
    us = TX_START_US + time_on_air_us(size, sf, bw)
    place.clock.advance(us - 1)
    assert not one.flags() & r.TX_DONE
    assert one.get(r.OP_MODE) & 7 == r.TX
    place.clock.advance(1)
    assert one.flags() & r.TX_DONE
    assert one.get(r.OP_MODE) & 7 == r.STDBY


def test_what_a_reset_leaves() -> None:
    place = Place()
    chip = Sx1276(place.air, "a")
    assert chip.exchange(bytes([r.VERSION, 0]))[1] == 0x12
    assert chip.exchange(bytes([r.OP_MODE, 0]))[1] == 0x09
    one = Hand(place, chip)
    chip.reset_pin(0)
    assert chip.exchange(bytes([r.VERSION, 0]))[1] == 0
    chip.reset_pin(1)
    assert chip.exchange(bytes([r.VERSION, 0]))[1] == 0  # 5 ms are not over
    place.clock.advance(5000)
    assert one.get(r.VERSION) == 0x12
    assert one.get(r.OP_MODE) == 0x09


def test_long_range_mode_is_chosen_in_sleep_only(place: Place) -> None:
    chip = Sx1276(place.air, "a")

    def mode(value: int) -> int:
        chip.exchange(bytes([r.OP_MODE | 0x80, value]))
        return chip.exchange(bytes([r.OP_MODE, 0]))[1]

    assert mode(0x81) == 0x01  # from FSK standby: the bit is ignored, the mode is not
    assert mode(0x80) == 0x00
    assert mode(0x80) == 0x80
    assert mode(0x81) == 0x81
    assert mode(0x01) == 0x81


def test_the_fifo_wraps_keeps_its_bases_and_is_lost_in_sleep(place: Place) -> None:
    one = place.chip("a")
    assert one.get(r.FIFO_TX_BASE_ADDR) == 0x80
    one.put(r.FIFO_ADDR_PTR, 254)
    one.put(r.FIFO, 1, 2, 3, 4)
    assert one.get(r.FIFO_ADDR_PTR) == 2
    one.put(r.FIFO_ADDR_PTR, 255)
    assert one.get(r.FIFO, 3) == 0x020304
    one.mode(r.SLEEP)
    one.put(r.FIFO_ADDR_PTR, 255)
    assert one.get(r.FIFO, 2) == 0
    one.mode(r.STDBY)
    assert one.get(r.FIFO, 2) == 0


def test_frames_follow_each_other_in_the_fifo(place: Place) -> None:
    sender, receiver = place.chip("a"), place.chip("b", 10.0)
    receiver.put(r.FIFO_RX_BASE_ADDR, 0xF8)
    receiver.listen()
    for data, at in ((b"first", 0xF8), (b"second", 0xFD)):
        sender.send(data)
        place.clock.advance(100_000)
        assert receiver.get(r.FIFO_RX_CURRENT_ADDR) == at
        assert receiver.received() == data
    assert receiver.get(r.FIFO_RX_BYTE_ADDR) == 2
    # A new reception begins at the base again.
    receiver.mode(r.STDBY)
    receiver.listen()
    sender.send(b"third")
    place.clock.advance(100_000)
    assert receiver.get(r.FIFO_RX_CURRENT_ADDR) == 0xF8


def test_masked_flags_do_not_come_up_and_others_stay_until_cleared(place: Place) -> None:
    sender, receiver = place.chip("a"), place.chip("b", 10.0)
    receiver.put(r.IRQ_FLAGS_MASK, r.VALID_HEADER)
    receiver.listen()
    sender.send(b"x")
    place.clock.advance(100_000)
    assert receiver.flags() == r.RX_DONE
    receiver.put(r.IRQ_FLAGS, r.TX_DONE)
    assert receiver.flags() == r.RX_DONE
    receiver.put(r.IRQ_FLAGS, r.RX_DONE)
    assert receiver.flags() == 0


def test_a_dio_line_that_is_still_up_makes_no_second_edge(place: Place) -> None:
    edges: list[tuple[int, int]] = []
    sender = place.chip("a")
    receiver = place.chip("b", 10.0, on_dio=lambda pin, level: edges.append((pin, level)))
    receiver.put(r.DIO_MAPPING1, 0b00_00_00_01)  # RxDone, RxTimeout, -, ValidHeader
    receiver.listen()
    for _ in range(2):
        sender.send(b"x")
        place.clock.advance(100_000)
    assert edges == [(3, 1), (0, 1)]
    receiver.put(r.IRQ_FLAGS, 0xFF)
    sender.send(b"x")
    place.clock.advance(100_000)
    assert edges.count((0, 1)) == 2


def test_dio0_shows_what_it_is_mapped_to(place: Place) -> None:
    one = place.chip("a")
    one.put(r.DIO_MAPPING1, 0x40)
    one.send(b"x")
    place.clock.advance(100_000)
    assert one.chip.dio[0] == 1  # TxDone
    one.put(r.DIO_MAPPING1, 0x00)
    assert one.chip.dio[0] == 0  # RxDone


def test_a_single_reception_times_out(place: Place) -> None:
    one = place.chip("a")
    one.put(r.SYMB_TIMEOUT_LSB, 100)
    one.mode(r.RX_SINGLE)
    place.clock.advance(100 * 1024)
    assert one.flags() == 0
    place.clock.advance(1000)
    assert one.flags() == r.RX_TIMEOUT
    assert one.get(r.OP_MODE) & 7 == r.STDBY


@pytest.mark.parametrize("busy", [True, False])
def test_channel_activity_detection(place: Place, busy: bool) -> None:
    sender, one = place.chip("a"), place.chip("b", 10.0)
    if busy:
        sender.send(bytes(10))
    place.clock.advance(1000)
    one.mode(r.CAD)
    place.clock.advance(2048)
    assert one.flags() == r.CAD_DONE | (r.CAD_DETECTED if busy else 0)
    assert one.get(r.OP_MODE) & 7 == r.STDBY


@pytest.mark.parametrize(
    ("config", "dac", "ocp", "wired", "dbm"),
    [
        (0x8F, 0x84, 0x2B, "boost", 17.0),
        (0x8F, 0x87, 0x31, "boost", 20.0),
        (0x8F, 0x87, 0x2B, "boost", 17.0),  # 100 mA are too little for 20 dBm
        (0x8F, 0x87, 0x0B, "boost", 20.0),  # no protection at all
        (0x80, 0x84, 0x2B, "boost", 2.0),
        (0x95, 0x84, 0x2B, "boost", 7.0),  # where 0x8F was meant: 10 dB less, and nobody noticed
        (0x70, 0x84, 0x2B, "rfo", 0.0),
        (0x7E, 0x84, 0x2B, "rfo", 14.0),
        (0x7E, 0x84, 0x2B, "boost", -80.0),  # the antenna is at the other output
        (0x8F, 0x84, 0x2B, "rfo", -80.0),
    ],
)
def test_power(place: Place, config: int, dac: int, ocp: int, wired: str, dbm: float) -> None:
    one = place.chip("a")
    one.put(r.PA_CONFIG, config)
    one.put(r.PA_DAC, dac)
    one.put(r.OCP, ocp)
    assert one.chip.modem.power_dbm(wired) == pytest.approx(dbm)


def test_the_errata_cost_something(place: Place) -> None:
    one = place.chip("a")
    assert one.chip.loss_db == 0
    assert not one.chip.leaks
    one.tune(bw=500_000)
    assert one.chip.loss_db == 0
    assert not one.chip.leaks
    one.put(r.HIGH_BW_OPTIMIZE2, 0x65)
    assert one.chip.loss_db == 3
    one.put(r.MODEM_CONFIG1, 0x72)
    assert one.chip.leaks
    # A strong neighbour channel then hurts, 25 dB down.
    one.put(r.IF_FREQ1, 0x20)
    one.put(r.DETECT_OPTIMIZE, 0xC3)
    wanted, other = place.chip("w", 400.0), place.chip("o", 3.0)
    other.tune(hz=868_300_000)
    one.listen()
    other.send(bytes(30))
    wanted.send(bytes(30))
    place.clock.advance(1e6)
    assert not one.flags() & r.RX_DONE


def test_a_part_for_another_band_is_silent(place: Place) -> None:
    sender, receiver = place.chip("a"), place.chip("b", 300.0)
    for one in (sender, receiver):
        one.tune(hz=433_175_000)
    receiver.listen()
    sender.send(b"x")
    place.clock.advance(1e6)
    assert receiver.flags() == 0


@pytest.mark.parametrize("how", ["sync", "invert", "slow", "sf", "bw"])
def test_what_must_be_alike(place: Place, how: str) -> None:
    sender, receiver = place.chip("a"), place.chip("b", 10.0)
    change = {
        "sync": (r.SYNC_WORD, 0x34),
        "invert": (r.INVERT_IQ, 0x67),
        "slow": (r.MODEM_CONFIG3, 0x0C),
        "sf": (r.MODEM_CONFIG2, 0x84),
        "bw": (r.MODEM_CONFIG1, 0x82),
    }[how]
    receiver.put(*change)
    receiver.listen()
    sender.send(b"x")
    place.clock.advance(1e6)
    assert receiver.flags() == 0
    sender.put(*(change if how != "invert" else (r.INVERT_IQ, 0x26)))
    sender.send(b"x")
    place.clock.advance(1e6)
    assert receiver.flags() & r.RX_DONE


def test_an_implicit_header_left_over_loses_frames(place: Place) -> None:
    """The receiver believes its own RegPayloadLength."""
    sender, receiver = place.chip("a"), place.chip("b", 10.0)
    receiver.put(r.MODEM_CONFIG1, 0x73)
    receiver.put(r.PAYLOAD_LENGTH, 3)
    receiver.listen()
    sender.send(b"five!")
    place.clock.advance(1e6)
    assert receiver.received() == b"fiv"


def test_a_chip_that_browned_out_is_as_after_a_reset_and_deaf(place: Place) -> None:
    sender, receiver = place.chip("a"), place.chip("b", 10.0)
    receiver.listen()
    receiver.chip.brown_out()
    sender.send(b"x")
    place.clock.advance(1e6)
    assert receiver.get(r.OP_MODE) == 0x09
    assert receiver.flags() == 0


def test_a_chip_that_hangs_answers_again_after_a_reset(place: Place) -> None:
    one = place.chip("a")
    one.chip.hang()
    assert one.get(r.VERSION) == 0
    one.chip.reset_pin(0)
    one.chip.reset_pin(1)
    place.clock.advance(5000)
    assert one.get(r.VERSION) == 0x12


def test_a_bus_without_chip_select_floats(place: Place) -> None:
    one = place.chip("a")
    assert one.chip.transfer(b"\x42\0") == b"\xff\xff"
