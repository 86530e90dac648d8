"""What an emulated board sees of the chip in it: a small file that both hold open.

`replshim.py`, the chip's side, keeps the same offsets.
"""

import mmap
import struct
import time
from pathlib import Path

DEAF, INTERRUPTS, PROMPT = 0, 1, 2  # Ctrl-C gives a byte, an interrupt, or what the prompt does
_MODE, _SEEN, _RESET, _TIMERS, _WDT_MS, _WDT_FEEDS, _PINS = 0, 1, 2, 3, 4, 8, 16
_SIZE = 128
_LEVELS = 64


class ChipState:
    """One chip's pins, watchdog and use of Ctrl-C."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(_SIZE))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), _SIZE)
        self._fed = 0
        self._fed_at = 0.0

    def close(self) -> None:
        """Closes the file."""
        self._map.close()

    def power_up(self) -> None:
        """A reset of the chip: pins float, no watchdog."""
        self._map[:] = bytes(_SIZE)
        self._fed, self._fed_at = 0, time.monotonic()

    def soft_reboot(self) -> None:
        """A new interpreter: pins and watchdog stay."""
        self._map[:_WDT_MS] = bytes(_WDT_MS)

    @property
    def mode(self) -> int:
        """What a Ctrl-C does now. Reading it lets the chip go on in that mode."""
        self._map[_SEEN] = self._map[_MODE]
        return self._map[_SEEN]

    @property
    def wants_reset(self) -> bool:
        """The program called machine.reset()."""
        return self._map[_RESET] != 0

    @property
    def watched(self) -> bool:
        """A watchdog runs."""
        return self._u32(_WDT_MS) != 0

    @property
    def timed(self) -> bool:
        """A timer of the program runs."""
        return self._map[_TIMERS] != 0

    def starved(self) -> bool:
        """The watchdog was not fed for its time. While a timer runs it counts as fed: the
        firmware's timers feed it, and none can call back here.
        """
        fed = self._u32(_WDT_FEEDS)
        if fed != self._fed:
            self._fed, self._fed_at = fed, time.monotonic()
        if self.timed:
            self._fed_at = time.monotonic()
        return self.watched and time.monotonic() - self._fed_at > self._u32(_WDT_MS) / 1000

    def pin(self, number: int) -> int:
        """What a pin is driven to."""
        return self._map[_PINS + number]

    def _u32(self, offset: int) -> int:
        return int(struct.unpack_from("<I", self._map, offset)[0])
