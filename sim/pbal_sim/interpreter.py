"""The MicroPython of an emulated board: a real interpreter on a pseudo-terminal.

Its root file system is a LittleFS in the board's flash. What it says is passed on as a chip's UART
would; what is typed reaches it as on a chip, where Ctrl-C interrupts what runs and a program that
does not read leaves the rest for the prompt.
"""

import contextlib
import fcntl
import json
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .chipstate import DEAF, INTERRUPTS, PROMPT, ChipState
from .norflash import Flash

VFS_OFFSET = 0x200000
_SHIM = Path(__file__).with_name("replshim.py")
_PROMPT = re.compile(rb"(>>> |\.\.\. |\x04>|CTRL-B to exit\r\n>)$")
_STARTED = b"\x1e"
_RAW_BANNER = b"raw REPL; CTRL-B to exit\r\n"


class Interpreter:
    """One board's; it runs from `start` to `end`. `send` takes what it says.

    `flash` is kept in a file, `state` is what else of the chip outlives it; `heap` as MicroPython's
    `heapsize`, `analog` as ReplBoard says. `tail` is the last that it said, `typed` what arrived
    and was not yet taken by the program that runs.
    """

    def __init__(
        self,
        flash: Flash,
        state: ChipState,
        send: Callable[[bytes], None],
        mac: bytes,
        chip: str,
        *,
        heap: str,
        analog: Mapping[int, object],
    ) -> None:
        assert flash.path is not None
        self._flash = flash
        self._file = flash.path
        self._state = state
        self._send = send
        self._mac = mac
        self._chip = chip
        self._heap = heap
        self._analog = json.dumps(analog)
        self._child: subprocess.Popen[bytes] | None = None
        self._child_fd = self._child_end = -1
        self.typed = bytearray()
        self.tail = b""
        self._raw = False
        self._started = False
        self._resume_raw = False
        self._held = b""

    @property
    def runs(self) -> bool:
        """Whether it was started, and not ended."""
        return self._child is not None

    def filenos(self) -> list[int]:
        """What to wait for: it says something when one is readable."""
        return [fd for fd in (self._child_fd,) if fd >= 0]

    def start(self, cause: str) -> None:
        """Start it for "power", "reset", "watchdog" or "soft"."""
        self._flash.sync()
        parent, child = os.openpty()
        modes = termios.tcgetattr(child)
        modes[0], modes[1], modes[3] = 0, 0, 0
        termios.tcsetattr(child, termios.TCSANOW, modes)
        self._child = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("micropython")),
                "-X",
                f"heapsize={self._heap}",
                "-i",
                str(_SHIM),
                str(self._file),
                str(VFS_OFFSET),
                str(len(self._flash.data) - VFS_OFFSET),
                self._mac.hex(),
                self._chip,
                cause,
                "raw" if self._resume_raw else "friendly",
                self._analog,
                str(self._state.path),
            ],
            stdin=child,
            stdout=child,
            stderr=child,
            start_new_session=True,
            cwd=self._file.parent,
        )
        self._child_fd, self._child_end = parent, child
        self.typed.clear()
        self._started = False
        self._raw = False
        self.tail = b""

    def end(self) -> None:
        """Stop it, if it runs; what it wrote into its file system is in the flash then."""
        self._resume_raw = False
        if self._child is not None:
            with contextlib.suppress(ProcessLookupError):
                self._child.kill()
            self._child.wait()
            os.close(self._child_fd)
            os.close(self._child_end)
            self._child, self._child_fd, self._child_end = None, -1, -1
            self._flash.reload()

    def take(self, data: bytes) -> None:
        """What a person or a tool types."""
        assert self._child is not None
        if not self._started:
            return  # the interpreter is not up: on a chip these go to the boot ROM
        for part in re.split(rb"([\x02\x03\x04\r])", data):
            if not part:
                continue
            # Read for each part: in a flood the program may have changed it meanwhile.
            mode = self._state.mode
            if mode == DEAF:
                self.typed += part
                continue
            if part == b"\x03" and (mode == INTERRUPTS or not self._settles()):
                # Running: an interrupt, not a character.
                self._child.send_signal(signal.SIGINT)
                time.sleep(0.01)
                continue
            if mode == INTERRUPTS:
                self.typed += part
                continue
            if part == b"\x02":
                self._raw = False
            if part in (b"\x04", b"\r"):
                self.tail = b""
            with contextlib.suppress(OSError):
                os.write(self._child_fd, part)

    def hand_over(self) -> None:
        """A program that runs gets one byte after the other, as from the chip's own buffer: what it
        does not take is left for the prompt.
        """
        if not self.typed or self._child is None or not self._started:
            return
        if self._state.mode == PROMPT:
            if _PROMPT.search(self.tail):
                data = bytes(self.typed)
                self.typed.clear()
                self.take(data)
        elif not struct.unpack("I", fcntl.ioctl(self._child_end, termios.FIONREAD, b"\0" * 4))[0]:
            # A line's characters come together, for a program that reads twice a second.
            run = re.match(rb"[ -~]{1,64}|.", self.typed, re.DOTALL)
            size = run.end() if run else 0
            os.write(self._child_fd, bytes(self.typed[:size]))
            del self.typed[:size]

    def listen(self) -> bool:
        """Pass on what it says; whether there was anything."""
        if self._child is None:
            return False
        if not select.select([self._child_fd], [], [], 0)[0]:
            if self._child.poll() is None:
                return False
            self._restart_child()
            return True
        try:
            data = os.read(self._child_fd, 4096)
        except OSError:
            data = b""
        if not data:
            self._restart_child()
            return True
        if not self._started:
            before, mark, after = data.partition(_STARTED)
            self._started = bool(mark)
            data = before + after
        self.tail = (self.tail + data)[-64:]
        data = re.sub(rb"(?<!\r)\n", b"\r\n", data)
        if self._resume_raw:
            data = self._into_raw(data)
        if _RAW_BANNER in self.tail:
            self._raw = True
        self._send(data)
        return True

    def _settles(self, within_s: float = 0.15) -> bool:
        """True if the interpreter is at a prompt, or comes to one at once."""
        deadline = time.monotonic() + within_s
        while not _PROMPT.search(self.tail) and self._child is not None:
            if time.monotonic() > deadline:
                return False
            if not self.listen():
                time.sleep(0.002)
        return True

    def _into_raw(self, data: bytes) -> bytes:
        # A soft reboot in raw mode comes back in raw mode; the interpreter here starts friendly,
        # so its banner is held back and Ctrl-A typed for the client. What boot.py says passes.
        self._held += data
        said, banner, _ = self._held.partition(b"MicroPython ")
        if not banner:
            self._held = b""
            return said
        if self._held.endswith(b">>> "):
            os.write(self._child_fd, b"\x01")
            self._held = b"MicroPython "
            return said
        if self._held.endswith(_RAW_BANNER + b">"):
            self._resume_raw, self._held = False, b""
            return _RAW_BANNER + b">"
        return b""

    def _restart_child(self) -> None:
        raw = self._raw
        self.end()
        self._resume_raw = raw
        self._send(b"\r\nMPY: soft reboot\r\n")
        self._state.soft_reboot()
        self.start("soft")
