"""A Raspberry Pi's SPI and GPIO with emulated radios on them, for drivers that run unmodified.

`Pi.installed()` puts modules named `spidev`, `RPi.GPIO`, `busio`, `digitalio` and `board` where a
driver's imports find them, and removes them again; `micropython` too, for its `const`. They
have the parts that the drivers use, with the meanings of the real ones.

Interrupt callbacks do not run in the middle of a driver's call, as on a real Pi they come from
another thread: they wait for `pump()`, which a `VirtualClock` may do at every step.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pbal_sim.radio.sx1276 import Sx1276


@dataclass
class Wired:
    """One radio: its SPI bus and chip select, and the BCM numbers of its pins."""

    chip: Sx1276
    bus: int
    select: int
    select_pin: int
    reset_pin: int
    dio_pins: tuple[int, ...]


class Pi:
    """The computer. A transfer takes its bits' time and `overhead_us` where `spend_us` is given.

    `devices`: which /dev/spidevB.D there are, whether or not something is connected; none where the
    overlay for SPI is not set.
    """

    def __init__(
        self,
        spend_us: Callable[[float], None] | None = None,
        overhead_us: float = 15.0,
        devices: tuple[tuple[int, int], ...] = ((0, 0), (0, 1)),
    ) -> None:
        self.devices = devices
        self._spend_us = spend_us or (lambda us: None)
        self._overhead_us = overhead_us
        self._radios: list[Wired] = []
        self._levels: dict[int, int] = {}
        self._callbacks: dict[int, list[Callable[[int], None]]] = {}
        self._waiting: list[tuple[Callable[[int], None], int]] = []
        self._pumping = False

    def wire(
        self,
        chip: Sx1276,
        *,
        bus: int = 0,
        select: int = 0,
        select_pin: int = 8,
        reset_pin: int = 22,
        dio_pins: tuple[int, ...] = (4, 17, 18, 27),
    ) -> Wired:
        """Connect a radio; the defaults are where pyLoRa looks for one."""
        wired = Wired(chip, bus, select, select_pin, reset_pin, dio_pins)
        self._radios.append(wired)
        chip.on_dio = lambda line, level: self._edge(wired, line, level)
        return wired

    # -- pins -------------------------------------------------------------------------------------

    def _edge(self, wired: Wired, line: int, level: int) -> None:
        if line < len(wired.dio_pins):
            pin = wired.dio_pins[line]
            self._levels[pin] = level
            if level:
                self._waiting += [(call, pin) for call in self._callbacks.get(pin, [])]

    def pump(self) -> None:
        """Run the interrupt callbacks that are due."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._waiting:
                call, pin = self._waiting.pop(0)
                call(pin)
        finally:
            self._pumping = False

    def output(self, pin: int, level: int) -> None:
        """Drive a pin."""
        self._levels[pin] = 1 if level else 0
        for wired in self._radios:
            if pin == wired.reset_pin:
                wired.chip.reset_pin(self._levels[pin])
            elif pin == wired.select_pin:
                wired.chip.select(self._levels[pin])

    def input(self, pin: int) -> int:
        """Level of a pin."""
        for wired in self._radios:
            wired.chip.air.catch_up()
        return self._levels.get(pin, 0)

    # -- SPI --------------------------------------------------------------------------------------

    def _took(self, count: int, hz: int) -> None:
        self._spend_us(self._overhead_us + 8e6 * count / max(hz, 1))

    def on_bus(self, bus: int, out: bytes, hz: int) -> bytes:
        """Bytes to whichever radio's chip select pin is low; the line floats high without one."""
        self._took(len(out), hz)
        for wired in self._radios:
            if wired.bus == bus and not self._levels.get(wired.select_pin, 1):
                return wired.chip.transfer(out)
        return b"\xff" * len(out)

    def exchange(self, bus: int, select: int, out: bytes, hz: int) -> bytes:
        """One transfer with the chip select that the SPI controller drives itself."""
        self._took(len(out), hz)
        for wired in self._radios:
            if (wired.bus, wired.select) == (bus, select):
                return wired.chip.exchange(out)
        return b"\xff" * len(out)

    # -- modules ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """The modules are there, for whatever is imported meanwhile."""
        modules = {
            "spidev": self._spidev(),
            "RPi": ModuleType("RPi"),
            "RPi.GPIO": self._gpio(),
            "busio": self._busio(),
            "digitalio": self._digitalio(),
            "board": self._board(),
            "micropython": _module("micropython", const=lambda value: value),
        }
        modules["RPi"].GPIO = modules["RPi.GPIO"]  # type: ignore[attr-defined]
        before = {name: sys.modules.get(name) for name in modules}
        sys.modules.update(modules)
        try:
            yield
        finally:
            for name, module in before.items():
                if module is None:
                    sys.modules.pop(name, None)
                else:
                    sys.modules[name] = module

    def _spidev(self) -> ModuleType:
        pi = self

        class SpiDev:
            def __init__(self) -> None:
                self.max_speed_hz = 500_000
                self.mode = 0
                self._place: tuple[int, int] | None = None

            def open(self, bus: int, device: int) -> None:
                if (bus, device) not in pi.devices:
                    raise FileNotFoundError(2, "No such file or directory")
                self._place = (bus, device)

            def close(self) -> None:
                self._place = None

            def xfer(self, data: list[int], *_: Any) -> list[int]:
                if self._place is None:
                    raise OSError(9, "Bad file descriptor")
                return list(pi.exchange(*self._place, bytes(data), self.max_speed_hz))

            xfer2 = xfer

        return _module("spidev", SpiDev=SpiDev)

    def _gpio(self) -> ModuleType:
        def add_event_detect(
            pin: int, edge: int, callback: Callable[[int], None] | None = None, bouncetime: int = 0
        ) -> None:
            if callback is not None:
                self._callbacks.setdefault(pin, []).append(callback)

        return _module(
            "RPi.GPIO",
            BCM=11,
            BOARD=10,
            OUT=0,
            IN=1,
            LOW=0,
            HIGH=1,
            PUD_OFF=20,
            PUD_DOWN=21,
            PUD_UP=22,
            RISING=31,
            FALLING=32,
            BOTH=33,
            setmode=lambda mode: None,
            setwarnings=lambda on: None,
            setup=lambda pin, direction, pull_up_down=20, initial=-1: None,
            output=self.output,
            input=self.input,
            add_event_detect=add_event_detect,
            remove_event_detect=lambda pin: self._callbacks.pop(pin, None),
            cleanup=lambda *pins: self._callbacks.clear(),
        )

    def _busio(self) -> ModuleType:
        pi = self

        class SPI:
            def __init__(self, clock: Any, MOSI: Any = None, MISO: Any = None) -> None:
                if not any(bus == 0 for bus, _ in pi.devices):
                    raise OSError("/dev/spidev0.0 does not exist")  # as Blinka's Adafruit_PureIO
                self._hz = 100_000
                self._locked = False

            def try_lock(self) -> bool:
                if self._locked:
                    return False
                self._locked = True
                return True

            def unlock(self) -> None:
                self._locked = False

            def configure(
                self, *, baudrate: int = 100_000, polarity: int = 0, phase: int = 0, bits: int = 8
            ) -> None:
                self._hz = baudrate

            def write(self, buf: Any, *, start: int = 0, end: int | None = None) -> None:
                pi.on_bus(0, bytes(buf[start:end]), self._hz)

            def readinto(
                self, buf: Any, *, start: int = 0, end: int | None = None, write_value: int = 0
            ) -> None:
                stop = len(buf) if end is None else end
                out = bytes([write_value]) * (stop - start)
                buf[start:stop] = pi.on_bus(0, out, self._hz)

        return _module("busio", SPI=SPI)

    def _digitalio(self) -> ModuleType:
        pi = self

        class DigitalInOut:
            def __init__(self, pin: int) -> None:
                self._pin = pin

            @property
            def value(self) -> bool:
                return bool(pi.input(self._pin))

            @value.setter
            def value(self, level: bool) -> None:
                pi.output(self._pin, int(level))

            def switch_to_output(self, value: bool = False, drive_mode: Any = None) -> None:
                self.value = value

            def switch_to_input(self, pull: Any = None) -> None:
                pass

        return _module("digitalio", DigitalInOut=DigitalInOut)

    def _board(self) -> ModuleType:
        pins = {f"D{n}": n for n in range(28)}
        return _module("board", SCK=11, MOSI=10, MISO=9, CE0=8, CE1=7, **pins)


def _module(name: str, **members: Any) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(members)
    return made
