"""The physics of the RS-485 pair: which driver was on when, and what the receivers hear of it.

No clock, no descriptors: times come in as microseconds of CLOCK_MONOTONIC, so the same
rules run in the bus process and in the unit tests.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

CONTROLLER = -1
INTRUDER = -2
CHAR_BITS = 11
_KEEP_US = 1_000_000


def char_us(baud: int) -> float:
    """Time of one character on the line in microseconds, at 11 bits as Modbus counts."""
    return CHAR_BITS * 1e6 / baud


def silence_us(baud: int) -> float:
    """The t3.5 silence of Modbus over Serial Line V1.02, 2.5.1.1: fixed 1.75 ms above 19200."""
    return 1750.0 if baud > 19200 else 3.5 * char_us(baud)


@dataclass(slots=True)
class Transmission:
    """Bytes that one source put on the line without a pause."""

    source: int
    start_us: float
    data: bytearray
    char_us: float
    garbled: bool = False  # sent at another baud rate or parity than the segment's
    delivered: bool = False

    @property
    def end_us(self) -> float:
        return self.start_us + len(self.data) * self.char_us


@dataclass(slots=True)
class Driver:
    """A node's transceiver: when its driver was enabled."""

    on_us: float | None = None
    spans: list[tuple[float, float]] = field(default_factory=list)

    def enable(self, t_us: float) -> None:
        if self.on_us is None:
            self.on_us = t_us

    def disable(self, t_us: float) -> None:
        if self.on_us is not None:
            self.spans.append((self.on_us, max(t_us, self.on_us)))
            self.on_us = None
            if len(self.spans) > 64:
                self.spans = [s for s in self.spans if s[1] > t_us - _KEEP_US][-32:]

    def covers(self, a_us: float, b_us: float) -> bool:
        """True when the driver was enabled during all of [a, b]."""
        if self.on_us is not None and self.on_us <= a_us:
            return True
        return any(on <= a_us and b_us <= off for on, off in reversed(self.spans))

    def touches(self, a_us: float, b_us: float) -> bool:
        """True when the driver was enabled at any time in (a, b)."""
        if self.on_us is not None and self.on_us < b_us:
            return True
        for on, off in reversed(self.spans):
            if on < b_us and off > a_us:
                return True
            if off < a_us - _KEEP_US:
                break
        return False


@dataclass
class LineCounts:
    """What went wrong on the line, in bytes or in frames as named."""

    collided_bytes: int = 0
    collided_frames: int = 0
    unsent_bytes: int = 0  # sent by a UART while its driver was off
    noise_bits: int = 0
    garbled_frames: int = 0


class Line:
    """Decides what of a transmission reaches the receivers.

    `ber` is the bit error rate of the pair; errors are the same for every receiver.
    """

    def __init__(self, drivers: int, rng: random.Random) -> None:
        self.drivers = [Driver() for _ in range(drivers)]
        self.recent: list[Transmission] = []
        self.counts = LineCounts()
        self.ber = 0.0
        self.last_end_us = 0.0
        self._rng = rng

    def begin(self, tx: Transmission) -> None:
        """Records a transmission from its first byte on."""
        self.recent.append(tx)
        if len(self.recent) > 32:
            horizon = tx.start_us - _KEEP_US
            self.recent = [t for t in self.recent if t.end_us > horizon or not t.delivered]

    def heard(self, tx: Transmission) -> bytearray:
        """The bytes that the receivers get of `tx`, once it is over."""
        data = bytearray(tx.data)
        step = tx.char_us
        if tx.source >= 0:
            data = self._driven(tx, data)
        hit: set[int] = set()
        for other in self.recent:
            if other is tx or other.source == tx.source:
                continue
            if other.start_us < tx.end_us and other.end_us > tx.start_us:
                first = max(0, int((other.start_us - tx.start_us) // step))
                last = min(len(data), int((other.end_us - tx.start_us) // step) + 1)
                hit.update(range(first, last))
        for node, driver in enumerate(self.drivers):
            if node == tx.source or not driver.touches(tx.start_us, tx.end_us):
                continue
            for i in range(len(data)):
                if driver.touches(tx.start_us + i * step, tx.start_us + (i + 1) * step):
                    hit.add(i)
        if hit:
            self.counts.collided_frames += 1
            self.counts.collided_bytes += len(hit)
            for i in hit:
                data[i] ^= self._rng.randrange(1, 256)
        if tx.garbled:
            self.counts.garbled_frames += 1
            data = bytearray(self._rng.randbytes(len(data)))
        if self.ber > 0.0:
            self._noise(data)
        return data

    def _driven(self, tx: Transmission, data: bytearray) -> bytearray:
        driver = self.drivers[tx.source]
        if driver.covers(tx.start_us, tx.end_us):
            return data
        out = bytearray()
        for i, byte in enumerate(data):
            start = tx.start_us + i * tx.char_us
            # A stop bit without an active driver is still idle level: 10 of the 11 bits count.
            if driver.covers(start, start + tx.char_us * 10 / CHAR_BITS):
                out.append(byte)
        self.counts.unsent_bytes += len(data) - len(out)
        return out

    def _noise(self, data: bytearray) -> None:
        bits = len(data) * CHAR_BITS
        if self._rng.random() >= 1.0 - (1.0 - self.ber) ** bits:
            return
        while True:
            i = self._rng.randrange(len(data)) if data else 0
            if data:
                data[i] ^= 1 << self._rng.randrange(8)
            self.counts.noise_bits += 1
            if self._rng.random() >= self.ber * bits / 2:
                return
