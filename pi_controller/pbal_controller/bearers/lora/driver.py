"""What a driver of a radio does, whichever library it stands on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pbal_controller.errors import BearerError

# Power in the channel (SX1276 data sheet, section 5.5.5), of which neither library says anything.
REG_RSSI_VALUE = 0x1B
LONGEST = 255  # bytes of a LoRa frame, of which the libraries' header is 4


@dataclass(frozen=True, slots=True)
class Received:
    """A frame, when it ended (s of time.monotonic), how it was received."""

    frame: bytes
    end_s: float
    rssi_dbm: float
    snr_db: float
    sf: int


def checked(frame: bytes) -> None:
    """Raises BearerError for what is no frame for this chip; nothing is sent."""
    if not 4 < len(frame) <= LONGEST:
        raise BearerError(f"a frame of {len(frame)} bytes: a LoRa frame has 5 to {LONGEST}")


class Driver(Protocol):
    """One chip. Calls block for as long as the SPI takes; `send` for the time on air."""

    def tune(self, hz: int, sf: int) -> None:
        """Listen on a channel, at a spreading factor."""

    def send(self, frame: bytes, hz: int, sf: int) -> float:
        """Send a frame; when it ended. Raises BearerError."""

    def ready(self) -> bool:
        """Whether something was received."""

    def take(self) -> Received | None:
        """What was received; None for a damaged frame. It goes on listening."""

    def power_dbm(self) -> float:
        """Power in the channel now, while it listens."""

    def describe(self) -> str:
        """What it is, for a person."""

    def check(self) -> None:
        """Find out whether the pins lead to the chip, which is then no longer set up. Sends
        nothing. Raises RadioError.
        """

    def close(self) -> None:
        """Free chip and pins."""
