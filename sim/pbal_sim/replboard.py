"""A whole ESP32 board on a serial port: ROM boot loader, flash, and MicroPython's REPL.

`ReplBoard` joins the ROM loader of `romloader` with the MicroPython of `interpreter`, whose root
file system is a LittleFS inside the same emulated flash, so what a flasher erases is gone and
what a REPL tool installs is in it. It listens on a pseudo-terminal, on a TCP socket, or as an
RFC 2217 server; the last carries DTR and RTS, wired to EN and IO0 as on a DevKit, so automatic
reset works as on real hardware. On the others `press_reset` stands for the button.

One thread moves bytes; `close` ends it and the interpreter.
"""

import select
import struct
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from .boardport import Port, open_port
from .chipstate import ChipState
from .interpreter import Interpreter
from .norflash import Flash
from .romloader import CHIPS, RomLoader

BOOT_TEXT = (
    b"ets Jul 29 2019 12:21:46\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n"
    b"configsip: 0, SPIWP:0xee\r\n"
)
DOWNLOAD_TEXT = (
    b"ets Jul 29 2019 12:21:46\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0))\r\n"
    b"waiting for download\r\n"
)


class ReplBoard:
    """One emulated board.

    `folder` holds its flash. `port` is "pty", "pty:PATH" (a stable name), "tcp" or "rfc2217"; `url`
    is then what a pyserial program opens. `stub` and `fastest` are the ROM loader's.
    `leave_download` makes the
    board restart by itself when a flasher that wrote something hangs up, as if a person pressed
    EN. `cut_after` pulls the cable after so many bytes have arrived, once; `plug_in` undoes it.
    `delay_s` slows every answer, `noise` is printed at each start before anything else.
    `analog` gives pins a 50 Hz voltage: pin -> (volts RMS at the pin, degrees), or for what lies
    behind contacts pin -> {coil -> (volts, degrees)}.
    """

    def __init__(
        self,
        folder: Path,
        port: str = "pty",
        chip: str = "esp32",
        mac: bytes = bytes.fromhex("24a160000001"),
        stub: str = "silent",
        download: bool = True,
        leave_download: bool = True,
        flash_size: int = 4 << 20,
        cut_after: int | None = None,
        delay_s: float = 0.0,
        noise: bytes = b"",
        heap: str = "400k",
        fastest: int = 0,
        analog: Mapping[int, object] | None = None,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.chip = CHIPS[chip]
        self.mac = mac
        self.flash = Flash(flash_size, folder / "flash.bin")
        self.cut_after = cut_after
        self.resets = 0
        self.sessions_flashed = 0
        self._stub = stub
        self._fastest = fastest
        self._leave_download = leave_download
        self._delay_s = delay_s
        self._noise = noise
        self._port_kind = port
        self._port: Port | None = open_port(port, self._lines_changed)
        self.url = self._port.url
        self._rom: RomLoader | None = None
        self.state = ChipState(folder / "chip.state")
        self._python = Interpreter(
            self.flash, self.state, self._send, mac, chip, heap=heap, analog=analog or {}
        )
        self._lock = threading.RLock()
        self._io0_low = False
        self._boot_at: float | None = None
        self._stop = threading.Event()
        self._start(download)
        self._thread = threading.Thread(target=self._run, name="replboard", daemon=True)
        self._thread.start()

    # What a person can do to the board.

    def press_reset(self, download: bool = False) -> None:
        """Presses EN, with BOOT held if `download`."""
        with self._lock:
            self._start(download)

    def until_said(self, text: bytes, within_s: float = 60.0) -> None:
        """Waits until the program has printed `text` last. Raises TimeoutError."""
        deadline = time.monotonic() + within_s
        while text not in self._python.tail:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the board said {self._python.tail!r}, not {text!r}")
            time.sleep(0.02)

    def pull_cable(self) -> None:
        """Takes the port away; the board loses its power with it."""
        with self._lock:
            self._python.end()
            self._rom = None
            if self._port is not None:
                self._port.close()
                self._port = None

    def plug_in(self, download: bool = False) -> None:
        """Brings the port back under the same name where it has one."""
        with self._lock:
            if self._port is None:
                kind = self._port_kind
                if kind in ("tcp", "rfc2217"):
                    kind += ":" + self.url.rsplit(":", 1)[1]
                self._port = open_port(kind, self._lines_changed)
                self.url = self._port.url
                self._start(download)

    def close(self) -> None:
        """Ends the thread, the interpreter and the port."""
        self._stop.set()
        self._thread.join(10)
        with self._lock:
            self._python.end()
            if self._port is not None:
                self._port.close()
                self._port = None
            self.state.close()

    def __enter__(self) -> "ReplBoard":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # The chip.

    @property
    def mode(self) -> str:
        """What the board is doing: "download", "micropython", "blank" or "unplugged"."""
        if self._port is None:
            return "unplugged"
        if self._rom is not None:
            return "download"
        return "micropython" if self._python.runs else "blank"

    def _start(self, download: bool, cause: str = "power") -> None:
        self._python.end()
        self.state.power_up()
        self._rom = None
        self.resets += 1
        if download:
            self._rom = RomLoader(
                self.chip.name, self.mac, self.flash, self._stub, fastest=self._fastest
            )
            self._send(DOWNLOAD_TEXT)
            return
        self._send(BOOT_TEXT + self._noise)
        if self.flash.data[self.chip.boot_offset] != 0xE9:
            header = struct.unpack_from("<I", self.flash.data, self.chip.boot_offset)[0]
            self._send(f"invalid header: {header:#010x}\r\n".encode() * 3)
            return
        self._python.start(cause)

    def _lines_changed(self, dtr: bool, rts: bool) -> None:
        # A DevKit's two transistors: EN is low with RTS alone, IO0 is low with DTR alone. EN rises
        # slowly, so that a flasher may pull IO0 down just after releasing it.
        with self._lock:
            if dtr and not rts:
                self._io0_low = True
            elif not dtr and rts:
                self._io0_low = False
                self._python.end()
                self._rom = None
                self._boot_at = None
                return
            if not self._python.runs and self._rom is None and self._boot_at is None:
                self._boot_at = time.monotonic() + 0.25

    # Moving bytes.

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._lock:
                self._boot_when_due()
                self._from_port()
                self._python.listen()
                self._watch_chip()
                self._python.hand_over()
                waiting = self._python.filenos()
                if self._port is not None:
                    waiting += self._port.filenos()
            if waiting:
                select.select(waiting, [], [], 0.001 if self._python.typed else 0.01)
            else:
                time.sleep(0.02)

    def _boot_when_due(self) -> None:
        if self._boot_at is not None and time.monotonic() >= self._boot_at:
            self._boot_at = None
            download, self._io0_low = self._io0_low, False
            self._start(download)

    def _send(self, data: bytes) -> None:
        if self._port is not None and data:
            if self._delay_s:
                time.sleep(self._delay_s)
            self._port.write(data)

    def _from_port(self) -> bool:
        if self._port is None:
            return False
        data = self._port.read()
        if self._port.hung_up() and self._rom is not None:
            self._flasher_left(self._rom)
            return False
        if not data:
            return False
        if self._rom is not None and self._rom.foreign(data):
            # One client hung up and another came before this thread, on a busy computer, noticed.
            self._flasher_left(self._rom)
        if self.cut_after is not None:
            self.cut_after -= len(data)
            if self.cut_after <= 0:
                self.cut_after = None
                self.pull_cable()
                return True
        if self._rom is not None:
            self._send(self._rom.feed(data))
            if self._rom.reboot:
                self.flash.sync()
                self._start(download=False)
        elif self._python.runs:
            self._python.take(data)
        return True

    def _flasher_left(self, rom: RomLoader) -> None:
        if rom.bytes_programmed:
            self.sessions_flashed += 1
            rom.bytes_programmed = 0
            self.flash.sync()
            if self._leave_download:
                self._start(download=False)

    def _watch_chip(self) -> None:
        """What the chip does by itself: resets, and changes of the use of Ctrl-C."""
        if not self._python.runs:
            return
        if self.state.wants_reset:
            self._start(download=False, cause="reset")
        elif self.state.starved():
            self._start(download=False, cause="watchdog")
        else:
            _ = self.state.mode  # read, so that the chip goes on
