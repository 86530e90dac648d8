"""The Raspberry Pi's two drivers, unmodified, on emulated chips; and what one says to the other."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from rigs import pi_radio
from rigs.pi_radio import say

from pbal_sim.radio import Sx1276
from pbal_sim.radio import registers as r

from .conftest import Place

FRAME = bytes(range(1, 40))


@pytest.fixture
def rfm9x(place: Place) -> Iterator[Callable[..., Any]]:
    """Makes an RFM9x of the installed driver on a chip."""
    with contextlib.ExitStack() as stack:
        yield lambda chip, *more: stack.enter_context(pi_radio.rfm9x(place.clock, chip, *more))


@pytest.fixture
def pylora(place: Place) -> Iterator[Callable[[Sx1276], pi_radio.PyLora]]:
    """Makes a pyLoRa on a chip."""
    with contextlib.ExitStack() as stack:
        yield lambda chip: stack.enter_context(pi_radio.pylora(place.clock, chip))


def test_rfm9x_sends_and_receives(place: Place, rfm9x: Callable[..., Any]) -> None:
    chip = Sx1276(place.air, "pi")
    driver = rfm9x(chip)
    other = place.chip("other", 200.0)
    other.listen()
    say(driver, FRAME)
    assert other.received() == FRAME

    def answer() -> None:
        other.send(FRAME[::-1])

    place.air.call_at(place.clock.us + 50_000, answer)
    assert driver.receive(timeout=0.5, with_header=True) == bytearray(FRAME[::-1])
    assert driver.last_rssi < -40
    assert driver.last_snr == 12.0


def test_rfm9x_has_the_power_it_believes(place: Place, rfm9x: Callable[..., Any]) -> None:
    chip = Sx1276(place.air, "pi")
    driver = rfm9x(chip)
    for asked, there in ((13, 10.0), (20, 17.0)):
        driver.tx_power = asked
        # In its scale 20 stands for 17 dBm at PA_BOOST: 3 dB less than it says.
        assert chip.modem.power_dbm("boost") == there
    driver.tx_power = 23
    # 20 dBm need more current than the protection lets through, and the driver leaves it as it is.
    assert chip.modem.power_dbm("boost") == 17.0


def test_rfm9x_loses_what_comes_while_nobody_asks(place: Place, rfm9x: Callable[..., Any]) -> None:
    """Why a controller keeps it listening in a thread of its own."""
    driver = rfm9x(Sx1276(place.air, "pi"))
    other = place.chip("other", 100.0)
    assert driver.receive(timeout=0.01) is None
    for text in (b"....first", b"...second"):
        other.send(text)
        place.clock.advance(100_000)
    assert driver.receive(timeout=0.01, with_header=True) == bytearray(b"...second")
    assert driver.receive(timeout=0.01) is None


def test_rfm9x_counts_a_wrong_checksum(place: Place, rfm9x: Callable[..., Any]) -> None:
    driver = rfm9x(Sx1276(place.air, "pi"))
    one, two = place.chip("one", -100.0), place.chip("two", 100.0)
    driver.listen()
    place.clock.advance(1000)
    one.send(bytes(60))
    place.clock.advance(60_000)
    two.send(bytes(60))
    place.clock.advance(200_000)
    assert driver.receive(timeout=0.01) is None
    assert driver.crc_error_count == 1


def test_rfm9x_says_when_there_is_no_chip(place: Place, rfm9x: Callable[..., Any]) -> None:
    chip = Sx1276(place.air, "pi")
    chip.transfer = lambda out: bytes(len(out))  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="wiring"):
        rfm9x(chip)


def test_rfm9x_takes_errata_into_account(place: Place, rfm9x: Callable[..., Any]) -> None:
    chip = Sx1276(place.air, "pi")
    driver = rfm9x(chip, 915.0)
    assert not chip.leaks
    driver.signal_bandwidth = 500_000
    assert not chip.leaks
    assert chip.loss_db == 0


def test_rfm9x_leaves_low_data_rate_to_its_user(place: Place, rfm9x: Callable[..., Any]) -> None:
    """At SF11 and SF12 nobody else understands it until this is set."""
    chip = Sx1276(place.air, "pi")
    driver = rfm9x(chip)
    driver.spreading_factor = 12
    assert not chip.modem.slow
    driver.low_datarate_optimize = 1
    assert chip.modem.slow


def test_pylora_sends_and_receives(place: Place, pylora: Callable[..., Any]) -> None:
    chip = Sx1276(place.air, "pi")
    one = pylora(chip)
    other = place.chip("other", 200.0)
    other.listen()
    one.send(FRAME)
    place.clock.advance(100_000)
    assert one.radio.get_irq_flags()["tx_done"] == 1
    one.radio.clear_irq_flags(TxDone=1)
    assert other.received() == FRAME
    one.listen()
    for text in (b"one", b"and two"):
        other.send(text)
        place.clock.advance(100_000)
    assert one.heard == [b"one", b"and two"]
    # It takes 256 - 48 quarters of a decibel for the ratio: who uses it reads the register.
    assert one.radio.get_pkt_snr_value() == 52.0
    assert chip.exchange(bytes([r.PKT_SNR_VALUE, 0]))[1] == 48


def test_rfm9x_and_pylora_understand_each_other(
    place: Place, rfm9x: Callable[..., Any], pylora: Callable[..., Any]
) -> None:
    left, right = Sx1276(place.air, "left"), Sx1276(place.air, "right", (300.0, 0.0))
    two = pylora(right)
    one = rfm9x(left)
    two.listen()
    say(one, FRAME)
    place.clock.advance(1000)
    assert two.heard == [FRAME]
    one.listen()
    place.clock.advance(1000)
    two.send(FRAME[::-1])
    assert one.receive(timeout=0.5, with_header=True) == bytearray(FRAME[::-1])
    assert right.exchange(bytes([r.IRQ_FLAGS, 0]))[1] & r.TX_DONE
