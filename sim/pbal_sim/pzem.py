"""A PZEM-004T v3 energy meter as its chip sees it: a Modbus RTU device at 9600 8N1.

Register map and exception answers follow Peacefair's user manual V1.0: function 04 reads ten
input registers (32-bit values low word first), 03 and 06 the alarm threshold and the address,
0x42 clears the energy. The line that it measures is its supply: no output, no answer.
It counts active power without sign, as the real one does.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from pbal_sim.rules import crc16

BAUD = 9600
GENERAL_ADDRESS = 0xF8
MIN_SUPPLY_V = 80.0
ANSWER_DELAY_US = 12_000
_READ_HOLDING = 0x03
_READ_INPUT = 0x04
_WRITE_SINGLE = 0x06
_RESET_ENERGY = 0x42
_ILLEGAL_FUNCTION = 1
_ILLEGAL_ADDRESS = 2
_ILLEGAL_DATA = 3


@dataclass(slots=True)
class Reading:
    """The quantities at the meter now."""

    v: float = 0.0
    i: float = 0.0
    p_w: float = 0.0
    hz: float = 50.0
    pf: float = 1.0


class Pzem:
    """Bytes in, bytes out; the caller keeps line times."""

    def __init__(self, address: int = 1) -> None:
        self.address = address
        self.reading = Reading()
        self.falsify: Callable[[Reading], Reading] | None = None  # changes the answers
        self.energy_wh = 0.0
        self.alarm_w = 23000
        self.broken = False
        self.requests = 0

    def advance(self, seconds: float) -> None:
        """Counts energy for a span at the present power."""
        if self.powered:
            self.energy_wh += abs(self.told.p_w) * seconds / 3600.0

    def claim(self, watts: Callable[[], float] | None) -> None:
        """Report this power, with the current that fits it, whatever flows; None: the truth."""

        def told(true: Reading) -> Reading:
            assert watts is not None
            p_w = watts()
            return Reading(true.v, abs(p_w) / max(true.v, 1.0), p_w, true.hz, 1.0)

        self.falsify = None if watts is None else told

    @property
    def told(self) -> Reading:
        """What the meter reports: the true reading, unless it is falsified."""
        return self.reading if self.falsify is None else self.falsify(self.reading)

    @property
    def powered(self) -> bool:
        return self.reading.v >= MIN_SUPPLY_V and not self.broken

    def answer(self, request: bytes) -> bytes:
        """The answer to one request frame; empty when the meter stays silent."""
        if not self.powered or len(request) < 4 or crc16(request[:-2]) != request[-2:]:
            return b""
        if request[0] not in (self.address, GENERAL_ADDRESS):
            return b""
        self.requests += 1
        body = self._pdu(request[1], request[2:-2])
        frame = bytes((request[0],)) + body
        return frame + crc16(frame)

    def _pdu(self, function: int, data: bytes) -> bytes:
        if function in (_READ_INPUT, _READ_HOLDING):
            if len(data) != 4:
                return bytes((function | 0x80, _ILLEGAL_DATA))
            start, count = struct.unpack(">HH", data)
            words = self._inputs() if function == _READ_INPUT else [0, self.alarm_w, self.address]
            if count < 1 or start + count > len(words):
                return bytes((function | 0x80, _ILLEGAL_ADDRESS))
            part = words[start : start + count]
            return struct.pack(f">BB{count}H", function, 2 * count, *part)
        if function == _WRITE_SINGLE:
            if len(data) != 4:
                return bytes((function | 0x80, _ILLEGAL_DATA))
            register, value = struct.unpack(">HH", data)
            if register == 1 and value <= 25000:
                self.alarm_w = value
            elif register == 2 and 1 <= value <= 0xF7:
                self.address = value
            else:
                return bytes((function | 0x80, _ILLEGAL_DATA))
            return bytes((function,)) + data
        if function == _RESET_ENERGY:
            self.energy_wh = 0.0
            return bytes((function,))
        return bytes((function | 0x80, _ILLEGAL_FUNCTION))

    def _inputs(self) -> list[int]:
        r = self.told
        i = min(round(r.i * 1000), 0xFFFFFFFF)
        p = min(round(abs(r.p_w) * 10), 0xFFFFFFFF)
        e = int(self.energy_wh) & 0xFFFFFFFF
        # Below 0.4 W and 0.02 A the real meter shows nothing (its starting values).
        if abs(r.p_w) < 0.4:
            p = 0
        if r.i < 0.02:
            i = 0
        return [
            round(r.v * 10),
            i & 0xFFFF,
            i >> 16,
            p & 0xFFFF,
            p >> 16,
            e & 0xFFFF,
            e >> 16,
            round(r.hz * 10),
            round(abs(r.pf) * 100),
            0xFFFF if abs(r.p_w) > self.alarm_w else 0,
        ]
