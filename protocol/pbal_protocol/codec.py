"""Encoding and decoding of records: one table of fields drives both directions.

A field is the tuple (name, code, divisor, unit, low, high):

- code: a `struct` letter (little endian), "8s" for bytes of a fixed length, or BLOB for the one
  byte string of variable length that may end a record (a length byte, then the bytes);
- divisor: wire value = value * divisor, so 100 with unit "V" is hundredths of a volt;
- low, high: the legal range, both ends included, in the field's unit (for bytes: the length).

MicroPython's `struct` truncates what does not fit and fills in what is missing, so every
value is checked here, on the way out and on the way in.
"""

import struct

from pbal_protocol.errors import (
    BadValue,
    FieldError,
    RangeError,
    SpaceError,
    TrailingBytes,
    Truncated,
    UnknownRecord,
)

BLOB = "*"
SECRET = "secret"  # a unit: repr() does not show the value


def _raw_bytes(name: str, low: int, high: int, value: object) -> bytes:
    if not isinstance(value, (bytes, bytearray)):
        raise RangeError("%s: needs bytes" % name)
    if not low <= len(value) <= high:
        raise RangeError("%s: %d bytes, not %d..%d" % (name, len(value), low, high))
    return bytes(value)


def _raw_number(name: str, divisor: int, low: int, high: int, value: object) -> int:
    # A bool is an int on CPython and not on MicroPython: refused on both.
    if value is True or value is False:
        raise RangeError("%s: needs a number, not a bool" % name)
    if not isinstance(value, int):
        if isinstance(value, float):
            # A float cannot hold unix seconds on a board with 32-bit floats, so whole-number
            # fields take whole numbers only. NaN fails every comparison.
            if divisor == 1 or not low <= value <= high:
                raise RangeError("%s: %r" % (name, value))
            return round(value * divisor)
        index = getattr(value, "__index__", None)  # numpy's integers
        if index is None:
            raise RangeError("%s: needs a number" % name)
        value = int(index())
    if not low <= value <= high:
        raise RangeError("%s: %d, not %d..%d" % (name, value, low, high))
    return value * divisor


class Record:
    """Base of all records; `pbal_protocol.records` declares them.

    Built with keywords, fields not given are zero: `Switch(command_id=7, to_phase=2)`. Values
    are checked when encoded. Raises FieldError for a name that is not a field.
    """

    ID = 0
    NAME = ""
    DIRECTION: tuple[str, ...] = ()
    FIELDS: tuple[tuple[str, str, int, str, int, int], ...] = ()
    FORMAT = ""  # struct format of id and fixed fields, filled in by declare()
    SIZE = 0  # id and fixed fields, in bytes, without the contents of a blob

    def __init__(self, **values: object) -> None:
        for name, code, _divisor, _unit, low, _high in self.FIELDS:
            if name in values:
                value = values.pop(name)
            elif code == BLOB:
                value = b""
            else:
                value = bytes(low) if code[-1] == "s" else 0
            setattr(self, name, value)
        for name in values:
            raise FieldError("%s has no field %s" % (self.NAME, name))

    def encode(self) -> bytes:
        """Return the id and the body. Raises RangeError."""
        values, blob = self._raw()
        head = struct.pack(self.FORMAT, *values)
        return head if blob is None else head + bytes((len(blob),)) + blob

    def encode_into(self, buf: bytearray | memoryview, off: int = 0) -> int:
        """Write the record at buf[off:] and return its length. Raises RangeError, SpaceError."""
        values, blob = self._raw()
        size = self.SIZE if blob is None else self.SIZE + len(blob)
        if off < 0 or len(buf) - off < size:
            raise SpaceError("%s needs %d bytes" % (self.NAME, size))
        struct.pack_into(self.FORMAT, buf, off, *values)
        if blob is not None:
            at = off + self.SIZE
            buf[at - 1] = len(blob)
            buf[at : at + len(blob)] = blob
        return size

    def _raw(self) -> tuple[list[int | bytes], bytes | None]:
        values: list[int | bytes] = [self.ID]
        for name, code, divisor, _unit, low, high in self.FIELDS:
            value = getattr(self, name)
            if code == BLOB:
                return values, _raw_bytes(name, low, high, value)
            if code[-1] == "s":
                values.append(_raw_bytes(name, low, high, value))
            else:
                values.append(_raw_number(name, divisor, low, high, value))
        return values, None

    @classmethod
    def decode(cls, buf: bytes | bytearray | memoryview) -> "Record":
        """Return the one record that fills `buf` (id and body).

        Raises UnknownRecord (another id), Truncated, TrailingBytes, BadValue.
        """
        if len(buf) == 0:
            raise Truncated("no bytes")
        if buf[0] != cls.ID:
            raise UnknownRecord("id %d, not %d (%s)" % (buf[0], cls.ID, cls.NAME))
        record, end = cls.decode_at(buf, 0)
        if end != len(buf):
            raise TrailingBytes("%d bytes after %s" % (len(buf) - end, cls.NAME))
        return record

    @classmethod
    def end_of(cls, buf: bytes | bytearray | memoryview, off: int) -> int:
        """Return where the record that starts at `off` ends. Raises Truncated."""
        end = off + cls.SIZE
        if end <= len(buf) and cls.FIELDS[-1][1] == BLOB:
            end += buf[end - 1]
        if end > len(buf):
            raise Truncated("%s: %d bytes of %d" % (cls.NAME, len(buf) - off, end - off))
        return end

    @classmethod
    def decode_at(cls, buf: bytes | bytearray | memoryview, off: int) -> "tuple[Record, int]":
        """Decode the record at buf[off:] whose id is known to match: (record, its end)."""
        end = cls.end_of(buf, off)
        values = struct.unpack_from(cls.FORMAT, buf, off)
        record = cls()
        i = 0
        for name, code, divisor, _unit, low, high in cls.FIELDS:
            i += 1
            if code == BLOB:
                blob = bytes(buf[off + cls.SIZE : end])
                if not low <= len(blob) <= high:
                    raise BadValue("%s: %d bytes" % (name, len(blob)))
                setattr(record, name, blob)
                continue
            value = values[i]
            if code[-1] != "s":
                if not low * divisor <= value <= high * divisor:
                    raise BadValue("%s: %d" % (name, value))
                if divisor > 1:
                    value = value / divisor
            setattr(record, name, value)
        return record, end

    def as_dict(self) -> dict[str, object]:
        """Return the fields by name, in their units; bytes as hex."""
        out: dict[str, object] = {}
        for field in self.FIELDS:
            value = getattr(self, field[0])
            out[field[0]] = value.hex() if isinstance(value, (bytes, bytearray)) else value
        return out

    def __repr__(self) -> str:
        body = ", ".join(
            ["%s=%s" % (f[0], "*" if f[3] == SECRET else repr(getattr(self, f[0])))
             for f in self.FIELDS]
        )  # fmt: skip
        return "%s(%s)" % (self.NAME, body)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record) or other.ID != self.ID:
            return False
        return self.as_dict() == other.as_dict()

    def __hash__(self) -> int:
        return hash(self.encode())


def declare(cls: type[Record]) -> None:
    """Fill in FORMAT and SIZE of a record class from its FIELDS."""
    fixed = "<B"
    for field in cls.FIELDS:
        if field[1] != BLOB:
            fixed += field[1]
    cls.FORMAT = fixed
    cls.SIZE = struct.calcsize(fixed)
    if cls.FIELDS[-1][1] == BLOB:
        cls.SIZE += 1
