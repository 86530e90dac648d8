"""Transmissions that disturb the line: a babbling node, an intruder, a driver stuck on."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from pbal_sim.line import INTRUDER, Line, Transmission

_LOOK_AGAIN_US = 300


class Disturbances:
    """The disturbances of one segment, which supplies these functions:

    `at(t_us, action)` schedules, `send(source, t_us, data)` puts a frame on the line, `finish`
    hands a transmission that is over to the receivers, and `between_turns(t_us)` says whether an
    answer has ended long enough ago and no request has begun.
    """

    def __init__(
        self,
        line: Line,
        char_us: float,
        rng: random.Random,
        *,
        at: Callable[[float, Callable[[], None]], None],
        send: Callable[[int, float, bytes], Transmission],
        finish: Callable[[Transmission], None],
        between_turns: Callable[[float], bool],
    ) -> None:
        self._line = line
        self._char_us = char_us
        self._rng = rng
        self._at = at
        self._send = send
        self._finish = finish
        self._between_turns = between_turns
        self._babble: dict[int, tuple[float, float]] = {}

    def babble(self, node: int, on_ms: float, off_ms: float) -> None:
        """Lets a node send noise in bursts; `on_ms` 0 stops it."""
        if on_ms <= 0:
            self._babble.pop(node, None)
            return
        start = node not in self._babble
        self._babble[node] = (on_ms, off_ms)
        if start:
            self._burst(node)

    def _burst(self, node: int) -> None:
        if node not in self._babble:
            return
        on_ms, off_ms = self._babble[node]
        now = time.monotonic_ns() / 1000
        count = max(1, int(on_ms * 1000 / self._char_us))
        driver = self._line.drivers[node]
        driver.enable(now)
        tx = Transmission(node, now, bytearray(self._rng.randbytes(count)), self._char_us)
        self._line.begin(tx)
        end = tx.end_us

        def over() -> None:
            driver.disable(end + 1)
            self._finish(tx)

        self._at(end + self._char_us, over)
        self._at(end + off_ms * 1000, lambda: self._burst(node))

    def hold_driver(self, node: int, on: bool) -> None:
        """A transceiver whose driver is stuck on, or no longer."""
        driver = self._line.drivers[node]
        now = time.monotonic_ns() / 1000
        (driver.enable if on else driver.disable)(now)

    def inject(self, data: bytes, tries: int = 400) -> None:
        """Puts an intruder's frame on the line in the next gap that is long enough."""
        now = time.monotonic_ns() / 1000
        busy = any(not t.delivered for t in self._line.recent)
        if tries and (busy or not self._between_turns(now)):
            self._at(now + _LOOK_AGAIN_US, lambda: self.inject(data, tries - 1))
            return
        self._send(INTRUDER, now, data)
