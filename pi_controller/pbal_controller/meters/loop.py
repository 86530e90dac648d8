"""Reads the transformer's meter again and again, and compares it with the homes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pbal_controller.bearers import Registers
from pbal_controller.config import TransformerConfig
from pbal_controller.errors import BearerError
from pbal_controller.meters.make import make_meter, profile_of
from pbal_controller.meters.reading import TransformerReading
from pbal_controller.meters.residual import Residual, sample_of
from pbal_host import check_cancelled

log = logging.getLogger(__name__)


class HomeNow(NamedTuple):
    """One home for the comparison: its phase (0 not known, 1..3), current (A, referred to its own
    phase), whether it is heard and not in doubt, and its fuse's rated current (A).
    """

    address: int
    phase: int
    current_a: complex
    heard: bool
    fuse_a: float


class MeterLoop:
    """The meter of one site; without one `reading` stays None.

    homes : all homes as they are now, always in one order.
    publish : called with an alarm that begins or ends.
    Raises ConfigError: the configuration names no profile that is there.
    """

    def __init__(
        self,
        config: TransformerConfig,
        shared: Registers | None,
        homes: Callable[[], Sequence[HomeNow]],
        publish: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._config = config
        self._homes = homes
        self._publish = publish
        self.reading: TransformerReading | None = None
        self._meter = make_meter(config.meter, shared) if config.meter is not None else None
        profile = profile_of(config.meter) if config.meter is not None else None
        self.residual = Residual(
            config.residual, directed=profile is None or profile.meter.directed
        )

    def as_dict(self) -> dict[str, Any]:
        """For the status: the comparison."""
        return self.residual.as_dict([home.address for home in self._homes()])

    def compare(self, now: float) -> None:
        """One comparison of the meter and the homes; publishes alarms that begin and end."""
        if self.reading is None or not self._config.residual.enabled:
            return
        homes = self._homes()
        sample = sample_of(self.reading.phasors_a(), [home[1:] for home in homes])
        for alarm, begins in self.residual.take(now, sample):
            found = alarm.finding
            home = None if found.home is None else homes[found.home].address
            more = {"kind": found.kind, "phases": found.phases, "home": home, "why": found.words}
            if begins:
                log.error("meter and homes differ", extra=more)
            else:
                log.info("meter and homes agree again", extra=more)
            self._publish("residual", more | {"begins": begins})

    async def run(self, beat: Callable[[], None]) -> None:
        """Read until cancelled; logs once that the meter is silent, and once that it is back."""
        meter = self._meter
        assert meter is not None
        assert self._config.meter is not None
        loop = asyncio.get_running_loop()
        failing = ""
        try:
            while True:
                try:
                    self.reading = await meter.read()
                except BearerError as error:
                    check_cancelled()
                    self.reading = None
                    self.residual.forget()
                    if not failing:
                        log.warning("transformer meter silent", extra={"why": str(error)})
                    failing = str(error)
                else:
                    if failing:
                        log.info("transformer meter heard again")
                    failing = ""
                    self.compare(loop.time())
                    beat()
                await asyncio.sleep(self._config.meter.every_s)
        finally:
            self.reading = None
            meter.close()
