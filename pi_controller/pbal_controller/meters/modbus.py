"""A three-phase meter on Modbus, read as its profile says."""

from __future__ import annotations

from pbal_controller.bearers import Registers
from pbal_controller.errors import BearerError
from pbal_controller.meters.profile import Profile
from pbal_controller.meters.reading import TransformerReading, contradictions


class ModbusMeter:
    """A meter, on whatever its registers are read by."""

    def __init__(
        self, profile: Profile, unit: int, registers: Registers, phases: str | None = None
    ) -> None:
        self._profile = profile
        self._unit = unit
        self._registers = registers
        self._phases = phases

    async def read(self) -> TransformerReading:
        """One reading. Raises BearerError: silent, or its values cannot be those of a network."""
        return checked(self._profile, await self.read_unchecked())

    async def read_unchecked(self) -> TransformerReading:
        """One reading, also where it contradicts itself: to find out what is wrong."""
        answers = []
        for ask in self._profile.asks(self._unit):
            read = (
                self._registers.holding_registers
                if ask.function == 3
                else self._registers.input_registers
            )
            try:
                answers.append(await read(ask.unit, ask.first, ask.count))
            except BearerError as error:
                raise BearerError(f"transformer meter: {error}") from None
        return self._profile.decode(answers, self._phases)

    def close(self) -> None:
        """Close the port, if it is ours."""
        self._registers.close()


def checked(profile: Profile, reading: TransformerReading) -> TransformerReading:
    """The reading. Raises BearerError when it cannot be a low-voltage network."""
    wrong = contradictions(reading)
    if wrong:
        raise BearerError(
            f"transformer meter: read as {profile.meter.name} it says {'; '.join(wrong)}. Another "
            "meter than the profile's? `pbal meter probe` finds which profile fits"
        )
    return reading
