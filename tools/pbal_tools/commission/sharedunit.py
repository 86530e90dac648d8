"""Whether two nodes answer at one unit.

Two nodes with one address send at the same time. What arrives is one of three things: bytes that
fail their checksum, two answers one after the other, or the stronger one alone. One disturbed
answer is noise; a unit whose answers are damaged repeatedly, while another unit's are intact, has
two nodes.
"""

from dataclasses import dataclass

from pbal_protocol import modbus, modbus_client
from pbal_protocol.errors import RemoteError

from .line import Line

ROUNDS = 12
SPOILED = 3  # this many of ROUNDS: not a single disturbance
_VOLTAGES = bytes((modbus.READ_INPUT_REGISTERS, 0, 1, 0, 4))  # what differs between two homes
REMEDY = (
    "Take one of them off the line (its supply, or its A and B), see which home stays silent, and "
    "give the other one its own address over its USB cable: pbal provision add"
)


@dataclass(frozen=True)
class Crowd:
    """The result of ROUNDS questions to one unit. `noisy`: another unit's are damaged as well."""

    unit: int
    clean: int = 0
    garbled: int = 0
    double: int = 0
    noisy: bool = False

    @property
    def spoiled(self) -> bool:
        """Whether its answers are damaged repeatedly."""
        return self.garbled + self.double >= SPOILED

    @property
    def words(self) -> str:
        """What to tell a person."""
        told = f"{self.garbled + self.double} of {ROUNDS} answers are spoiled"
        if self.double >= SPOILED or not self.noisy:
            return f"two nodes answer at unit {self.unit} ({told})"
        return (
            f"unit {self.unit} cannot be read ({told}, and other units suffer too): noise, or two "
            "nodes with one address"
        )

    @property
    def remedy(self) -> str:
        """What to do."""
        if self.double >= SPOILED or not self.noisy:
            return REMEDY
        return f"Check termination, A and B, and shields; if only this unit stays: {REMEDY}"


def look(line: Line, unit: int, other: int | None) -> Crowd | None:
    """Asks a unit ROUNDS times, and where answers are damaged also `other`, whose answers were
    intact.

    None where there is no sign of two nodes.
    """
    found = _count(line, unit)
    if not found.spoiled:
        return None
    noisy = other is not None and _count(line, other).spoiled
    return Crowd(unit, found.clean, found.garbled, found.double, noisy)


def _count(line: Line, unit: int) -> Crowd:
    clean = garbled = double = 0
    for _ in range(ROUNDS):
        heard = line.hear(unit, _VOLTAGES)
        if not heard:
            continue
        size = modbus.response_length(heard, len(heard))
        try:
            who, _ = modbus_client.split_adu(heard[:size] if 0 < size < len(heard) else heard)
        except RemoteError:
            garbled += 1
            continue
        if who == unit and 0 < size < len(heard):
            double += 1
        elif who == unit:
            clean += 1
        else:
            garbled += 1
    return Crowd(unit, clean, garbled, double)
