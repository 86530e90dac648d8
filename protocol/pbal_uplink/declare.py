"""How a message is declared: a frozen dataclass whose fields have unit, range, size and text.

Everything else follows from the declaration: the packed bytes (pbal_protocol.codec), the compact
bytes (compact), the JSON Schema (schema), the Sparkplug metrics (metrics) and docs/uplink.md.

A field that may be unknown is None. In the packed bytes it is then zero, and its bit in `present`,
which follows the message's id, is 0.
"""

from __future__ import annotations

import dataclasses
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

from pbal_protocol.codec import BLOB, Record, declare
from pbal_protocol.errors import PbalError
from pbal_uplink.errors import BadMessage

VERSION = 1  # of all messages together; a message that is released never changes

_KEY = "pbal"


@dataclass(frozen=True)
class Compact:
    """A field's place in the compact form: `bits` wide, in steps of `step`, from `low` on.

    The widest code says "unknown" where the field may be unknown; a value beyond the range is
    limited to it.
    """

    bits: int
    step: float = 1.0
    low: float = 0.0


@dataclass(frozen=True)
class Field:
    """One field of a message.

    `code` and `divisor` are the codec's: a struct letter, "8s", or BLOB for UTF-8 text at the end;
    the number on the wire is value * divisor. `low`, `high`: the legal range in `unit`, both ends
    included; for text its length in bytes.
    """

    name: str
    code: str
    divisor: int
    unit: str
    low: int
    high: int
    doc: str
    optional: bool
    names: Mapping[int, str] | None
    compact: Compact | None

    @property
    def is_text(self) -> bool:
        """Whether the value is text."""
        return self.code == BLOB

    @property
    def is_bytes(self) -> bool:
        """Whether the value is a fixed run of bytes."""
        return self.code.endswith("s")

    @property
    def is_float(self) -> bool:
        """Whether the value has a fraction."""
        return self.divisor > 1

    @property
    def filler(self) -> Any:
        """What stands in the packed bytes where the value is unknown."""
        if self.is_bytes:
            return bytes(self.low)
        return "" if self.is_text else max(self.low, min(self.high, 0))


def number(
    code: str,
    doc: str,
    *,
    unit: str = "",
    divisor: int = 1,
    low: int = 0,
    high: int,
    optional: bool = False,
    names: Mapping[int, str] | None = None,
    compact: Compact | None = None,
) -> Any:
    """A number with its unit and legal range."""
    meta = Field("", code, divisor, unit, low, high, doc, optional, names, compact)
    if optional:
        return dataclasses.field(default=None, metadata={_KEY: meta})
    if low <= 0:
        return dataclasses.field(default=0, metadata={_KEY: meta})
    return dataclasses.field(metadata={_KEY: meta})


def octets(size: int, doc: str, *, optional: bool = False) -> Any:
    """A fixed run of bytes."""
    meta = Field("", f"{size}s", 1, "", size, size, doc, optional, None, None)
    if optional:
        return dataclasses.field(default=None, metadata={_KEY: meta})
    return dataclasses.field(metadata={_KEY: meta})


def text(high: int, doc: str) -> Any:
    """UTF-8 text of at most `high` bytes; only as the last field."""
    meta = Field("", BLOB, 1, "", 0, high, doc, False, None, None)
    return dataclasses.field(default="", metadata={_KEY: meta})


class Message:
    """Base of Summary, Event, State and Command.

    Raises BadMessage where a value is outside its range, when it is made.
    """

    ID: ClassVar[int]
    NAME: ClassVar[str]
    DECLARED: ClassVar[tuple[Field, ...]]
    OPTIONAL: ClassVar[tuple[str, ...]]  # in the order of their bits in `present`
    OCTETS: ClassVar[tuple[str, ...]]  # the fields that are runs of bytes
    WIRE: ClassVar[type[Record]]
    # How decode() reads each field but a text: (name, divisor, low, high, bit in `present`,
    # filler); low, high and filler as in the packed bytes.
    PLACES: ClassVar[tuple[tuple[str, int, Any, Any, int, Any], ...]]

    def __post_init__(self) -> None:
        # A fraction is rounded as in the packed bytes, so that both ends have equal values.
        for field in self.DECLARED:
            value = getattr(self, field.name)
            if field.is_float and isinstance(value, (int, float)) and not isinstance(value, bool):
                self._check_number(field, value)
                kept = round(value * field.divisor) / field.divisor
                object.__setattr__(self, field.name, kept)
        self.encode()

    def _check_number(self, field: Field, value: float) -> None:
        if not field.low <= value <= field.high:  # also true for NaN
            raise BadMessage(
                f"{self.NAME}.{field.name}: {value} {field.unit}, not {field.low}..{field.high}"
            )

    def encode(self) -> bytes:
        """The packed bytes: id, `present`, the fields. Raises BadMessage."""
        values: dict[str, Any] = {}
        present = 0
        for field in self.DECLARED:
            value = getattr(self, field.name)
            if value is None and field.optional:
                value = field.filler
            elif field.optional:
                present |= 1 << self.OPTIONAL.index(field.name)
            if field.is_text:
                if not isinstance(value, str):
                    raise BadMessage(f"{self.NAME}.{field.name}: needs text")
                value = value.encode()
            values[field.name] = value
        if self.OPTIONAL:
            values["present"] = present
        try:
            return self.WIRE(**values).encode()
        except PbalError as error:
            raise BadMessage(f"{self.NAME}.{error}") from None

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The message that fills `data`. Raises BadMessage."""
        raw = cls._unpacked(data)
        present = int(raw[1]) if cls.OPTIONAL else 0
        if present >> len(cls.OPTIONAL):
            raise BadMessage(f"{cls.NAME}.present: bits of a later version")
        # Nothing is encoded to compare it with `data`: HQ decodes thousands a second. Equal bytes
        # follow from the checks: each number is in its range, an unknown one is its filler.
        values: dict[str, Any] = {}
        first = 2 if cls.OPTIONAL else 1
        for (name, divisor, low, high, bit, filler), value in zip(
            cls.PLACES, raw[first:], strict=True
        ):
            if bit and not present & bit:
                if value != filler:
                    raise BadMessage(f"{cls.NAME}: an unknown value is not sent as zero")
                values[name] = None
                continue
            if not low <= value <= high:
                raise BadMessage(f"{cls.NAME}: {name}: {value}")
            values[name] = value / divisor if divisor > 1 else value
        if cls.DECLARED[-1].is_text:
            values[cls.DECLARED[-1].name] = cls._text(data[cls.WIRE.SIZE :])
        made = object.__new__(cls)
        made.__dict__.update(values)  # checked above, so not once more by __post_init__
        return made

    @classmethod
    def _unpacked(cls, data: bytes) -> tuple[Any, ...]:
        """The numbers of the packed bytes, of which the last text is left out."""
        try:
            if len(data) and data[0] == cls.ID and cls.WIRE.end_of(data, 0) == len(data):
                return struct.unpack_from(cls.WIRE.FORMAT, data)
            cls.WIRE.decode(data)
        except PbalError as error:
            raise BadMessage(f"{cls.NAME}: {error}") from None
        raise AssertionError("the record takes what its own length refuses")

    @classmethod
    def _text(cls, data: bytes) -> str:
        field = cls.DECLARED[-1]
        if not field.low <= len(data) <= field.high:
            raise BadMessage(f"{cls.NAME}: {field.name}: {len(data)} bytes")
        try:
            return bytes(data).decode()
        except UnicodeDecodeError:
            raise BadMessage(f"{cls.NAME}.{field.name}: not UTF-8") from None

    def as_dict(self) -> dict[str, Any]:
        """The fields for JSON; runs of bytes as hex."""
        out = dict(vars(self))
        for name in self.OCTETS:
            out[name] = None if out[name] is None else out[name].hex()
        return out

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The message that `as_dict` gave. Raises BadMessage."""
        known = {field.name: field for field in cls.DECLARED}
        strange = sorted(set(values) - set(known))
        if strange:
            raise BadMessage(f"{cls.NAME} has no field {strange[0]}")
        given: dict[str, Any] = {}
        for name, value in values.items():
            if known[name].is_bytes and value is not None:
                try:
                    value = bytes.fromhex(value)
                except (TypeError, ValueError):
                    raise BadMessage(f"{cls.NAME}.{name}: needs hex digits") from None
            given[name] = value
        try:
            return cls(**given)
        except TypeError as error:
            raise BadMessage(f"{cls.NAME}: {error}") from None


M = TypeVar("M", bound=Message)


# Without field_specifiers a type checker takes every field for one with a default; a field that is
# missing is found only when a message is made.
@dataclass_transform(frozen_default=True, kw_only_default=True)
def message(cls: type[M]) -> type[M]:
    """Make a declared class a message: a frozen dataclass with its record of packed bytes."""
    made = dataclass(frozen=True, kw_only=True)(cls)
    made.NAME = cls.__name__
    made.DECLARED = tuple(
        dataclasses.replace(item.metadata[_KEY], name=item.name)
        for item in dataclasses.fields(made)  # type: ignore[arg-type]
    )
    made.OPTIONAL = tuple(field.name for field in made.DECLARED if field.optional)
    wire_fields = [(f.name, f.code, f.divisor, f.unit, f.low, f.high) for f in made.DECLARED]
    if made.OPTIONAL:
        wire_fields.insert(0, ("present", "I", 1, "", 0, (1 << len(made.OPTIONAL)) - 1))
    made.WIRE = type(
        made.NAME, (Record,), {"ID": made.ID, "NAME": made.NAME, "FIELDS": tuple(wire_fields)}
    )
    declare(made.WIRE)
    made.OCTETS = tuple(field.name for field in made.DECLARED if field.is_bytes)
    made.PLACES = tuple(_place(made, field) for field in made.DECLARED if not field.is_text)
    return made


def _place(cls: type[Message], field: Field) -> tuple[str, int, Any, Any, int, Any]:
    bit = 1 << cls.OPTIONAL.index(field.name) if field.optional else 0
    if field.is_bytes:  # of any contents
        return field.name, 1, bytes(field.low), b"\xff" * field.high, bit, field.filler
    d = field.divisor
    return field.name, d, field.low * d, field.high * d, bit, field.filler * d
