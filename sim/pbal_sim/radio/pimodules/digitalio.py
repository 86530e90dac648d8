"""Digital pins, those of the twin's radio."""

from typing import Any

import _twin


class DigitalInOut:
    def __init__(self, pin: int) -> None:
        self._pin = pin

    @property
    def value(self) -> bool:
        return bool(_twin.level(self._pin))

    @value.setter
    def value(self, level: bool) -> None:
        _twin.drive(self._pin, int(level))

    def switch_to_output(self, value: bool = False, drive_mode: Any = None) -> None:
        self.value = value

    def switch_to_input(self, pull: Any = None) -> None:
        pass

    def deinit(self) -> None:
        pass
