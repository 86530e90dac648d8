"""Erase, write and verify a flash through the esptool command, and say what went wrong.

esptool verifies by asking the chip for the MD5 of what it holds; without its message "Hash of data
verified." a write does not count as done here.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import (
    CheckFailed,
    CliError,
    NoBootloader,
    RefusedError,
    UnreachableError,
    WrongChip,
    WrongImage,
)
from . import ports
from .image import Image
from .run import Finished, run, tool

# The ROM erases for up to 40 s for each megabyte before it answers (esptool's own bound).
ERASE_S_PER_MB = 40.0
CHIP_ERASE_S = 120.0
SILENT_S = 45.0
_WRITING = re.compile(r"Writing at 0x([0-9a-f]+).*?([\d.]+)%", re.I)
_MAC = re.compile(r"^MAC:\s+([0-9a-f:]{17})", re.I | re.M)
_FATAL = re.compile(r"^A fatal error occurred: (.*)$", re.M)
_REVISION = re.compile(
    r"requires chip revision (?:in range )?(.+?) \(this chip is revision ([^)]+)\)", re.I
)
_WRONG_CHIP = re.compile(r"This chip is ([\w-]+), not ([\w-]+)")


@dataclass(frozen=True)
class Link:
    """How to reach a board's boot loader."""

    port: str
    chip: str
    baud: int = 460800
    before: str = "default-reset"
    after: str = "hard-reset"
    stub: bool = True
    attempts: int = 7

    def command(self, *words: str) -> list[str]:
        """The esptool command line."""
        baud = self.baud if self.fast else 115200
        return [
            *tool("esptool"),
            "--chip", self.chip, "--port", self.port, "--baud", str(baud),
            "--before", self.before, "--after", self.after,
            "--connect-attempts", str(self.attempts),
            *([] if self.stub else ["--no-stub"]),
            *words,
        ]  # fmt: skip

    @property
    def fast(self) -> bool:
        """True where the line has a baud rate that is worth changing."""
        return not self.port.startswith("socket://") and ports.has_control_lines(self.port)


@dataclass(frozen=True)
class Written:
    """The result of a write: the chip's MAC, and whether the stub was used."""

    mac: str
    stub: bool
    erased: bool


class RateFailed(UnreachableError):
    """The line does not carry the faster rate; 115200 baud may do."""


class StubFailed(UnreachableError):
    """The chip does not run the flasher stub; the ROM loader may still do."""


def write(
    link: Link,
    image: Image,
    erase: bool,
    on_step: Callable[[str, float], None],
) -> Written:
    """Erases (all of the flash if `erase` and the stub runs, else what is written), writes and
    verifies.

    `on_step(words, share)` is called with the progress, share 0..1. Raises WrongChip, WrongImage,
    NoBootloader, RefusedError, StubFailed, CheckFailed, UnreachableError and the port errors.
    """
    seen = {"stage": "connecting"}

    def follow(line: str) -> None:
        at = _WRITING.search(line)
        if at:
            seen["stage"] = "writing"
            on_step("writing", float(at[2]) / 100)
        elif "lash size" in line and seen["stage"] == "rate":
            seen["stage"] = "starting"  # the first answer at the new rate
        elif "rasing flash" in line or "Erasing" in line:
            seen["stage"] = "erasing"
            on_step("erasing", 0.0)
        elif "hanging baud rate" in line or "hanging baudrate" in line:
            seen["stage"] = "rate"
        elif "flasher running" in line:
            seen["stage"] = "starting"
        elif "unning stub" in line or "ploading stub" in line:
            seen["stage"] = "stub"
        elif "erifying" in line:
            seen["stage"] = "verifying"
            on_step("verifying", 1.0)

    on_step("connecting", 0.0)
    whole = erase and link.stub
    megabytes = image.size / (1 << 20)
    done = run(
        link.command(
            "write-flash", *(["--erase-all"] if whole else []), hex(image.offset), str(image.path)
        ),
        follow,
        silent_s=max(SILENT_S + ERASE_S_PER_MB * megabytes, CHIP_ERASE_S if whole else 0.0),
        # The slowest line in use, RFC 2217 without the stub, moves about 2.5 kB/s.
        total_s=300 + 600 * megabytes,
    )
    if not done.ok:
        raise explain(link, done, seen["stage"])
    if "Hash of data verified" not in done.text:
        raise CheckFailed(
            f"{link.port}: esptool did not confirm what it wrote: {done.last_line()}",
            "Run the command again; if it repeats, try another cable or --baud 115200.",
        )
    mac = _MAC.search(done.text)
    return Written(mac[1].lower() if mac else "", link.stub, whole)


def explain(link: Link, done: Finished, stage: str) -> CliError:
    """Turns a failed esptool run into the error that says what to do."""
    text = done.text
    wrong = _WRONG_CHIP.search(text)
    if wrong:
        return WrongChip(
            f"{link.port}: this board carries an {wrong[1]}, the board file says {wrong[2]}.",
            "Choose the board file for it: `pbal board list` shows them.",
        )
    refused = _refused(link, text)
    if refused is not None:
        return refused
    if stage == "rate" or "Failed to set baud rate" in text:
        return RateFailed(
            f"{link.port}: the line is dead at {link.baud} baud: the adapter, its driver or the "
            "cable does not carry that.",
            "Put it into the boot loader again and repeat with --baud 115200.",
        )
    if stage == "stub":
        return StubFailed(
            f"{link.port}: the chip does not run esptool's flasher stub.",
            "Put it into the boot loader again and repeat with --no-stub.",
        )
    if "port is busy or doesn't exist" in text or "Could not open" in text:
        try:
            ports.check(link.port)
        except CliError as exc:
            return exc
        return ports.explain(link.port, OSError(done.last_line()))
    if "Permission" in text and "denied" in text:
        return ports.explain(link.port, PermissionError(13, "Permission denied"))
    if "Failed to connect" in text or "No serial data received" in text or stage == "connecting":
        return _no_bootloader(link, text)
    if "MD5 of file does not match" in text or "mismatch" in text:
        return CheckFailed(
            f"{link.port}: the flash does not hold what was written.",
            "Repeat with --baud 115200; if it fails again the flash is worn out or the power weak.",
        )
    if "will not fit" in text:
        return CheckFailed(
            f"{link.port}: the image does not fit this board's flash.", "Check the board's module."
        )
    reason = "it went silent" if done.timed_out else _reason(text)
    return UnreachableError(
        f"{link.port}: the board was lost while {stage}: {reason}",
        "Check the cable and the power and run the same command again: it starts over from the "
        "image, which is complete or not at all.",
    )


def _refused(link: Link, text: str) -> CliError | None:
    """The error where esptool reached the chip and refused to write; None for anything else.

    It refuses an image or a chip that does not fit, and names its force argument.
    """
    fatal = re.sub(r"\s+", " ", " ".join(_FATAL.findall(text))).strip()
    if not fatal:
        return None
    revision = _REVISION.search(fatal)
    if revision:
        return WrongImage(
            f"{link.port}: the image is for chip revision {revision[1]}, this chip is revision "
            f"{revision[2]}.",
            "Take an image that was built for this revision: a newer chip may need a newer image, "
            "an older chip an older one.",
        )
    if re.search(r"secure boot|secure download|flash encryption", fatal, re.IGNORECASE):
        return RefusedError(
            f"{link.port}: the chip is locked: {fatal[:200]}",
            "A chip with secure boot or flash encryption takes only what fits its keys; written by "
            "force it may never start again. Use another chip, or the keys it was locked with.",
        )
    if re.search(r"is not an? .*image", fatal, re.IGNORECASE):
        return WrongImage(f"{link.port}: {fatal[:200]}", "Take the image for this chip.")
    if "force argument" in fatal:
        return RefusedError(
            f"{link.port}: esptool refuses: {fatal[:200]}", "Nothing was written. Mend that first."
        )
    return None


def _reason(text: str) -> str:
    """esptool's own message for a failure."""
    for line in reversed(text.splitlines()):
        if "rror" in line and "troubleshooting" not in line:
            return re.sub(r"\s+", " ", line.strip())[:160]
    return Finished(1, text).last_line()[:160]


def _no_bootloader(link: Link, text: str) -> NoBootloader:
    if "Wrong boot mode" in text:
        why = "it started the program instead of the boot loader"
    elif "Download mode successfully detected" in text:
        why = "it is in the boot loader but does not hear us: check the line from our TX to its RX"
    else:
        why = "no answer"
    by_hand = "Hold BOOT, press and release EN, release BOOT; then repeat with --before no-reset."
    if not ports.has_control_lines(link.port):
        by_hand = (
            "This port cannot reset the board. Put it into the boot loader by hand (hold BOOT, "
            "press EN) and run the command again."
        )
    return NoBootloader(
        f"{link.port}: the {link.chip} boot loader does not answer ({why}).", by_hand
    )
