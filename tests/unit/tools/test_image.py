"""MicroPython images looked at before they are written: whole ones pass, damaged ones do not."""

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from pbal_build import CHIPS
from pbal_sim.romloader import stand_in_image
from pbal_tools.errors import WrongImage
from pbal_tools.flash import espimage, image

ESP32, S3 = CHIPS["esp32"], CHIPS["esp32s3"]
MB = 1 << 20


def part(chip_id: int, segments: list[bytes], hashed: bool = True) -> bytes:
    """One image, as Espressif's "Firmware Image Format" has it."""
    out = struct.pack("<BBBBI", 0xE9, len(segments), 2, 0x20, 0x40080400)
    out += bytes((0xEE, 0, 0, 0)) + struct.pack("<HBHH", chip_id, 0, 0, 0xFFFF)
    out = out.ljust(23, b"\0") + bytes((hashed,))
    checksum = 0xEF
    for n, body in enumerate(segments):
        out += struct.pack("<II", 0x3F400000 + 0x10000 * n, len(body)) + body
        for byte in body:
            checksum ^= byte
    out += bytes(15 - len(out) % 16) + bytes((checksum,))
    return out + hashlib.sha256(out).digest() if hashed else out


def table(*rows: tuple[int, int, int, str], digest: bool = True) -> bytes:
    """A partition table: (type, offset, size, label)."""
    out = b"".join(
        b"\xaa\x50" + struct.pack("<BBII16sI", kind, 0, offset, size, label.encode(), 0)
        for kind, offset, size, label in rows
    )
    if digest:
        out += b"\xeb\xeb" + b"\xff" * 14 + hashlib.md5(out).digest()
    return out.ljust(0xC00, b"\xff")


APP = struct.pack("<I", espimage.APP_DESCRIPTION) + b"MicroPython v1.25.0 ".ljust(4000, b"m")
ROWS = ((1, 0x9000, 0x6000, "nvs"), (0, 0x10000, 0x1F0000, "factory"),
        (1, 0x200000, 0x200000, "vfs"))  # fmt: skip


def whole(chip_id: int = 0, start: int = 0x1000, app_chip: int | None = None) -> bytes:
    """What micropython.org offers: boot loader, table and program as they lie in the flash."""
    loader = part(chip_id, [b"boot" * 900, b"l" * 33])
    program = part(chip_id if app_chip is None else app_chip, [APP, b"code" * 20_000, b"x"])
    out = loader.ljust(0x8000 - start, b"\xff") + table(*ROWS)
    return out.ljust(0x10000 - start, b"\xff") + program


def look(tmp_path: Path, data: bytes, offset: int | None = None) -> image.Image:
    path = tmp_path / "i.bin"
    path.write_bytes(data)
    return image.check(path, ESP32, 4 * MB, offset)


def test_whole_images_pass(tmp_path: Path) -> None:
    found = look(tmp_path, whole())
    assert (found.offset, found.micropython) == (0x1000, True)
    assert look(tmp_path, stand_in_image()).size == len(stand_in_image())
    # The same merged from address 0, as `esptool merge-bin` does, with what it is for said.
    merged = b"\xff" * 0x1000 + whole()
    assert look(tmp_path, merged, 0).offset == 0
    with pytest.raises(WrongImage) as told:
        look(tmp_path, merged)
    assert "--offset 0" in told.value.remedy
    (tmp_path / "s3.bin").write_bytes(whole(9, 0))
    assert image.check(tmp_path / "s3.bin", S3, 8 * MB).offset == 0


def flip(at: int) -> Callable[[bytes], bytes]:
    return lambda data: data[:at] + bytes((data[at] ^ 0x10,)) + data[at + 1 :]


DAMAGE: list[tuple[Callable[[bytes], bytes], str]] = [
    (lambda data: data[:-1], "hash of the program 'factory' is missing"),
    (lambda data: data[:-40_000], "cut short"),
    (lambda data: data[:0x9000], "the program at 0x10000 is missing"),
    (lambda data: data[:2000], "cut short"),
    (flip(0x400), "checksum of the boot loader"),
    (flip(0xF400), "checksum of the program"),
    (flip(0xF008), "SHA-256 of the program"),  # the entry address: only the hash covers it
    (flip(0x7004), "MD5 of its partition table"),
    (lambda data: data[:0xF000] + b"\xff" * 4096, "holds no program"),
    (lambda data: data[:0x7000] + table(*ROWS[:2], (1, 0x200000, 0x600000, "vfs")) + data[0x7C00:],
     "another flash"),
    (lambda data: data[0xF000:], "a program alone"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "words"), DAMAGE)
def test_damage_is_named(
    tmp_path: Path, change: Callable[[bytes], bytes], words: str
) -> None:  # fmt: skip
    with pytest.raises(WrongImage) as told:
        look(tmp_path, change(whole()))
    assert words in told.value.message
    assert told.value.remedy


def test_a_program_for_another_chip_behind_a_fitting_boot_loader(tmp_path: Path) -> None:
    with pytest.raises(WrongImage, match="is for the esp32s3"):
        look(tmp_path, whole(app_chip=9))


@pytest.mark.parametrize("cut", range(1024, 70_000, 4999))
def test_no_shorter_file_passes(tmp_path: Path, cut: int) -> None:
    with pytest.raises(WrongImage):
        look(tmp_path, whole()[:cut])
