"""The MicroPython image: looked at before it is written, and fetched by its pinned hash.

The header is Espressif's "Firmware Image Format": byte 0 is 0xE9, byte 1 the number of
segments (1..16), byte 3 the flash size in its high half, bytes 12..13 the chip id.
"""

import hashlib
import os
import struct
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ..board.chips import CHIPS, Chip
from ..board.model import Board
from ..errors import InputError, UnreachableError, WrongImage

MAGIC = 0xE9
DOWNLOAD_TIMEOUT_S = 30.0
MAX_BYTES = 16 << 20


@dataclass(frozen=True)
class Image:
    """A checked image: where it is, what it is and where it goes."""

    path: Path
    sha256: str
    size: int
    offset: int
    micropython: bool


def check(path: Path, chip: Chip, flash_bytes: int, offset: int | None = None) -> Image:
    """Looks at an image file and refuses one that cannot be right for `chip`.

    Raises WrongImage or InputError (no such file).
    """
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise WrongImage(
                f"{path} is {size} bytes: no ESP32 image is that large.", "Name another file."
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"There is no image {path}.", "Check the path after --image.") from None
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror}.", "Name another file.") from None
    where = chip.image_offset if offset is None else offset
    _check_header(path, data, chip)
    if where + len(data) > flash_bytes:
        raise WrongImage(
            f"{path} ({len(data)} bytes at {where:#x}) does not fit the board's "
            f"{flash_bytes >> 20} MB of flash.",
            "Take the image for this board, or correct flash_mb in the board file.",
        )
    return Image(path, hashlib.sha256(data).hexdigest(), len(data), where, b"MicroPython" in data)


def _check_header(path: Path, data: bytes, chip: Chip) -> None:
    remedy = f"Take the MicroPython image for the {chip.name} (a .bin file)."
    if len(data) < 1024:
        raise WrongImage(f"{path} is only {len(data)} bytes: not a firmware image.", remedy)
    if data[0] != MAGIC:
        kind = (
            "a UF2 file"
            if data[:4] == b"UF2\n"
            else "an ELF file"
            if data[:4] == b"\x7fELF"
            else "a web page"
            if data.lstrip()[:1] == b"<"
            else f"byte 0 is {data[0]:#04x}"
        )
        # A merged image for address 0 starts with erased flash up to the boot loader.
        start = chip.image_offset
        if start and data[:start].count(0xFF) == start and data[start : start + 1] == b"\xe9":
            raise WrongImage(
                f"{path} starts at address 0, the boot loader is {start:#x} bytes into it.",
                "Give it with --offset 0.",
            )
        raise WrongImage(f"{path} is no ESP firmware image ({kind}, not {MAGIC:#04x}).", remedy)
    if not 1 <= data[1] <= 16:
        raise WrongImage(f"{path} names {data[1]} segments: the file is damaged.", remedy)
    chip_id = struct.unpack_from("<H", data, 12)[0]
    if chip_id != chip.image_id:
        other = next((c.name for c in CHIPS.values() if c.image_id == chip_id), f"id {chip_id}")
        raise WrongImage(f"{path} is for the {other}, the board has an {chip.name}.", remedy)


def find(board: Board, given: Path | None, cache: Path, offset: int | None = None) -> Image:
    """The image to write: the file that was given, or the one the board file pins.

    Raises WrongImage, InputError (nothing pinned) or UnreachableError (not in the cache and no
    network), each naming what to do.
    """
    chip = CHIPS[board.board.chip]
    size = board.board.flash_mb << 20
    if given is not None:
        return check(given, chip, size, offset)
    pin = board.flash
    if pin is None or not pin.image_url:
        raise InputError(
            f"The board file of {board.board.name} pins no MicroPython image.",
            f"Download the {chip.name} image from micropython.org and give it with --image FILE; "
            "or, where the board runs MicroPython already, say --app-only.",
        )
    kept = cache / f"{pin.image_sha256}.bin"
    if not kept.exists() or _sha256(kept) != pin.image_sha256:
        _download(pin.image_url, pin.image_sha256, kept)
    return check(kept, chip, size, offset if offset is not None else pin.image_offset)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _download(url: str, sha256: str, target: Path) -> None:
    by_hand = (
        f"Without a network here: fetch {url} elsewhere, check that its SHA-256 is {sha256}, and "
        "give the file with --image FILE."
    )
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as answer:
            data = answer.read(MAX_BYTES + 1)
    except (urllib.error.URLError, OSError, ValueError) as exc:
        reason = getattr(exc, "reason", exc)
        raise UnreachableError(
            f"The MicroPython image could not be downloaded: {reason}.", by_hand
        ) from None
    got = hashlib.sha256(data).hexdigest()
    if got != sha256:
        raise WrongImage(
            f"{url} gave a file with SHA-256 {got}, the board file pins {sha256}.",
            "Do not use it. Compare the pin with the publisher's, or give a file with --image.",
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    os.replace(name, target)
