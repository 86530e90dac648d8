"""Whether an ESP firmware image is whole: segments, checksum, hash, partition table.

The form is Espressif's "Firmware Image Format": a header of 24 bytes (byte 0 0xE9, byte 1 the
number of segments, bytes 12..13 the chip id, byte 23 tells whether a SHA-256 follows), segments of
(address, size, data), and in the last byte of the next block of 16 the exclusive or of all data,
begun with 0xEF. An image from micropython.org joins three parts as they are in the flash: the boot
loader, the partition table (ESP-IDF "Partition Tables", at 0x8000) and the program it names.
"""

import hashlib
import struct
from dataclasses import dataclass
from functools import reduce
from operator import xor

MAGIC = 0xE9
HEADER_BYTES = 24
TABLE_AT = 0x8000
TABLE_BYTES = 0xC00
APP_DESCRIPTION = 0xABCD5432  # esp_app_desc_t: the first word of a program's first segment
_ENTRY, _DIGEST = b"\xaa\x50", b"\xeb\xeb"
_SEED = 0xEF


class Damaged(Exception):
    """The file is damaged; the message completes "FILE ..."."""


@dataclass(frozen=True)
class Part:
    """One image inside the file: its chip, where it ends, and whether it is a program."""

    chip_id: int
    end: int
    program: bool


@dataclass(frozen=True)
class Partition:
    """One row of the partition table; addresses in the flash, in bytes."""

    kind: int
    offset: int
    size: int
    label: str


def read_part(data: bytes, at: int, what: str) -> Part:
    """Reads the image that begins at `at`. Raises Damaged, with `what` it is."""
    head = data[at : at + HEADER_BYTES]
    if len(head) < HEADER_BYTES:
        raise Damaged(f"is cut short: the {what} is missing")
    if head[0] != MAGIC or not 1 <= head[1] <= 16:
        raise Damaged(f"is damaged: the {what} begins with {head[0]:#04x}, {head[1]} segments")
    place = at + HEADER_BYTES
    checksum = _SEED
    for _ in range(head[1]):
        row = data[place : place + 8]
        size = struct.unpack_from("<I", row, 4)[0] if len(row) == 8 else 0
        body = data[place + 8 : place + 8 + size]
        if len(row) < 8 or len(body) < size:
            raise Damaged(f"is cut short: it ends {_missing(size, body)}within the {what}")
        checksum ^= _fold(body)
        place += 8 + size
    # The checksum is the last byte of a block of 16.
    place += 15 - (place - at) % 16
    if place >= len(data):
        raise Damaged(f"is cut short: the checksum of the {what} is missing")
    if data[place] != checksum:
        raise Damaged(
            f"is damaged: the checksum of the {what} is {data[place]:#04x}, not {checksum:#04x}"
        )
    place += 1
    if head[23]:
        told = data[place : place + 32]
        if len(told) < 32:
            raise Damaged(f"is cut short: the hash of the {what} is missing")
        if hashlib.sha256(data[at:place]).digest() != told:
            raise Damaged(f"is damaged: the SHA-256 of the {what} does not fit")
        place += 32
    first = struct.unpack_from("<I", data, at + HEADER_BYTES + 8)[0]
    return Part(struct.unpack_from("<H", head, 12)[0], place, first == APP_DESCRIPTION)


def _missing(size: int, body: bytes) -> str:
    return f"{size - len(body)} bytes early " if body else ""


def _fold(body: bytes) -> int:
    """Exclusive or of all bytes, in words: an image has a million of them."""
    even = len(body) - len(body) % 8
    words = memoryview(body)[:even].cast("Q")
    wide = reduce(xor, words, 0)
    for byte in body[even:]:
        wide ^= byte
    wide ^= wide >> 32
    wide ^= wide >> 16
    return (wide ^ wide >> 8) & 0xFF


def read_table(data: bytes, at: int) -> list[Partition]:
    """The partition table at `at`, [] where there is none. Raises Damaged."""
    rows: list[Partition] = []
    for place in range(at, at + TABLE_BYTES, 32):
        row = data[place : place + 32]
        if row[:2] == _ENTRY and len(row) == 32:
            kind, _, offset, size, label = struct.unpack_from("<BBII16s", row, 2)
            name = label.rstrip(b"\0").decode("ascii", "replace")
            rows.append(Partition(kind, offset, size, name))
        elif row[:2] == _DIGEST and rows:
            if hashlib.md5(data[at:place], usedforsecurity=False).digest() != row[16:32]:
                raise Damaged("is damaged: the MD5 of its partition table does not fit")
            break
        else:
            break
    return rows


def read_whole(data: bytes, where: int, flash_bytes: int) -> tuple[Part, list[Part]]:
    """Reads a file that is to be written at `where`: its first image, and the programs that its
    partition table names.

    Raises Damaged.
    """
    table = read_table(data, TABLE_AT - where) if where < TABLE_AT else []
    first = read_part(data, 0, "boot loader" if table else "image")
    rest = data[first.end :]
    if not table and where < TABLE_AT and rest and rest.count(0xFF) == len(rest):
        raise Damaged("is cut short: it ends in the gap before its partition table")
    programs: list[Part] = []
    for row in table:
        if row.offset + row.size > flash_bytes:
            raise Damaged(
                f"is made for another flash: its partition {row.label!r} ends at "
                f"{(row.offset + row.size) / (1 << 20):g} MB, the board has {flash_bytes >> 20} MB"
            )
        if row.kind != 0:
            continue
        begin = row.offset - where
        if not programs and len(data) <= begin:
            raise Damaged(f"is cut short: the program at {row.offset:#x} is missing")
        if begin < len(data) and data[begin] != 0xFF:
            part = read_part(data, begin, f"program {row.label!r}")
            if part.end - begin > row.size:
                raise Damaged(f"is damaged: the program does not fit its partition {row.label!r}")
            programs.append(part)
    if table and not programs:
        raise Damaged("holds no program: its partition table names none that is in the file")
    return first, programs
