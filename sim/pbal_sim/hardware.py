"""Compiles the simulated chip's own modules and makes flash images, once per street."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import struct
from collections.abc import Mapping
from pathlib import Path

from pbal_build import compile_file
from pbal_sim.errors import FlashError
from pbal_sim.hal import hwmap
from pbal_sim.processclient import ProcessClient, memory_file

FLASH_SIZE = 2 * 1024 * 1024
_SOURCE = Path(__file__).resolve().parent / "hal"
_PLAIN = (
    "_chip", "_flash", "_spi", "_start", "_timers", "esp32", "launcher", "machine", "mkflash",
    "network",
)  # fmt: skip
# Processors for which mpy-cross emits machine code that the unix port runs.
_FAST = {"x86_64": "x64"}


def build_hal(folder: Path) -> Path:
    """Compiles the chip's modules into `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in _PLAIN:
        _build(folder, name, name)
    arch = _FAST.get(platform.machine())
    if arch:
        _build(folder, "_adc_fast", "_adc", f"-march={arch}")
    else:
        _build(folder, "_adc_plain", "_adc")
    return folder


def _build(folder: Path, source: str, name: str, *options: str) -> None:
    """Compiles one module with the names of `hwmap` replaced by their values.

    The simulated hardware takes its heap from the firmware's, so the map is a table on the
    simulator's side only, and line numbers are left out.
    """
    text = (_SOURCE / f"{source}.py").read_text(encoding="utf-8")
    text = re.sub(r"^import hwmap\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"hwmap\.([A-Z][A-Z0-9_]*)", lambda m: repr(getattr(hwmap, m[1])), text)
    plain = folder / f"{source}.py"
    plain.write_text(text, encoding="utf-8")
    data = compile_file(plain, name, "-O3", *options)
    plain.unlink()
    (folder / f"{name}.mpy").write_bytes(data)


async def make_flash(
    processes: ProcessClient, hal: Path, files: Mapping[str, bytes], size: int = FLASH_SIZE
) -> tuple[bytes, str]:
    """A littlefs image with `files`, formatted by the interpreter itself, and its name for itself.

    Raises FlashError when the files do not fit.
    """
    pack = memory_file("files", 0)
    flash = memory_file("flash", size)
    page = memory_file("page", 4096)
    log = processes.workdir / "mkflash.log"
    log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.pwrite(flash, b"\xff" * size, 0)
        blob = b"".join(
            struct.pack("<HI", len(path.encode()), len(data)) + path.encode() + data
            for path, data in files.items()
        )
        os.write(pack, blob)
        os.lseek(pack, 0, os.SEEK_SET)
        message = {
            "do": "chip",
            "name": "pbal-mkflash",
            "fds": 3,
            "page_size": 4096,
            "page_offset": 0,
            "flash_size": size,
            "heap": "4m",
            "hal": str(hal),
            "code": "import mkflash; mkflash.run({flash}, {size}, 10)",
        }
        pid = await processes.spawn(message, [log_fd, pack, page, flash])
        status = await asyncio.wait_for(processes.wait(pid), 60)
        if status:
            words = log.read_text(errors="replace").strip()
            raise FlashError(f"the flash image could not be made: {words or status}")
        return os.pread(flash, size, 0), log.read_text(errors="replace").splitlines()[0]
    finally:
        for fd in (pack, flash, page, log_fd):
            os.close(fd)
