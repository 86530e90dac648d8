"""The wire between a chip's second UART and its PZEM meter: records in, bytes out, at 9600."""

from __future__ import annotations

import contextlib
import mmap
import socket
import struct
from collections.abc import Callable

from pbal_sim.hal import hwmap
from pbal_sim.pzem import ANSWER_DELAY_US, BAUD, Pzem

_CHAR_US = 10 * 1e6 / BAUD  # 8N1


class MeterWire:
    """Feeds one Pzem from its chip's UART and sends the answer when it would end on a real line.

    `schedule(t_us, action)` calls back at a time on CLOCK_MONOTONIC.
    """

    def __init__(
        self,
        wire: socket.socket,
        meter: Pzem,
        pages: mmap.mmap,
        base: int,
        schedule: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self._wire = wire
        self._meter = meter
        self._pages = pages
        self._base = base
        self._schedule = schedule
        self._buffer = bytearray()
        self._request = bytearray()
        self._right_speed = True
        self._generation = 0
        self._last_end = 0.0

    def reset(self) -> None:
        """The chip stopped: what is on its way is lost."""
        self._generation += 1
        self._buffer.clear()
        self._request.clear()
        struct.pack_into("<I", self._pages, self._base + hwmap.RX_SIZE + 4, 0)

    def readable(self) -> None:
        """The chip sent something."""
        try:
            self._buffer += self._wire.recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        size = hwmap.EVENT_SIZE
        while len(self._buffer) >= size:
            kind, _, b, c, t_us = struct.unpack_from(hwmap.EVENT_FORMAT, self._buffer, 0)
            if kind == hwmap.EV_UART:
                self._right_speed = c == BAUD and b == 0
                del self._buffer[:size]
            elif kind == hwmap.EV_TX:
                if len(self._buffer) < size + b:
                    return
                data = bytes(self._buffer[size : size + b])
                del self._buffer[: size + b]
                self._sent(data, t_us)
            else:
                del self._buffer[:size]

    def _sent(self, data: bytes, t_us: float) -> None:
        if t_us - self._last_end > 4 * _CHAR_US:
            self._request.clear()  # a silence starts a new frame
        self._request += data
        self._last_end = t_us + len(data) * _CHAR_US
        self._generation += 1
        generation = self._generation
        end = self._last_end

        def over() -> None:
            if generation != self._generation or not self._right_speed:
                return
            answer = self._meter.answer(bytes(self._request))
            self._request.clear()
            if answer:
                due = end + ANSWER_DELAY_US + len(answer) * _CHAR_US
                self._schedule(due, lambda: self._give(answer, generation))

        self._schedule(end + 4 * _CHAR_US, over)

    def _give(self, data: bytes, generation: int) -> None:
        if generation != self._generation or not self._meter.powered or self._pages.closed:
            return
        at = self._base + 4
        size = struct.unpack_from("<I", self._pages, at + hwmap.RX_SIZE)[0]
        if not size:
            return
        given = struct.unpack_from("<I", self._pages, at + hwmap.RX_GIVEN)[0]
        with contextlib.suppress(OSError):
            self._wire.send(data)
            value = (given + len(data)) & 0xFFFFFFFF
            struct.pack_into("<I", self._pages, at + hwmap.RX_GIVEN, value)
