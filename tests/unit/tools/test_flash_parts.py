"""The parts of `pbal flash`: bounded runs, the emulated boot loader, remembered progress."""

import os
import re
import struct
import sys
import time
from pathlib import Path

import pytest

from pbal_build import CHIPS
from pbal_sim.norflash import Flash
from pbal_sim.romloader import RomLoader, stand_in_image
from pbal_tools.errors import (
    CliError,
    PortBusy,
    PortDenied,
    PortMissing,
    RefusedError,
    UnreachableError,
    WrongImage,
)
from pbal_tools.flash import esp, image, ports, state
from pbal_tools.flash.run import Finished, run


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_silent_tool_is_ended_and_its_words_kept() -> None:
    start = time.monotonic()
    done = run(python("print('hello', flush=True)\nimport time\ntime.sleep(60)"), silent_s=1.0)
    assert done.timed_out == "silent"
    assert "hello" in done.text
    assert not done.ok
    assert time.monotonic() - start < 30


def test_a_chatty_tool_that_never_ends_is_ended_too() -> None:
    code = "import time\nwhile True:\n print('x', flush=True)\n time.sleep(0.1)"
    assert run(python(code), silent_s=20, total_s=1.5).timed_out == "late"


def test_lines_end_at_carriage_returns_too() -> None:
    lines: list[str] = []
    done = run(python(r"import sys; sys.stdout.write('1 %\r2 %\r\n3 %')"), lines.append)
    assert lines == ["1 %", "2 %", "3 %"]
    assert done.ok


@pytest.mark.parametrize(
    ("text", "stage", "kind"),
    [
        ("This chip is ESP32-S3, not ESP32. Wrong chip argument?", "connecting", esp.WrongChip),
        ("Failed to start stub flasher. There was no response.", "stub", esp.StubFailed),
        ("Failed to connect to ESP32: No serial data received.", "connecting", esp.NoBootloader),
        ("MD5 of file does not match data in flash!", "verifying", esp.CheckFailed),
        ("A serial exception error occurred: device disconnected", "writing", esp.UnreachableError),
    ],
)
def test_what_esptool_says_becomes_an_error_with_a_remedy(
    text: str, stage: str, kind: type[Exception]
) -> None:
    found = esp.explain(esp.Link("/dev/ttyTEST", "esp32"), Finished(2, text), stage)
    assert type(found) is kind
    assert found.remedy


@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (PermissionError(13, "Permission denied"), PortDenied),
        (OSError(16, "Device or resource busy"), PortBusy),
        (OSError("Could not exclusively lock port"), PortBusy),
        (FileNotFoundError(2, "No such file"), PortMissing),
    ],
)
def test_why_a_port_does_not_open(exc: OSError, kind: type[Exception]) -> None:
    assert type(ports.explain("/dev/ttyTEST", exc)) is kind


def test_a_port_one_may_not_open_is_said_without_opening_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Opening could take a board out of the boot loader into which somebody brought it by hand.
    ours, theirs = os.openpty()
    name = os.ttyname(theirs)
    try:
        ports.check(name, opening=False)
        monkeypatch.setattr(os, "access", lambda path, mode: path != name)  # root may do anything
        with pytest.raises(PortDenied, match="may not open"):
            ports.check(name, opening=False)
    finally:
        os.close(ours)
        os.close(theirs)


def test_flash_memory_only_clears_bits_until_erased() -> None:
    flash = Flash(8192)
    flash.program(0, b"\x0f")
    flash.program(0, b"\xf0")
    assert flash.data[0] == 0
    flash.erase(1, 1)
    assert flash.data[:4096] == b"\xff" * 4096


def packet(op: int, body: bytes, checksum: int = 0) -> bytes:
    raw = struct.pack("<BBHI", 0, op, len(body), checksum) + body
    return b"\xc0" + raw.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


def test_the_boot_loader_refuses_a_damaged_block() -> None:
    rom = RomLoader(flash=Flash(65536))
    rom.feed(packet(2, struct.pack("<IIII", 4096, 1, 1024, 0)))
    block = struct.pack("<IIII", 4, 0, 0, 0) + b"\xc0\xdb\x01\x02"
    right = 0xEF ^ 0xC0 ^ 0xDB ^ 0x01 ^ 0x02
    assert rom.feed(packet(3, block, right ^ 1))[9] == 1
    assert rom.flash.data[0] == 0xFF
    # Byte by byte, with noise before it.
    answer = b"".join(rom.feed(bytes([byte])) for byte in b"noise" + packet(3, block, right))
    assert answer[9] == 0
    assert rom.flash.data[:4] == b"\xc0\xdb\x01\x02"


def test_images(tmp_path: Path) -> None:
    path = tmp_path / "i.bin"
    path.write_bytes(stand_in_image("esp32s3"))
    found = image.check(path, CHIPS["esp32s3"], 4 << 20)
    assert (found.offset, found.micropython) == (0, True)
    with pytest.raises(WrongImage, match="esp32s3"):
        image.check(path, CHIPS["esp32"], 4 << 20)
    with pytest.raises(WrongImage, match="does not fit"):
        image.check(path, CHIPS["esp32s3"], 4 << 20, offset=(4 << 20) - 100)


def test_progress_is_remembered_by_mac_and_found_by_port(tmp_path: Path) -> None:
    one = state.Progress("24:a1:60:00:00:01", "b", "aa", "/dev/ttyUSB0")
    state.save(tmp_path, one)
    assert state.load(tmp_path, "24:A1:60:00:00:01") == one
    assert state.last_on_port(tmp_path, "/dev/ttyUSB0") == one
    assert state.last_on_port(tmp_path, "/dev/ttyUSB1") is None
    assert state.load(tmp_path, "other").image_sha256 == ""
    next(tmp_path.glob("*.json")).write_text("{")
    assert state.load(tmp_path, one.mac).image_sha256 == ""


FORCE = "Use the force argument to flash anyway."


@pytest.mark.parametrize("stage", ["connecting", "stub", "starting", "erasing"])
@pytest.mark.parametrize(
    ("said", "kind", "code", "words"),
    [
        (
            f"'x.bin' requires chip revision in range [v1.1 - v1.99] (this chip is revision v0.2). "
            f"{FORCE}",
            WrongImage, 14, r"revision \[v1.1 - v1.99\], this chip is revision v0.2",
        ),
        (
            f"'x.bin' requires chip revision 4 or higher (this chip is revision 2). {FORCE}",
            WrongImage, 14, "revision 4 or higher, this chip is revision 2",
        ),
        (f"'x.bin' is not an ESP32-S2 image. {FORCE}", WrongImage, 14, "not an ESP32-S2 image"),
        (
            "Secure Boot detected, writing to flash regions < 0x8000 is disabled. Use the force "
            "argument to override.",
            RefusedError, 8, "is locked",
        ),
        (
            "This operation is not available in Secure Download Mode, the chip is locked",
            RefusedError, 8, "is locked",
        ),
        (f"Unexpected thing of a later version. {FORCE}", RefusedError, 8, "esptool refuses"),
    ],
)  # fmt: skip
def test_what_esptool_would_not_write_is_no_lost_cable(
    stage: str, said: str, kind: type[CliError], code: int, words: str
) -> None:
    text = f"Connecting....\nChip type: ESP32-C3 (revision v0.2)\nA fatal error occurred: {said}\n"
    found = esp.explain(esp.Link("/dev/ttyTEST", "esp32c3"), Finished(2, text), stage)
    assert type(found) is kind
    assert found.exit_code == code
    assert re.search(words, found.message)
    assert "cable" not in found.remedy
    assert "BOOT" not in found.remedy


def test_a_chip_that_stopped_answering_is_still_lost() -> None:
    text = "Stub flasher running.\nA fatal error occurred: The chip stopped responding.\n"
    found = esp.explain(esp.Link("/dev/ttyTEST", "esp32"), Finished(2, text), "writing")
    assert type(found) is UnreachableError
    assert "cable" in found.remedy
