"""An emulated radio for a program that runs beside the twin: a controller with its own driver.

`async with PiPort(...)` listens on a Unix socket; a program that has `environment()` in its own
finds `board`, `busio` and `digitalio` of a Raspberry Pi whose SPI leads to the radio (pimodules/).
"""

from __future__ import annotations

import asyncio
import mmap
import os
import socket
from collections.abc import Callable
from pathlib import Path

from pbal_sim.radio.sx1276 import Sx1276
from pbal_sim.radio.wire import RadioWire

_PINS = 64


class PiPort:
    """One Pi with one radio. `cs`, `reset` and `dio0` are BCM numbers."""

    def __init__(
        self,
        path: Path,
        radio: Sx1276,
        schedule: Callable[[float, Callable[[], None]], None],
        *,
        cs: int = 7,
        reset: int = 25,
        dio0: int = 22,
    ) -> None:
        self.radio = radio
        self._path = path
        self._schedule = schedule
        self._board = {"cs": cs, "reset": reset, "dio0": dio0}
        self._server: socket.socket | None = None
        self._wire: socket.socket | None = None
        self._page: mmap.mmap | None = None

    def environment(self) -> dict[str, str]:
        """What the program's environment needs."""
        modules = Path(__file__).resolve().parent / "pimodules"
        before = os.environ.get("PYTHONPATH")
        return {
            "PBAL_TWIN_PI": str(self._path),
            "PYTHONPATH": os.pathsep.join([str(modules), *([before] if before else [])]),
        }

    async def __aenter__(self) -> PiPort:
        self._page = _pins_of(self._path)
        server = self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        server.bind(str(self._path))
        server.listen(1)
        server.setblocking(False)
        asyncio.get_running_loop().add_reader(server.fileno(), self._accept)
        return self

    def _accept(self) -> None:
        assert self._server is not None
        try:
            wire, _ = self._server.accept()
        except BlockingIOError:
            return
        self._hang_up()
        wire.setblocking(False)
        self._wire = wire
        serve = RadioWire(wire, self.radio, self._board, self._set_input, self._schedule)

        def readable() -> None:
            if not serve.readable():
                self._hang_up()

        asyncio.get_running_loop().add_reader(wire.fileno(), readable)

    def _set_input(self, pin: int, level: int) -> None:
        if self._page is not None:
            self._page[pin] = level

    def _hang_up(self) -> None:
        if self._wire is not None:
            asyncio.get_running_loop().remove_reader(self._wire.fileno())
            self._wire.close()
            self._wire = None
            self.radio.select(1)

    async def __aexit__(self, *exc: object) -> None:
        self._hang_up()
        if self._server is not None:
            asyncio.get_running_loop().remove_reader(self._server.fileno())
            self._server.close()
        if self._page is not None:
            self._page.close()
            self._page = None
        os.unlink(self._path)
        os.unlink(f"{self._path}.pins")


def _pins_of(path: Path) -> mmap.mmap:
    """The page with the pins' levels, beside the socket."""
    pins = Path(f"{path}.pins")
    pins.write_bytes(bytes(_PINS))
    with pins.open("r+b") as file:
        return mmap.mmap(file.fileno(), _PINS)
