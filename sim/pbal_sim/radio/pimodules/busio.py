"""SPI, to the twin's radio."""

from typing import Any

import _twin


class SPI:
    def __init__(self, clock: int, MOSI: int | None = None, MISO: int | None = None) -> None:
        self._locked = False

    def try_lock(self) -> bool:
        if self._locked:
            return False
        self._locked = True
        return True

    def unlock(self) -> None:
        self._locked = False

    def configure(
        self, *, baudrate: int = 100000, polarity: int = 0, phase: int = 0, bits: int = 8
    ) -> None:
        pass

    def write(self, buf: Any, *, start: int = 0, end: int | None = None) -> None:
        _twin.move(bytes(buf[start:end]))

    def readinto(
        self, buf: Any, *, start: int = 0, end: int | None = None, write_value: int = 0
    ) -> None:
        stop = len(buf) if end is None else end
        buf[start:stop] = _twin.move(bytes([write_value]) * (stop - start))

    def deinit(self) -> None:
        pass
