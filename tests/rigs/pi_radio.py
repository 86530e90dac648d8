"""The Raspberry Pi's radio drivers, as they are installed, on emulated chips in virtual time.

pyLoRa is AGPL: it is never installed unless asked for by name (`pip install 'pbal[pylora]'`), so
its tests skip wherever it is not, in CI too.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from pbal_sim.radio import Pi, Sx1276, VirtualClock
from rigs import needs

_CE1, _RESET1 = 7, 25


@contextlib.contextmanager
def _loaded(clock: VirtualClock, pi: Pi, *names: str) -> Iterator[list[ModuleType]]:
    """A driver's modules, loaded afresh with the Pi's modules below, their time the virtual one."""
    clock.watch.append(pi.pump)
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
                module.time = clock.time_module()  # type: ignore[attr-defined]
        try:
            yield modules
        finally:
            forget()
            clock.watch.remove(pi.pump)


@contextlib.contextmanager
def rfm9x(clock: VirtualClock, chip: Sx1276, mhz: float = 868.1, **more: Any) -> Iterator[Any]:
    """An RFM9x on a chip; skips (or fails in CI) where the driver is not installed."""
    needs.require_module("adafruit_rfm9x", "pi")
    pi = Pi(clock.advance)
    pi.wire(chip, select_pin=_CE1, select=1, reset_pin=_RESET1, dio_pins=())
    with _loaded(clock, pi, "adafruit_rfm9x") as (module,):
        busio, digitalio = sys.modules["busio"], sys.modules["digitalio"]
        spi = busio.SPI(11, MOSI=10, MISO=9)
        pins = [digitalio.DigitalInOut(pin) for pin in (_CE1, _RESET1)]
        yield module.RFM9x(spi, *pins, mhz, **more)


def say(driver: Any, frame: bytes) -> None:
    """Send a frame with rfm9x: what it calls its header are a frame's first four bytes."""
    to, node, identifier, flags = frame[:4]
    assert driver.send(
        frame[4:], destination=to, node=node, identifier=identifier, flags=flags,
        keep_listening=True,
    )  # fmt: skip


class PyLora:
    """pyLoRa, set up as its own examples do, with what it heard."""

    def __init__(self, clock: VirtualClock, modules: list[ModuleType]) -> None:
        config, module, self._names = modules
        self._clock = clock
        config.BOARD.setup()
        config.BOARD.reset()
        config.BOARD.low_band = False
        heard = self.heard = []  # type: list[bytes]

        class Radio(module.LoRa):  # type: ignore[name-defined,misc]
            def on_rx_done(self) -> None:
                flags = self.get_irq_flags()
                self.clear_irq_flags(RxDone=1, PayloadCrcError=1, ValidHeader=1)
                if not flags["crc_error"]:
                    heard.append(bytes(self.read_payload(nocheck=True)))

        radio = self.radio = Radio(verbose=False)
        radio.set_mode(self._names.MODE.STDBY)
        radio.set_freq(868.1)
        radio.set_pa_config(pa_select=1, max_power=7, output_power=15)
        radio.set_spreading_factor(7)
        radio.set_bw(self._names.BW.BW125)
        radio.set_coding_rate(self._names.CODING_RATE.CR4_5)
        radio.set_rx_crc(True)
        radio.set_agc_auto_on(True)
        radio.set_fifo_tx_base_addr(0)
        radio.set_fifo_rx_base_addr(0)

    def listen(self) -> None:
        """Receive until told otherwise."""
        self.radio.mode = None  # it does not notice that a transmission ended
        self.radio.reset_ptr_rx()
        self.radio.set_dio_mapping([0] * 6)
        self.radio.set_mode(self._names.MODE.RXCONT)
        self._clock.advance(1000)

    def send(self, frame: bytes) -> None:
        """Begin to send."""
        self.radio.write_payload(list(frame))
        self.radio.set_mode(self._names.MODE.TX)


@contextlib.contextmanager
def pylora(clock: VirtualClock, chip: Sx1276) -> Iterator[PyLora]:
    """pyLoRa on a chip; skips where it is not installed."""
    if importlib.util.find_spec("SX127x") is None:
        pytest.skip("pyLoRa is not installed (AGPL, only when asked for): pip install pbal[pylora]")
    pi = Pi(clock.advance)
    pi.wire(chip)
    names = ("SX127x.board_config", "SX127x.LoRa", "SX127x.constants")
    with _loaded(clock, pi, *names) as modules:
        yield PyLora(clock, modules)
