"""A meter is data: which registers hold what, as in `boards/meters/NAME.toml`.

A profile knows what to ask and what the answers mean; it does not know how they are carried.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pbal_controller.errors import BearerError
from pbal_controller.meters.reading import Three, TransformerReading, finite
from pbal_host.tables import Table

Register = Annotated[int, Field(ge=0, le=0xFFFF)]
Phases = Literal["ABC", "ACB", "BAC", "BCA", "CAB", "CBA"]
#: struct's letter of a value's type, for its words with the high one first.
_FORMATS = {"u16": ">H", "s16": ">h", "u32": ">I", "s32": ">i", "f32": ">f"}


@dataclass(frozen=True)
class Ask:
    """One Modbus request: `count` registers from `first` (0-based) of a unit."""

    unit: int
    function: int
    first: int
    count: int


class Head(Table):
    """What the meter is. `devices`: one for all phases, or three, one for each."""

    name: str = Field(pattern="^[a-z0-9][a-z0-9-]*$", max_length=32)
    title: str = Field(min_length=1, max_length=100)
    source: str = Field(min_length=1, max_length=300)
    devices: Literal[1, 3] = 1
    directed: bool = True  # the sign of P distinguishes import from export
    phases: Phases = "ABC"  # where the meter's L1, L2, L3 are


class Line(Table):
    """How the meter's serial port is set when it comes from its maker."""

    baud: int = Field(ge=1200, le=1_000_000)
    parity: Literal["N", "E", "O"] = "N"
    stop_bits: Literal[1, 2] = 1


class Registers(Table):
    """How registers are read: one request for at most `most`, over gaps of at most `gap`."""

    function: Literal[3, 4]
    word_order: Literal["high first", "low first"]
    most: int = Field(ge=2, le=125)
    gap: int = Field(default=0, ge=0, le=100)


class Value(Table):
    """One quantity: a register for each phase, or one; the number in it times `scale`."""

    at: tuple[Register, ...] = Field(min_length=1, max_length=3)
    type: Literal["u16", "s16", "u32", "s32", "f32"]
    scale: float = Field(default=1.0, gt=0)
    none: int | None = Field(default=None, ge=0, le=0xFFFFFFFF)  # the bits that mean: not known

    @property
    def words(self) -> int:
        """Registers of one value."""
        return 1 if self.type.endswith("16") else 2


class Values(Table):
    """The quantities. Without `q_var` it follows from V, I and P, as positive."""

    v: Value
    i: Value
    p_w: Value
    q_var: Value | None = None
    freq_hz: Value | None = None
    neutral_a: Value | None = None


class Example(Table):
    """Registers and what they mean, from the maker's document or made from it; tests use them."""

    source: str = Field(min_length=1)
    registers: dict[str, list[Register]]
    reads: dict[str, float]


class Profile(Table):
    """One kind of meter."""

    meter: Head
    line: Line
    registers: Registers
    values: Values
    example: tuple[Example, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Profile:
        per_phase = 1 if self.meter.devices == 3 else 3
        for name, value in self._each().items():
            once = name in ("freq_hz", "neutral_a")
            wanted = 1 if once else per_phase
            if len(value.at) != wanted:
                raise ValueError(f"values.{name}.at needs {wanted} register(s)")
            for first in value.at:
                if first + value.words > 0x10000:
                    raise ValueError(f"values.{name}.at: {first} is past the last register")
        if self.meter.devices == 3 and self.values.neutral_a is not None:
            raise ValueError("values.neutral_a: three meters of one phase each do not tell it")
        return self

    def _each(self) -> dict[str, Value]:
        found = {name: getattr(self.values, name) for name in Values.model_fields}
        return {name: value for name, value in found.items() if value is not None}

    def asks(self, unit: int) -> list[Ask]:
        """The requests of one reading, in their order; `unit` is the (first) device's."""
        blocks = self._blocks()
        return [
            Ask(unit + device, self.registers.function, first, count)
            for device in range(self.meter.devices)
            for first, count in blocks
        ]

    def _blocks(self) -> list[tuple[int, int]]:
        spans = sorted(
            {(first, value.words) for value in self._each().values() for first in value.at}
        )
        blocks: list[tuple[int, int]] = []
        for first, words in spans:
            if blocks:
                start, count = blocks[-1]
                together = first + words - start
                if first - start - count <= self.registers.gap and together <= self.registers.most:
                    blocks[-1] = (start, max(count, together))
                    continue
            blocks.append((first, words))
        return blocks

    def decode(
        self, answers: Sequence[Sequence[int]], phases: str | None = None
    ) -> TransformerReading:
        """A reading from the registers of `asks`, in its order.

        `phases`: where L1, L2, L3 are, if not as the profile has it. Raises BearerError: a value
        that is needed is no number.
        """
        blocks = self._blocks()
        maps: list[dict[int, int]] = []
        for device in range(self.meter.devices):
            words: dict[int, int] = {}
            for (first, _), block in zip(
                blocks, answers[device * len(blocks) : (device + 1) * len(blocks)], strict=True
            ):
                words |= {first + k: word for k, word in enumerate(block)}
            maps.append(words)
        order = phases or self.meter.phases
        v, i, p_w = (self._three(value, maps, order) for value in (
            self.values.v, self.values.i, self.values.p_w))  # fmt: skip
        if self.values.q_var is not None:
            q_var = self._three(self.values.q_var, maps, order)
        else:
            a, b, c = (
                math.sqrt(max(0.0, (volts * amps) ** 2 - watts**2))
                for volts, amps, watts in zip(v, i, p_w, strict=True)
            )
            q_var = a, b, c
        return finite(
            TransformerReading(
                v, i, p_w, q_var,
                neutral_a=self._one(self.values.neutral_a, maps),
                freq_hz=self._one(self.values.freq_hz, maps),
            )
        )  # fmt: skip

    def _three(self, value: Value, maps: Sequence[Mapping[int, int]], order: str) -> Three:
        if len(maps) == 3:
            found = [self._number(value, value.at[0], words) for words in maps]
        else:
            found = [self._number(value, first, maps[0]) for first in value.at]
        a, b, c = (found[order.index(phase)] for phase in "ABC")
        return a, b, c

    def _one(self, value: Value | None, maps: Sequence[Mapping[int, int]]) -> float:
        return math.nan if value is None else self._number(value, value.at[0], maps[0])

    def _number(self, value: Value, first: int, words: Mapping[int, int]) -> float:
        try:
            parts = [words[first + k] for k in range(value.words)]
        except KeyError:
            raise BearerError(f"transformer meter: register {first} did not come") from None
        if self.registers.word_order == "low first":
            parts.reverse()
        raw = struct.pack(f">{value.words}H", *parts)
        if value.none is not None and int.from_bytes(raw, "big") == value.none:
            return math.nan
        number: float = struct.unpack(_FORMATS[value.type], raw)[0]
        return number * value.scale
