"""The MicroPython image: checked before it is written, and fetched by its pinned hash."""

import hashlib
import http.client
import os
import re
import struct
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pbal_build import CHIPS, Board, Chip
from pbal_controller.documents import dump_json, read_json

from ..errors import InputError, UnreachableError, WrongImage
from . import espimage

DOWNLOAD_TIMEOUT_S = 30.0
DOWNLOAD_TOTAL_S = 900.0
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
    """Checks an image file and refuses one that cannot be right for `chip`.

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
    _check_header(path, data, chip, where, flash_bytes)
    if where + len(data) > flash_bytes:
        raise WrongImage(
            f"{path} ({len(data)} bytes at {where:#x}) does not fit the board's "
            f"{flash_bytes >> 20} MB of flash.",
            "Take the image for this board, or correct flash_mb in the board file.",
        )
    return Image(path, hashlib.sha256(data).hexdigest(), len(data), where, b"MicroPython" in data)


def _check_header(path: Path, data: bytes, chip: Chip, where: int, flash_bytes: int) -> None:
    remedy = f"Take the MicroPython image for the {chip.name} (a .bin file)."
    if len(data) < 1024:
        raise WrongImage(f"{path} is only {len(data)} bytes: not a firmware image.", remedy)
    if data[0] != espimage.MAGIC:
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
            if where == 0:
                _check_parts(path, data[start:], chip, start, flash_bytes)
                return
            raise WrongImage(
                f"{path} starts at address 0, the boot loader is {start:#x} bytes into it.",
                "Give it with --offset 0.",
            )
        raise WrongImage(
            f"{path} is no ESP firmware image ({kind}, not {espimage.MAGIC:#04x}).", remedy
        )
    if not 1 <= data[1] <= 16:
        raise WrongImage(f"{path} names {data[1]} segments: the file is damaged.", remedy)
    _check_parts(path, data, chip, where, flash_bytes)


def _check_parts(path: Path, data: bytes, chip: Chip, where: int, flash_bytes: int) -> None:
    """The chip first: a wrong one is commoner, and is found in a damaged file as well."""
    remedy = f"Take the MicroPython image for the {chip.name} (a .bin file)."
    _check_chip(path, struct.unpack_from("<H", data, 12)[0], chip)
    try:
        first, programs = espimage.read_whole(data, where, flash_bytes)
    except espimage.Damaged as exc:
        raise WrongImage(
            f"{path} {exc}.", "Download it again, and compare its SHA-256 with the publisher's."
        ) from None
    if where == chip.image_offset and first.program:
        raise WrongImage(
            f"{path} is a program alone, without boot loader and partition table.",
            f"{remedy} It is not the one named app or ota.",
        )
    for program in programs:
        _check_chip(path, program.chip_id, chip)


def _check_chip(path: Path, chip_id: int, chip: Chip) -> None:
    if chip_id != chip.image_id:
        other = next((c.name for c in CHIPS.values() if c.image_id == chip_id), f"id {chip_id}")
        raise WrongImage(
            f"{path} is for the {other}, the board has an {chip.name}.",
            f"Take the MicroPython image for the {chip.name} (a .bin file).",
        )


@dataclass(frozen=True)
class Source:
    """Where an image comes from: a file, or an address with the hash that its content must have."""

    url: str = ""
    sha256: str = ""
    offset: int | None = None


def find(
    board: Board,
    given: str,
    sha256: str,
    cache: Path,
    pins: Path,
    offset: int | None = None,
    pin: bool = False,
    note: Callable[[str], None] = lambda words: None,
) -> Image:
    """The image to write: `given` (a file or an address), or else the one that is pinned on this
    computer, or else the one the board file pins.

    `sha256` is what the image must be, "" for unknown; an address needs one. With `pin` the image
    is kept and taken from now on for this board. Raises WrongImage, InputError (nothing pinned) or
    UnreachableError (not in the cache and no network), each naming what to do.
    """
    chip = CHIPS[board.board.chip]
    size = board.board.flash_mb << 20
    url = given if given.startswith(("http://", "https://")) else ""
    if sha256 and not re.fullmatch("[0-9a-f]{64}", sha256):
        raise InputError(f"{sha256!r} is no SHA-256.", "It is 64 hex digits.")
    if given and not url:
        image = check(Path(given), chip, size, offset)
        if sha256 and image.sha256 != sha256:
            raise WrongImage(
                f"{given} has SHA-256 {image.sha256}, {sha256} was asked for.",
                "Do not use it: download it again from the publisher.",
            )
        if pin:
            keep(Path(given).read_bytes(), cache / f"{image.sha256}.bin")
            _save_pin(pins, board.board.name, Source("", image.sha256, offset))
        return image
    source = Source(url, sha256, offset) if url else _pinned(board, pins)
    if not source.sha256:
        raise InputError(
            f"{url} is an address without the SHA-256 of what is there.",
            "Add --sha256 HEX, as the publisher tells it; or download it and give the file.",
        )
    kept = cache / f"{source.sha256}.bin"
    if not kept.exists() or _sha256(kept) != source.sha256:
        if not source.url:
            raise InputError(
                f"The image pinned for {board.board.name} is not in {cache} any more.",
                "Give it once more:  pbal flash --image FILE --pin",
            )
        note(f"fetching {source.url}")
        _download(source.url, source.sha256, kept)
    image = check(kept, chip, size, offset if offset is not None else source.offset)
    if pin:
        _save_pin(pins, board.board.name, source)
    return image


def _pinned(board: Board, pins: Path) -> Source:
    own = load_pins(pins).get(board.board.name)
    if own is not None:
        return own
    table = board.flash
    if table is None or not table.image_url:
        raise InputError(
            f"The board file of {board.board.name} pins no MicroPython image.",
            f"Download the {board.board.chip} image from micropython.org and give it with --image "
            "FILE (--pin besides: from then on it is taken by itself); or, where the board runs "
            "MicroPython already, say --app-only.",
        )
    return Source(table.image_url, table.image_sha256, table.image_offset)


def load_pins(path: Path) -> dict[str, Source]:
    """The images pinned on this computer, by board. Raises InputError: the file is damaged."""
    try:
        found = read_json(path)
        return {str(name): Source(**row) for name, row in found.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as exc:
        raise InputError(f"{path} is damaged ({exc}).", "Remove it, and pin anew.") from None


def _save_pin(path: Path, board: str, source: Source) -> None:
    pins = {name: asdict(row) for name, row in load_pins(path).items()}
    pins[board] = asdict(source)
    keep((dump_json(pins, indent=1) + "\n").encode(), path)


def keep(data: bytes, target: Path) -> None:
    """Writes a file whole or not at all, with its folders. Raises InputError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(name, target)
    except OSError as exc:
        raise InputError(
            f"{target} cannot be written: {exc.strerror}.",
            "Free some space, or set XDG_CACHE_HOME.",
        ) from None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _download(url: str, sha256: str, target: Path) -> None:
    by_hand = (
        f"Without a network here: fetch {url} elsewhere, check that its SHA-256 is {sha256}, and "
        "give the file with --image FILE."
    )
    data = bytearray()
    end = time.monotonic() + DOWNLOAD_TOTAL_S
    try:
        with urllib.request.urlopen(url, timeout=DOWNLOAD_TIMEOUT_S) as answer:
            while len(data) <= MAX_BYTES:
                piece = answer.read(65536)
                if not piece:
                    break
                data += piece
                if time.monotonic() > end:
                    raise TimeoutError(f"not done after {DOWNLOAD_TOTAL_S:.0f} s")
            told = answer.headers.get("Content-Length") or ""
            if told.isdigit() and len(data) < int(told):
                raise ConnectionError(f"it broke off after {len(data)} of {told} bytes")
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as exc:
        reason = getattr(exc, "reason", exc)
        raise UnreachableError(
            f"The MicroPython image could not be downloaded: {reason}.", by_hand
        ) from None
    got = hashlib.sha256(data).hexdigest()
    if got != sha256:
        raise WrongImage(
            f"{url} gave {len(data)} bytes with SHA-256 {got}, pinned is {sha256}.",
            "Do not use it. Compare the pin with the publisher's, or give a file with --image.",
        )
    keep(bytes(data), target)
