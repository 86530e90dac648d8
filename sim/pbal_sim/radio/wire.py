"""The wire between a simulated ESP32's SPI and its emulated radio, in real time."""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Any

from pbal_sim.hal import hwmap
from pbal_sim.radio.air import Air
from pbal_sim.radio.sx1276 import Sx1276

_HEAD = struct.Struct("<BH")


class RadioWire:
    """Serves one node's radio. `board` is its `[radio]` table; `set_input(pin, level)` drives the
    chip's input pins; `schedule(us, action)` calls back at a time of the air's clock.
    """

    def __init__(
        self,
        wire: socket.socket,
        radio: Sx1276,
        board: dict[str, Any],
        set_input: Callable[[int, int], None],
        schedule: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self.radio = radio
        self._wire = wire
        self._cs, self._reset = int(board["cs"]), int(board["reset"])
        self._dio = [int(board[name]) for name in ("dio0", "dio1", "dio2") if name in board]
        self._set_input = set_input
        self._schedule = schedule
        self._buffer = bytearray()
        self._alarm_us: int | None = None
        radio.on_dio = self._edge

    def _edge(self, line: int, level: int) -> None:
        if line < len(self._dio):
            self._set_input(self._dio[line], level)

    def reset(self) -> None:
        """The ESP32 stopped: half an access is lost, the radio keeps its registers."""
        self._buffer.clear()
        with contextlib.suppress(OSError):
            while self._wire.recv(4096):
                pass
        self.radio.select(1)

    def readable(self) -> bool:
        """The chip sent something; False when it hung up."""
        try:
            came = self._wire.recv(65536)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self._buffer += came
        while len(self._buffer) >= _HEAD.size:
            kind, size = _HEAD.unpack_from(self._buffer)
            end = _HEAD.size + size
            if len(self._buffer) < end:
                break
            data = bytes(self._buffer[_HEAD.size : end])
            del self._buffer[:end]
            if kind == hwmap.SPI_MOVE:
                with contextlib.suppress(OSError):
                    self._wire.send(self.radio.transfer(data))
            elif data[0] == self._cs:
                self.radio.select(data[1])
            elif data[0] == self._reset:
                self.radio.reset_pin(data[1])
        self.look_ahead(self.radio.air)
        return bool(came)

    def look_ahead(self, air: Air) -> None:
        """Schedule a call at the next event on the air, for the DIO lines."""
        due_us = air.next_us()
        if due_us is None or (self._alarm_us is not None and self._alarm_us <= due_us):
            return
        self._alarm_us = due_us

        def wake() -> None:
            self._alarm_us = None
            air.catch_up()
            self.look_ahead(air)

        self._schedule(due_us, wake)
