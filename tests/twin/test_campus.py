"""A campus in the twin: buildings on RS-485 behind bridges over LoRa."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from rigs import needs

from pbal_sim.street import Street
from pbal_tools.streetoptions import RunOptions
from pbal_tools.streetrun import StreetRun

pytestmark = [pytest.mark.twin, pytest.mark.long, pytest.mark.timeout(400)]

LONGEST_S = 240.0


class Watched(StreetRun):
    """A run whose street a test may touch; it ends when `play` has returned."""

    street: Street

    def __init__(self, options: RunOptions, play: Callable[[Watched], Awaitable[None]]) -> None:
        super().__init__(options)
        self._play = play
        self.player: asyncio.Task[None] | None = None
        self.cut_off = 0  # moves that were under way when their home lost its way to the controller

    def _look(self, street: Street) -> None:
        super()._look(street)
        if self.player is None:
            self.street = street
            self.player = asyncio.create_task(self._played())

    async def _played(self) -> None:
        try:
            await self._play(self)
        finally:
            self.stopping.set()

    async def until(self, what: Callable[[dict[str, Any]], object], seconds: float = 120.0) -> None:
        """Wait for something in the controller's status."""
        end = time.monotonic() + seconds
        while not what(self._status):
            assert time.monotonic() < end, json.dumps(self._status)[:6000]
            await asyncio.sleep(0.1)


async def played(run: Watched) -> None:
    """The whole run; nothing goes wrong in it but what the play cut off."""
    needs.require_module("adafruit_rfm9x", "pi")
    await run.run()
    assert run.player is not None
    await run.player
    assert run.result["switches_failed"] <= run.cut_off, run.result
    assert run.result["incidents"] == {}, run.result
    assert run.result["node_crashes"] == 0, run.result


def confirmed(status: dict[str, Any]) -> int:
    return int(status.get("switches", {}).get("confirmed", 0))


async def test_a_building_is_read_and_moved_over_its_bridge_and_outlives_it() -> None:
    async def play(run: Watched) -> None:
        await run.until(lambda s: s["homes_fresh"] == 3 and confirmed(s))
        # The bridge dies: the homes behind it are silent, hold their phases, and it is said.
        (building,) = run.street.config.buildings
        await run.street.power_off(building[0])
        # It died while its radio answered it.
        run.street.homes[building[0]].chip.spi_end.send(bytes(2))
        await run.until(lambda s: s["homes_alive"] == 0)
        run.cut_off = run._status["switches"]["open"]
        phases = [home.contacts.phase for home in run.street.homes][1:]
        assert all(phase >= 0 for phase in phases)
        await run.until(lambda s: s["buses"][0]["bridges"][0]["silent"])
        await asyncio.sleep(3.0)
        assert [home.contacts.phase for home in run.street.homes][1:] == phases
        await run.street.power_on(building[0])
        await run.until(lambda s: s["homes_alive"] == 3)
        assert not run._status["buses"][0]["bridges"][0]["silent"]

    await played(Watched(RunOptions(homes=3, seconds=LONGEST_S, scenario="campus"), play))
