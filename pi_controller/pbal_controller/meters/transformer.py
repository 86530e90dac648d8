"""The transformer's own three-phase meter: an optional second opinion.

Two sources: an Eastron SDM630 (or a meter with its register map) over Modbus, and a JSON
file that some other program keeps. SDM630 input registers (function 04), IEEE 754 floats,
high word first, from Eastron's "SDM630-Modbus protocol" register list:
30001 V1, 30003 V2, 30005 V3, 30007 I1, 30009 I2, 30011 I3, 30013..30017 P1..P3 (W),
30025..30029 Q1..Q3 (var), 30071 frequency, 30225 neutral current.
"""

from __future__ import annotations

import asyncio
import math
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pbal_controller.bearers import Registers
from pbal_controller.bearers.rs485 import serial_registers
from pbal_controller.config import MeterConfig
from pbal_controller.documents import DocumentError, read_json
from pbal_controller.errors import BearerError

Three = tuple[float, float, float]
_DEAD_V = 50.0


@dataclass(frozen=True)
class TransformerReading:
    """Per phase A, B, C; neutral and frequency NaN where the source does not give them."""

    v: Three
    i: Three
    p_w: Three
    q_var: Three
    neutral_a: float = math.nan
    freq_hz: float = math.nan

    def phasors_a(self) -> tuple[complex, complex, complex]:
        """Current of each phase, A, referred to its own voltage; NaN where that is dead."""
        nan = complex(math.nan, math.nan)
        a, b, c = (
            complex(p_w, -q_var) / v if v > _DEAD_V else nan
            for v, p_w, q_var in zip(self.v, self.p_w, self.q_var, strict=True)
        )
        return a, b, c

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what is no number becomes null."""

        def clean(value: float) -> float | None:
            return round(value, 3) if math.isfinite(value) else None

        return {
            "v": [clean(x) for x in self.v],
            "i_a": [clean(x) for x in self.i],
            "p_w": [clean(x) for x in self.p_w],
            "q_var": [clean(x) for x in self.q_var],
            "neutral_a": clean(self.neutral_a),
            "freq_hz": clean(self.freq_hz),
        }


class TransformerMeter(Protocol):
    """A source of readings."""

    async def read(self) -> TransformerReading:
        """One reading. Raises BearerError when there is none."""

    def close(self) -> None:
        """Let go of the port."""


# (first register, count) of the blocks that are read; 0-based as on the wire.
SDM630_BLOCKS = ((0, 30), (70, 2), (224, 2))


def sdm630_decode(blocks: Sequence[Sequence[int]]) -> TransformerReading:
    """A reading from the registers of SDM630_BLOCKS. Raises BearerError: a value is no number."""

    def number(block: int, offset: int) -> float:
        words = blocks[block][offset : offset + 2]
        value: float = struct.unpack(">f", struct.pack(">HH", *words))[0]
        return value

    def three(offset: int) -> Three:
        return number(0, offset), number(0, offset + 2), number(0, offset + 4)

    return _finite(
        TransformerReading(
            v=three(0), i=three(6), p_w=three(12), q_var=three(24),
            freq_hz=number(1, 0), neutral_a=number(2, 0),
        )
    )  # fmt: skip


def _finite(reading: TransformerReading) -> TransformerReading:
    """The reading, where every value that is decided on is a number. Raises BearerError."""
    for name in ("v", "i", "p_w", "q_var"):
        if not all(map(math.isfinite, getattr(reading, name))):
            raise BearerError(f"transformer meter: {name} is {getattr(reading, name)}, no numbers")
    return reading


class Sdm630:
    """An SDM630, on whatever its registers are read by."""

    def __init__(self, unit: int, registers: Registers) -> None:
        self._unit = unit
        self._registers = registers

    async def read(self) -> TransformerReading:
        """Read the three blocks, one after another."""
        blocks = []
        for first, count in SDM630_BLOCKS:
            try:
                blocks.append(await self._registers.input_registers(self._unit, first, count))
            except BearerError as error:
                raise BearerError(f"transformer meter: {error}") from None
        return sdm630_decode(blocks)

    def close(self) -> None:
        """Close the port, if it is ours."""
        self._registers.close()


_MAX_FILE_BYTES = 65536


def _number(value: Any) -> float:
    if isinstance(value, bool):
        raise TypeError(f"{value} is no number")
    return float(value)


def _span(age_s: float) -> str:
    spans = ((86400, "days"), (3600, "hours"), (60, "minutes"), (1, "seconds"))
    unit, name = next((s for s in spans if abs(age_s) >= 2 * s[0]), spans[-1])
    return f"{abs(age_s) / unit:.0f} {name} {'ago' if age_s > 0 else 'ahead of our clock'}"


class FileMeter:
    """A JSON file with the keys v, i_a, p_w (three numbers each) and perhaps q_var,
    neutral_a, freq_hz, and time_s (unix time of the reading), rewritten by another program.

    A file that was not written for `max_age_s`, or whose time_s is that old, is no reading: the
    program that writes it may have died.
    """

    def __init__(self, path: Path, max_age_s: float = 60.0) -> None:
        self._path = path
        self._max_age_s = max_age_s

    async def read(self) -> TransformerReading:
        """Read the file as it is now."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> TransformerReading:
        try:
            written_s = self._path.stat().st_mtime
            d = read_json(self._path, _MAX_FILE_BYTES)

            def three(name: str, default: float | None = None) -> Three:
                values = d[name] if default is None else d.get(name, [default] * 3)
                a, b, c = (_number(x) for x in values)
                return a, b, c

            reading = TransformerReading(
                v=three("v"), i=three("i_a"), p_w=three("p_w"), q_var=three("q_var", 0.0),
                neutral_a=float(d.get("neutral_a", math.nan)),
                freq_hz=float(d.get("freq_hz", math.nan)),
            )  # fmt: skip
            taken_s = min(written_s, float(d.get("time_s", written_s)))
        except DocumentError as error:
            raise BearerError(f"{self._path}: not a meter file: {error}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BearerError(
                f"{self._path}: not a meter file ({error}); it needs the keys v, i_a, p_w"
            ) from None
        age_s = time.time() - taken_s
        # A time ahead of ours by more than that says as little about how old the reading is.
        if not -self._max_age_s <= age_s <= self._max_age_s:
            raise BearerError(
                f"{self._path}: written {_span(age_s)}; is the program that writes it running, and "
                "the clock right? (transformer.meter.max_age_s)"
            )
        return _finite(reading)

    def close(self) -> None:
        """Nothing to let go of."""


def make_meter(config: MeterConfig, shared: Registers | None = None) -> TransformerMeter:
    """The meter that the configuration asks for; `shared`: the bus that it names."""
    if config.kind == "file":
        assert config.path is not None
        return FileMeter(config.path, config.max_age_s)
    if not config.bus:
        shared = serial_registers(config.port, config.baud, config.parity, config.stop_bits)
    assert shared is not None
    return Sdm630(config.unit, shared)
