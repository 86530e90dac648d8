"""Reads a meter once by a profile and checks the reading."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from pbal_controller.bearers.rs485 import serial_registers
from pbal_controller.errors import BearerError
from pbal_controller.meters import ModbusMeter, Profile, TransformerReading, contradictions

from ..errors import PortMissing

_WAIT_S = 20.0


@dataclass(frozen=True)
class At:
    """Where the meter is; what is None is as the profile has it."""

    port: str
    unit: int
    baud: int | None = None
    parity: str | None = None
    stop_bits: int | None = None
    phases: str | None = None


@dataclass(frozen=True)
class Probed:
    """The result of one profile on the meter."""

    profile: Profile
    reading: TransformerReading | None
    words: str
    wrong: list[str] = field(default_factory=list)
    silent: bool = False

    @property
    def fits(self) -> bool:
        """A reading came, and it can be a low-voltage network."""
        return self.reading is not None and not self.wrong

    @property
    def notes(self) -> list[str]:
        """What should be checked although the reading fits."""
        if self.reading is None:
            return []
        out = []
        for name, v, p_w in zip("ABC", self.reading.v, self.reading.p_w, strict=True):
            if v < 50:
                out.append(f"{name} has no voltage: a fuse, or a wire that is not connected")
            elif p_w < 0:
                out.append(
                    f"{name} exports {-p_w:.0f} W: if nobody feeds in there, its current "
                    "transformer is the wrong way round"
                )
        if not self.profile.meter.directed:
            out.append("this meter tells no direction: a reversed current transformer is not seen")
        return out

    def as_dict(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "profile": self.profile.meter.name,
            "fits": self.fits,
            "words": self.words,
            "reading": self.reading.as_dict() if self.reading is not None else None,
            "notes": self.notes,
        }


def probe(profile: Profile, at: At) -> Probed:
    """One reading by one profile. Raises PortMissing: the port does not open."""
    return asyncio.run(_probe(profile, at))


async def _probe(profile: Profile, at: At) -> Probed:
    line = profile.line
    registers = serial_registers(
        at.port,
        at.baud or line.baud,
        cast(Literal["N", "E", "O"], at.parity or line.parity),
        cast(Literal[1, 2], at.stop_bits or line.stop_bits),
    )
    try:
        async with asyncio.timeout(_WAIT_S):
            reading = await ModbusMeter(profile, at.unit, registers, at.phases).read_unchecked()
    except TimeoutError:
        return Probed(profile, None, "silent", silent=True)
    except BearerError as exc:
        words = str(exc).removeprefix("transformer meter: ")
        if "does not open" in words:
            raise PortMissing(
                f"The port {at.port} does not open.",
                "Check the name (ls /dev/serial/by-id), and that no other program holds it.",
            ) from None
        return Probed(profile, None, words, silent="No response" in words)
    finally:
        registers.close()
    wrong = contradictions(reading)
    return Probed(profile, reading, "; ".join(wrong) or "what it says fits together", wrong)
