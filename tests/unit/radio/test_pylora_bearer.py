"""The controller and its LoRa bearer over pyLoRa over the emulated chip, in virtual time: homes
join, are read, and one is moved.

It is AGPL: never installed unless asked for by name, so this skips wherever it is not.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import tempfile
import time
from pathlib import Path

import pytest

from bench._radio_scenarios import Kind, Site
from bench._virtual_time import VirtualLoop, play
from pbal_controller.bearers.lora import RadioThread, bearer
from pbal_sim.radio import Pi, Sx1276

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("SX127x") is None,
    reason="pyLoRa is not installed (AGPL, only when asked for): pip install 'pbal[pylora]'",
)
HOMES = 3


class Inline(RadioThread):
    """The radio's thread as a task: its work takes virtual time."""

    async def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._driver = self._opener()
        self._task = asyncio.create_task(self._works())

    async def _works(self) -> None:
        while not self._stop.is_set():
            self._work(self._driver)
            await asyncio.sleep(0)

    async def stop(self) -> None:
        self._stop.set()


def test_homes_are_read_and_moved_over_pylora(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "SX127x"]:
        monkeypatch.delitem(sys.modules, name)

    async def run(loop: VirtualLoop) -> None:
        site = Site(Kind("village", "", radio=HOMES, radius_m=400.0), loop, 0.0, 1)

        def advance(us: float) -> None:
            loop.now_s += us / 1e6
            site.air.catch_up()

        monkeypatch.setattr(time, "sleep", lambda seconds: advance(1e6 * seconds))
        chip = Sx1276(site.air, "controller")
        pi = Pi(advance)
        pi.wire(chip)
        with tempfile.TemporaryDirectory() as name, pi.installed():
            async with site.running(Path(name), driver="pylora", radio=Inline) as c:
                air = c.bearers["air"]
                async with asyncio.timeout(300):
                    while not all(node.synced for node in site.nodes.values()):  # noqa: ASYNC110
                        await asyncio.sleep(1)
                told = air.as_dict()
                assert (told["state"], told["driver"], told["slots"]) == ("open", "pylora", HOMES)
                home = c.fleet.get(2)
                assert home is not None
                to_phase = 1 + home.phase % 3
                assert await c.dispatcher.order(home, to_phase, "a test", 1.0)
                async with asyncio.timeout(120):
                    while not c.dispatcher.finished_total["confirmed"]:  # noqa: ASYNC110
                        await asyncio.sleep(1)
                assert (site.nodes[2].phase, site.nodes[2].moves) == (to_phase, 1)
                assert chip.air.total > 50
                assert isinstance(air, bearer.LoraBearer)
                assert air.counts()["damaged"] == 0

    play(run)
