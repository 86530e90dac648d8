"""One simulated chip: an interpreter process, its register page, its flash, its wires."""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path

from pbal_sim.errors import TwinError
from pbal_sim.hal import hwmap
from pbal_sim.processclient import ProcessClient, memory_file

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
SOFT_RESET = 5
_CODE = "import launcher; launcher.prepare({page}, {flash}, {size}); import _start; _start.run()"


@dataclass
class Wiring:
    """What the board connects to a chip's pins.

    `watch` pin -> hwmap.WATCH_*; `adc` pin -> channel; `uart` id -> (link, tx pin, rx pin).
    """

    uid: bytes
    watch: dict[int, int]
    adc: dict[int, int]
    uart: dict[int, tuple[int, int, int]]
    kind: str = "esp32"
    radio: tuple[int, int, int] | None = None  # sck, mosi, miso
    wifi: tuple[str, str] | None = None  # name and key of the network around it

    def write(self, page: mmap.mmap, base: int) -> None:
        """Fills in the page of a chip."""
        page[base + hwmap.UID : base + hwmap.UID + 6] = self.uid
        if self.kind not in hwmap.CHIPS:
            known = ", ".join(hwmap.CHIPS)
            raise TwinError(f"no simulated chip of kind {self.kind!r}; known: {known}")
        page[base + hwmap.CHIP] = hwmap.CHIPS.index(self.kind)
        page[base + hwmap.RADIO] = 0 if self.radio is None else 1
        page[base + hwmap.RADIO_SPI : base + hwmap.RADIO_SPI + 3] = bytes(self.radio or (0, 0, 0))
        page[base + hwmap.WIFI] = page[base + hwmap.WIFI_REACH] = int(self.wifi is not None)
        for at, text in zip((hwmap.WIFI_NAME, hwmap.WIFI_KEY), self.wifi or (), strict=False):
            raw = text.encode()
            page[base + at] = len(raw)
            page[base + at + 1 : base + at + 1 + len(raw)] = raw
        n = hwmap.PINS
        page[base + hwmap.WATCH : base + hwmap.WATCH + n] = bytes(
            self.watch.get(p, 0) for p in range(n)
        )
        page[base + hwmap.ADC_OF : base + hwmap.ADC_OF + n] = bytes(
            self.adc.get(p, 255) for p in range(n)
        )
        for uart in range(3):
            at = base + hwmap.UART_OF + 4 * uart
            page[at : at + 4] = bytes((*self.uart.get(uart, (255, 0, 0)), 0))


class Chip:
    """A node's hardware across its resets; `pid` is 0 while it has no supply."""

    def __init__(
        self,
        index: int,
        processes: ProcessClient,
        pages: mmap.mmap,
        pages_fd: int,
        image: bytes,
        wiring: Wiring,
        *,
        heap: str,
        hal: Path,
        log: Path,
        nice: int,
    ) -> None:
        self.index = index
        self.base = index * hwmap.PAGE_SIZE
        self._supervisor = processes
        self._pages = pages
        self._pages_fd = pages_fd
        wiring.write(pages, self.base)
        self._heap = heap
        self._hal = hal
        self._nice = nice
        self.log_path = log
        self.pid = 0
        self.starts = 0
        self.first_files: dict[str, str] | None = None
        self.flash_size = len(image)
        self.flash_fd = memory_file(f"flash-{index}", self.flash_size)
        os.pwrite(self.flash_fd, image, 0)
        self.bus_end, self._bus_chip = _wire()
        self.event_end, self._event_chip = _wire()
        self.meter_end, self._meter_chip = _wire()
        self.spi_end, self._spi_chip = _wire()
        self._spi_chip.setblocking(True)  # an access lasts until it is answered
        self._log_fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.event_end.setblocking(False)
        self.meter_end.setblocking(False)
        self.spi_end.setblocking(False)

    async def start(self, cause: int) -> int:
        """Gives the chip supply; returns its pid."""
        for receiver in (self._bus_chip, self._meter_chip, self._spi_chip):
            _drain(receiver)
        base, page = self.base, self._pages
        page[base + 512 : base + hwmap.RX_READ] = bytes(hwmap.RX_READ - 512)
        self.put_u32(hwmap.RX_SIZE, 0)
        self.put_u32(hwmap.RX_SIZE + 4, 0)
        page[base + hwmap.CAUSE] = cause
        text = json.dumps(self.first_files or {}, separators=(",", ":")).encode()
        if len(text) > hwmap.FILES_MAX:
            raise TwinError("the files for a new node's flash are too long")
        self.put_u32(hwmap.FILES, len(text) if self.first_files else 0)
        page[base + hwmap.FILES + 4 : base + hwmap.FILES + 4 + len(text)] = text
        self.first_files = None
        fds = [
            self._log_fd,
            self._event_chip.fileno(),
            self._bus_chip.fileno(),
            self._meter_chip.fileno(),
            self._spi_chip.fileno(),
            self._pages_fd,
            self.flash_fd,
        ]
        message = {
            "do": "chip",
            "name": f"pbal-node-{self.index + 1:02d}",
            "fds": len(fds) - 1,
            "page_size": hwmap.PAGE_SIZE,
            "page_offset": base,
            "flash_size": self.flash_size,
            "heap": self._heap,
            "hal": str(self._hal),
            "code": _CODE,
            "nice": self._nice,
        }
        self.pid = await self._supervisor.spawn(message, fds)
        self.starts += 1
        return self.pid

    def wifi_in_reach(self, heard: bool) -> None:
        """Whether the chip hears its network."""
        self._pages[self.base + hwmap.WIFI_REACH] = int(heard)

    async def stop(self) -> None:
        """Takes the supply away and waits until the process is gone."""
        pid, self.pid = self.pid, 0
        if pid:
            self._supervisor.kill(pid)
            await self._supervisor.wait(pid)

    def close(self) -> None:
        """Frees what the chip holds in this process."""
        for wire in (
            self.bus_end,
            self._bus_chip,
            self.event_end,
            self._event_chip,
            self.meter_end,
            self._meter_chip,
            self.spi_end,
            self._spi_chip,
        ):
            wire.close()
        os.close(self.flash_fd)
        os.close(self._log_fd)

    def u32(self, offset: int) -> int:
        """A register of the chip's page."""
        return int(struct.unpack_from("<I", self._pages, self.base + offset)[0])

    def put_u32(self, offset: int, value: int) -> None:
        """Sets a register of the chip's page."""
        struct.pack_into("<I", self._pages, self.base + offset, value)

    @property
    def starved(self) -> bool:
        """True when a watchdog runs and was not fed in time."""
        deadline: int = struct.unpack_from("<Q", self._pages, self.base + hwmap.WDT_DEADLINE_US)[0]
        return 0 < deadline < time.monotonic_ns() // 1000

    def forget_watchdog(self) -> None:
        """A chip without supply has no watchdog."""
        struct.pack_into("<Q", self._pages, self.base + hwmap.WDT_DEADLINE_US, 0)

    def set_input(self, pin: int, level: int) -> None:
        """Drives an input pin from outside (a button, a feedback contact)."""
        at = self.base + hwmap.PIN_IN + (pin >> 3)
        mask = 1 << (pin & 7)
        self._pages[at] = (self._pages[at] | mask) if level else (self._pages[at] & ~mask & 0xFF)

    def cut_at(self, kind: int, after: int) -> None:
        """Arms a power cut at an exact instant: the `after`-th event of a CUT_* kind."""
        self.put_u32(hwmap.CUT_AFTER, after)
        self.put_u32(hwmap.CUT_KIND, kind)

    def log(self) -> str:
        """What the firmware printed since the street began."""
        return self.log_path.read_text(errors="replace")


def _drain(receiver: socket.socket) -> None:
    """What came for a chip that is gone is lost: its next start must not take it for an answer."""
    with contextlib.suppress(BlockingIOError):
        while receiver.recv(4096, socket.MSG_DONTWAIT):
            pass


def _wire() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    theirs.setblocking(False)
    return ours, theirs
