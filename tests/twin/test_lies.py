"""A home's meter tells of 40 kW that do not flow; judged is the true neutral current."""

import asyncio
import time
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from twin_rig import FAST, OPTIONS

from bench.site import Site
from pbal_sim.street import Street, StreetConfig
from pbal_sim.transformermeter import keep_file

HOMES = 6
LIAR = 2
FUSE_A = 63.0


class SteppingLoads:
    """Home h draws 1.2 kW and a little, and half as much more for a while at times of its own."""

    homes = HOMES
    names = tuple(f"home_{i}" for i in range(HOMES))
    step_s = 1.0

    def at(self, t_s: float) -> np.ndarray:
        h = np.arange(HOMES)
        return 1200.0 + 60.0 * h + 1000.0 * ((t_s + 5 * h) % 31 < 15)


@pytest.mark.twin
@pytest.mark.timeout(200)
@pytest.mark.parametrize("with_meter", [False, True], ids=["no-meter", "meter"])
async def test_a_lying_meter_is_named_and_costs_less_than_its_fuse(with_meter: bool) -> None:
    config = StreetConfig(
        homes=HOMES, loads=SteppingLoads(), node_settings=dict(FAST), speed=1.0,
        start_phases=[0, 1, 2, 0, 1, 2],
    )  # fmt: skip
    async with Street(config) as street:
        options: dict[str, dict[str, Any]] = {**OPTIONS}
        keeper = None
        if with_meter:
            path = street.workdir / "meter.json"
            keeper = asyncio.create_task(keep_file(street, path))
            options["transformer"] = {"meter": {"kind": "file", "path": str(path), "every_s": 0.5}}
            await asyncio.sleep(0.2)
        site = Site(street, options)
        await site.start()
        await site.until(lambda s: s["homes_fresh"] == HOMES, "every home is read", 30)
        await asyncio.sleep(10)
        before = _neutral(street)
        street.lying_meter(LIAR, lambda: 40_000.0 if time.monotonic() % 16 < 8 else 300.0)
        worst = 0.0
        named = ""
        end = time.monotonic() + 100
        while time.monotonic() < end and not named:
            worst = max(worst, _neutral(street))
            named = (await site.status())["homes"][LIAR]["doubted"]
            await asyncio.sleep(0.25)
        assert "its voltage does not fit its current" in named or "transformer's meter" in named
        status = await site.status()
        assert status["homes_doubted"] == 1
        assert status["homes"][LIAR]["immovable"] == f"in doubt: {named}"
        # The others are balanced on: all of them on phase A would be 30 A and more.
        moved = len(street.witness.transfers)
        decisions = status["planner"]["decisions"]
        for _ in range(60):
            worst = max(worst, _neutral(street))
            await asyncio.sleep(0.25)
        status = await site.status()
        assert status["planner"]["decisions"] > decisions + 5
        assert worst <= before + FUSE_A
        assert _neutral(street) <= 25.0, (moved, len(street.witness.transfers))
        assert street.witness.report()["incidents"] == {}
        assert await site.stop() == 0
        if keeper is not None:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper


def _neutral(street: Street) -> float:
    return abs(street.mains.i_neutral)
