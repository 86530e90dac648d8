"""Bytes as people copy them from adapters and logs, and the Modbus frames among them.

RS-485 adapters add stray bytes before and behind a frame (a driver that switches, a line that
floats), and request and answer in one piece. A checksum alone does not say where a frame ends: it
also fits with zeros behind it. So a frame is as long as its function code says.
"""

import re
from dataclasses import dataclass

from pbal_protocol import modbus

from .errors import InputError

# Each frame may have this many stray bytes beside it; with more, the bytes are something else.
STRAY_MAX = 4


def parse_hex(text: str) -> bytes:
    """Bytes from hex digits; spaces, colons, dashes, commas and 0x are ignored.

    A single digit among others, as some programs log bytes (0x2 0x3 0x0), is a byte.
    Raises InputError.
    """
    words = [word for word in re.split(r"(?:[\s:,\-]|0x)+", text, flags=re.IGNORECASE) if word]
    if len(words) > 1:
        words = [word.zfill(2) if len(word) == 1 else word for word in words]
    digits = "".join(words)
    if not digits:
        raise InputError("There are no hex digits.", "Give the frame as hex, or - for stdin.")
    wrong = re.search(r"[^0-9a-fA-F]", digits)
    if wrong:
        raise InputError(f"{wrong[0]!r} is not a hex digit.", "Give the frame as hex bytes.")
    odd = next((word for word in words if len(word) % 2), "")
    if odd:
        raise InputError(f"{odd[:20]!r}: {len(odd)} hex digits are not whole bytes.",
                         "A digit is missing.")  # fmt: skip
    return bytes.fromhex(digits)


@dataclass(frozen=True)
class Found:
    """Modbus frames among bytes, in order, and the bytes beside them."""

    frames: tuple[bytes, ...]
    stray: tuple[bytes, ...]


def modbus_frames(data: bytes) -> Found | None:
    """The Modbus RTU frames in `data`, or None where the bytes are something else."""
    found: list[bytes] = []
    stray: list[bytes] = []
    at = beside = 0
    while at < len(data):
        end = _end(data, at)
        if end:
            if at > beside:
                stray.append(data[beside:at])
            found.append(data[at:end])
            at = beside = end
        else:
            at += 1
    if at > beside:
        stray.append(data[beside:])
    if found and all(len(gap) <= STRAY_MAX for gap in stray):
        return Found(tuple(found), tuple(stray))
    # Of a function whose length is not known: all of it, where the checksum fits.
    if len(data) >= 4 and _fits(data):
        return Found((data,), ())
    return None


def _end(data: bytes, at: int) -> int:
    """Where a frame of known length that begins here ends; 0 where none does."""
    here = data[at:]
    for length in (modbus.request_length(here, len(here)), modbus.response_length(here, len(here))):
        if 4 <= length <= len(here) and _fits(here[:length]):
            return at + length
    return 0


def _fits(frame: bytes) -> bool:
    return modbus.crc16(frame, len(frame) - 2) == frame[-2] | frame[-1] << 8
