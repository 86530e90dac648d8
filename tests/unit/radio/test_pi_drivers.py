"""The Raspberry Pi's two drivers, unmodified, on emulated chips; and what one says to the other.

pyLoRa is AGPL: it is never installed unless asked for by name (`pip install 'pbal[pylora]'`), so
its tests skip wherever it is not, in CI too.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from rigs import needs

from pbal_sim.radio import Pi, Sx1276
from pbal_sim.radio import registers as r

from .conftest import Place

FRAME = bytes(range(1, 40))
CE1, RESET1 = 7, 25


@contextlib.contextmanager
def loaded(place: Place, names: tuple[str, ...], *chips: Sx1276) -> Iterator[list[ModuleType]]:
    """A driver's modules with emulated chips below, their time the virtual one."""
    pi = Pi(place.clock.advance)
    if chips:
        pi.wire(chips[0], select_pin=CE1, select=1, reset_pin=RESET1, dio_pins=(5, 6, 12, 13))
    for chip in chips[1:]:
        pi.wire(chip)
    place.clock.watch.append(pi.pump)
    fresh = {name.split(".")[0] for name in names}

    def forget() -> None:
        for name in list(sys.modules):
            if name.split(".")[0] in fresh:
                del sys.modules[name]

    forget()
    with pi.installed():
        modules = [importlib.import_module(name) for name in names]
        for module in modules:
            if hasattr(module, "time"):
                module.time = place.clock.time_module()  # type: ignore[attr-defined]
        try:
            yield modules
        finally:
            forget()


@pytest.fixture
def rfm9x(place: Place) -> Iterator[Callable[[Sx1276], Any]]:
    """Makes an RFM9x of the installed driver on a chip."""
    needs.require_module("adafruit_rfm9x", "pi")
    with contextlib.ExitStack() as stack:

        def make(chip: Sx1276, frequency: float = 868.1, **more: Any) -> Any:
            (module,) = stack.enter_context(loaded(place, ("adafruit_rfm9x",), chip))
            import board
            import busio
            import digitalio

            spi = busio.SPI(board.SCK, MOSI=board.MOSI, MISO=board.MISO)
            pins = [digitalio.DigitalInOut(pin) for pin in (CE1, RESET1)]
            return module.RFM9x(spi, *pins, frequency, **more)

        yield make


@pytest.fixture
def pylora(place: Place) -> Iterator[Callable[[Sx1276], Any]]:
    """Makes a LoRa of pyLoRa on a chip, set up as its own examples do."""
    if importlib.util.find_spec("SX127x") is None:
        pytest.skip("pyLoRa is not installed (AGPL, only when asked for): pip install pbal[pylora]")
    with contextlib.ExitStack() as stack:

        def make(chip: Sx1276) -> Any:
            spare = Sx1276(place.air, "spare", (5000.0, 0.0))
            names = ("SX127x.board_config", "SX127x.LoRa", "SX127x.constants")
            config, module, constants = stack.enter_context(loaded(place, names, spare, chip))
            config.BOARD.setup()
            config.BOARD.reset()
            config.BOARD.low_band = False

            class Radio(module.LoRa):  # type: ignore[name-defined,misc]
                heard: list[bytes]

                def on_rx_done(self) -> None:
                    flags = self.get_irq_flags()
                    self.clear_irq_flags(RxDone=1, PayloadCrcError=1, ValidHeader=1)
                    if not flags["crc_error"]:
                        self.heard.append(bytes(self.read_payload(nocheck=True)))

            radio = Radio(verbose=False)
            radio.heard = []
            radio.set_mode(constants.MODE.STDBY)
            radio.set_freq(868.1)
            radio.set_pa_config(pa_select=1, max_power=7, output_power=15)
            radio.set_spreading_factor(7)
            radio.set_bw(constants.BW.BW125)
            radio.set_coding_rate(constants.CODING_RATE.CR4_5)
            radio.set_rx_crc(True)
            radio.set_agc_auto_on(True)
            radio.set_fifo_tx_base_addr(0)
            radio.set_fifo_rx_base_addr(0)
            return SimpleNamespace(radio=radio, mode=constants.MODE)

        yield make


def say(driver: Any, frame: bytes) -> None:
    """Send a frame with rfm9x: what it calls its header are a frame's first four bytes."""
    to, node, identifier, flags = frame[:4]
    assert driver.send(
        frame[4:], destination=to, node=node, identifier=identifier, flags=flags,
        keep_listening=True,
    )  # fmt: skip


def pylora_listens(one: Any) -> None:
    one.radio.reset_ptr_rx()
    one.radio.set_dio_mapping([0] * 6)
    one.radio.set_mode(one.mode.RXCONT)


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
    one.radio.write_payload(list(FRAME))
    one.radio.set_mode(one.mode.TX)
    place.clock.advance(100_000)
    assert one.radio.get_irq_flags()["tx_done"] == 1
    one.radio.clear_irq_flags(TxDone=1)
    assert other.received() == FRAME
    one.radio.mode = None  # it believes itself still in TX
    pylora_listens(one)
    place.clock.advance(1000)
    for text in (b"one", b"and two"):
        other.send(text)
        place.clock.advance(100_000)
    assert one.radio.heard == [b"one", b"and two"]
    # It takes 256 - 48 quarters of a decibel for the ratio: who uses it reads the register.
    assert one.radio.get_pkt_snr_value() == 52.0
    assert chip.exchange(bytes([r.PKT_SNR_VALUE, 0]))[1] == 48


def test_rfm9x_and_pylora_understand_each_other(
    place: Place, rfm9x: Callable[..., Any], pylora: Callable[..., Any]
) -> None:
    left, right = Sx1276(place.air, "left"), Sx1276(place.air, "right", (300.0, 0.0))
    two = pylora(right)
    one = rfm9x(left)
    pylora_listens(two)
    place.clock.advance(1000)
    say(one, FRAME)
    place.clock.advance(1000)
    assert two.radio.heard == [FRAME]

    def answer() -> None:
        two.radio.write_payload(list(FRAME[::-1]))
        two.radio.set_mode(two.mode.TX)

    one.listen()
    place.clock.advance(1000)
    answer()
    assert one.receive(timeout=0.5, with_header=True) == bytearray(FRAME[::-1])
    assert right.exchange(bytes([r.IRQ_FLAGS, 0]))[1] & r.TX_DONE
