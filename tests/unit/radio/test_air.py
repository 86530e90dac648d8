"""The shared medium: distance, spreading factors, collisions, capture, jamming, crystals."""

from __future__ import annotations

import statistics

import pytest

from pbal_sim.radio import FREE, Jammer, PathLoss
from pbal_sim.radio import propagation as p
from pbal_sim.radio import registers as r

from .conftest import HZ, Hand, Place

LOST, DAMAGED, GOOD = "lost", "damaged", "good"


def outcome(receiver: Hand) -> str:
    """What a receiver has to show."""
    flags = receiver.flags()
    if not flags & r.RX_DONE:
        return LOST
    return DAMAGED if flags & r.PAYLOAD_CRC_ERROR else GOOD


def range_m(loss: PathLoss, limit_dbm: float, power_dbm: float = 17.0) -> float:
    """Where a signal has just the power `limit_dbm`."""
    decades = (power_dbm - limit_dbm - loss.loss_db) / 10 / loss.exponent
    return loss.at_m * 10**decades


@pytest.mark.parametrize("sf", range(7, 13))
def test_a_frame_arrives_up_to_the_sensitivity_of_its_spreading_factor(sf: int) -> None:
    limit = max(p.sensitivity_dbm(sf, 125_000), p.noise_dbm(125_000) + p.SNR_LIMIT_DB[sf])
    for off_db, expected in ((1.0, GOOD), (-1.0, LOST)):
        place = Place(PathLoss(sigma_db=0.0))
        sender = place.chip("a")
        far = place.chip("b", range_m(PathLoss(sigma_db=0.0), limit + off_db))
        for one in (sender, far):
            one.tune(sf=sf)
        far.listen()
        sender.send(b"twelve bytes")
        place.clock.advance(3e6)
        assert outcome(far) == expected


def test_strength_and_noise_are_reported(place: Place) -> None:
    near, mid = place.chip("near", 0.0), place.chip("mid", 1000.0)
    mid.listen()
    near.send(b"hello")
    place.clock.advance(1e6)
    assert outcome(mid) == GOOD
    # 17 dBm, less the loss of free space over 1 km.
    assert mid.get(r.PKT_RSSI_VALUE) - 157 == round(17 - FREE.mean_db(1000))
    assert mid.get(r.PKT_SNR_VALUE) == 4 * 12  # the most that is shown
    assert mid.get(r.MODEM_STAT) >> 5 == 1  # 4/5
    assert mid.get(r.RX_HEADER_CNT_VALUE_MSB, 2) == mid.get(r.RX_PACKET_CNT_VALUE_MSB, 2) == 1
    assert mid.get(r.HOP_CHANNEL) & 0x40


def test_below_the_noise_the_strength_is_corrected() -> None:
    loss = PathLoss(sigma_db=0.0)
    place = Place(loss)
    sender, far = place.chip("a"), place.chip("b", range_m(loss, -129.0))
    for one in (sender, far):
        one.tune(sf=10)
    far.listen()
    sender.send(b"x")
    place.clock.advance(3e6)
    snr = (far.get(r.PKT_SNR_VALUE) - 256) / 4
    assert snr == pytest.approx(-129.0 - p.noise_dbm(125_000), abs=0.2)
    # Data sheet, section 5.5.5.
    assert far.get(r.PKT_RSSI_VALUE) - 157 + snr == pytest.approx(-129.0, abs=0.6)


@pytest.mark.parametrize(
    ("stronger_db", "result"), [(8.0, GOOD), (4.0, LOST), (0.0, LOST), (-8.0, LOST)]
)
def test_the_capture_effect(stronger_db: float, result: str) -> None:
    """Two frames at once: the one that is 6 dB stronger arrives."""
    place = Place()
    wanted, other = place.chip("wanted", -100.0), place.chip("other", 100.0)
    middle = place.chip("middle")
    other.tune(power=0xFF if stronger_db <= 0 else 0xFF - int(stronger_db))
    wanted.tune(power=0xFF if stronger_db >= 0 else 0xFF + int(stronger_db))
    middle.listen()
    wanted.send(b"the wanted one")
    other.send(b"the other one!")
    place.clock.advance(1e6)
    data = middle.received() if outcome(middle) == GOOD else b""
    assert (data == b"the wanted one") == (result == GOOD)
    assert (data == b"the other one!") == (stronger_db == -8.0)


def test_a_frame_that_begins_in_another_ones_payload_damages_it(place: Place) -> None:
    first, second, middle = place.chip("a", -100.0), place.chip("b", 100.0), place.chip("m")
    middle.listen()
    first.send(bytes(60))
    place.clock.advance(60_000)
    second.send(bytes(60))
    place.clock.advance(1e6)
    assert outcome(middle) == DAMAGED
    headers = middle.get(r.RX_HEADER_CNT_VALUE_MSB, 2)
    assert headers - middle.get(r.RX_PACKET_CNT_VALUE_MSB, 2) == 1


def test_other_spreading_factors_and_channels_do_not_disturb_unless_much_stronger() -> None:
    for other_sf, other_hz, distance, expected in (
        (8, HZ, 100.0, GOOD),
        (8, HZ, 10.0, LOST),  # 20 dB stronger: beyond the 8 dB of the table
        (7, HZ + 200_000, 10.0, GOOD),
    ):
        place = Place()
        wanted, other = place.chip("wanted", -100.0), place.chip("other", distance)
        other.tune(hz=other_hz, sf=other_sf)
        middle = place.chip("middle")
        middle.listen()
        other.send(bytes(30))
        wanted.send(bytes(30))
        place.clock.advance(1e6)
        assert outcome(middle) == expected, (other_sf, other_hz, distance)


def test_the_last_preamble_symbols_are_enough(place: Place) -> None:
    """What is over before the last five symbols of the preamble disturbs nobody."""
    symbol_us = 1024
    for overlap_symbols, expected in ((2.5, GOOD), (4.5, LOST)):
        place = Place()
        early, late, middle = place.chip("e", -50.0), place.chip("l", 50.0), place.chip("m")
        early.send(bytes(5))
        end_us = place.air.sent[0].end_us
        place.clock.advance(end_us - place.clock.us - overlap_symbols * symbol_us - 120)
        middle.mode(r.RX_CONTINUOUS)
        late.send(bytes(5))
        place.clock.advance(1e6)
        assert outcome(middle) == expected


def test_a_jammer_and_its_silence(place: Place) -> None:
    jammer = Jammer((30.0, 0.0), HZ, 125_000, 10.0)
    place.air.jammers.append(jammer)
    sender, receiver = place.chip("a", -200.0), place.chip("b")
    receiver.listen()
    quiet = receiver.get(r.RSSI_VALUE) - 157
    jammer.on = [(place.clock.us, place.clock.us + 500_000)]
    loud = receiver.get(r.RSSI_VALUE) - 157
    assert loud > quiet + 40
    sender.send(bytes(20))
    place.clock.advance(600_000)
    assert outcome(receiver) == LOST
    sender.send(bytes(20))
    place.clock.advance(600_000)
    assert outcome(receiver) == GOOD


@pytest.mark.parametrize(("ppm", "expected"), [(15.0, GOOD), (40.0, LOST)])
def test_two_crystals_may_be_apart_by_a_quarter_of_the_bandwidth(ppm: float, expected: str) -> None:
    place = Place()
    sender, receiver = place.chip("a", ppm=ppm), place.chip("b", 10.0, ppm=-ppm)
    receiver.listen()
    sender.send(b"x")
    place.clock.advance(1e6)
    assert outcome(receiver) == expected


def test_shadowing_is_fair_the_same_both_ways_and_in_every_run() -> None:
    loss = PathLoss()
    shadows = [loss.shadow_db(1, "hub", f"home {i}") for i in range(400)]
    assert statistics.mean(shadows) == pytest.approx(0.0, abs=0.5)
    assert statistics.stdev(shadows) == pytest.approx(loss.sigma_db, rel=0.1)
    assert loss.shadow_db(1, "home 7", "hub") == shadows[7]
    assert loss.shadow_db(2, "hub", "home 7") != shadows[7]


def test_a_frame_of_a_transmitter_that_dies_is_damaged(place: Place) -> None:
    sender, receiver = place.chip("a"), place.chip("b", 10.0)
    receiver.listen()
    sender.send(bytes(100))
    place.clock.advance(60_000)
    sender.mode(r.STDBY)
    place.clock.advance(1e6)
    assert outcome(receiver) != GOOD
