"""The faults of a chaos run: of nodes, of the line and the mains, of the controller's computer.

The controller is the real one, on a serial port that can be pulled (socat), with a clock that can
be stepped (libfaketime) and a disk that can be full (RLIMIT_FSIZE, which the kernel enforces on
every write). Nodes are the real firmware.

A node that crashes four times in a row goes into safe mode, where a contact in doubt stays open for
ten minutes (docs/safety.md). No home gets so many resets in a row: its power is cut instead, with
which they count from zero. Safe mode has tests of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import resource
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench.site import Site
from pbal_sim import chip as chips
from pbal_sim.street import Street

# A phase that sags is left by itself after confirmation and delay (twin_rig.FAST).
_SAG_S = 3.0
_RESETS_IN_A_ROW = 3  # one more makes safe mode
_OF_ONE = ("controller-killed", "controller-stopped", "disk-full")  # one of them at a time


class Faults:
    """`by_name`: each makes its fault and returns when that has ended. All chance is `chance`'s."""

    def __init__(self, street: Street, site: Site, chance: random.Random, faketime: str) -> None:
        self.street = street
        self.site = site
        self.random = chance
        self.sags: list[tuple[int, float]] = []  # phase, monotonic time at which it left its band
        # Of each home: resets in a row that we made, and the watchdog's before the first of them.
        self.resets = [0] * len(street.homes)
        self._bites = [0] * len(street.homes)
        self._faketime = faketime
        self._clock = street.workdir / "clock"
        self._port = street.workdir / "port"
        self._pulled = False
        self._socat = 0
        self._controller = asyncio.Lock()  # one fault of the controller at a time
        self._homes = [asyncio.Lock() for _ in street.homes]
        self.by_name: dict[str, Callable[[], Awaitable[None]]] = {
            "node-killed": self._node_killed,
            "node-reset": self._node_reset,
            "node-power-cut": self._node_power_cut,
            "controller-killed": self._controller_killed,
            "controller-stopped": self._controller_stopped,
            "port-pulled": self._port_pulled,
            "disk-full": self._disk_full,
            "clock-stepped": self._clock_stepped,
            "noise": self._noise,
            "answers-lost": self._answers_lost,
            "babbler": self._babbler,
            "wire-cut": self._wire_cut,
            "phase-sags": self._phase_sags,
        }

    async def start(self) -> None:
        """The controller on the port that can be pulled, with the clock that can be stepped."""
        self._clock.write_text("+0")
        await self._plug()
        self.site.port = str(self._port)
        await self.site.start(self._environment())

    def able(self, name: str) -> bool:
        """Whether this fault would begin at once: it is not the controller's while one of those is
        under way. Where the controller starts slowly, they would queue.
        """
        return name not in _OF_ONE or not self._controller.locked()

    async def calm(self) -> None:
        """Ends those of the line and the clock that last."""
        await self.street.segment.noise(0.0)
        await self.street.segment.clear_rules()
        self._clock.write_text("+0")

    def close(self) -> None:
        """The port is gone."""
        if self._socat:
            self.street.kill(self._socat)

    def _environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": self._faketime,
            "FAKETIME_TIMESTAMP_FILE": str(self._clock),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    # -- faults of nodes ---------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _some_home(self) -> Any:
        i = self.random.randrange(len(self._homes))
        async with self._homes[i]:
            yield i

    async def _node_killed(self) -> None:
        async with self._some_home() as i:
            pid = self.street.homes[i].chip.pid
            if not self._may_reset(i):
                await self._cut(i)
            elif pid:
                self.street.kill(pid)
            await self._up(i)

    async def _node_reset(self) -> None:
        async with self._some_home() as i:
            if self._may_reset(i):
                await self.street.reset(i, chips.HARD_RESET)
            else:
                await self._cut(i)
            await self._up(i)

    async def _node_power_cut(self) -> None:
        async with self._some_home() as i:
            await self._cut(i)
            await self._up(i)

    def _may_reset(self, i: int) -> bool:
        """Whether one more reset in a row makes no safe mode; it is counted then."""
        bites = self.street.homes[i].wdt_bites - self._bites[i]
        may = self.resets[i] + bites < _RESETS_IN_A_ROW
        self.resets[i] += may
        return may

    async def _cut(self, i: int) -> None:
        """After a power cut the node counts its resets from zero."""
        await self.street.power_cut(i, self.random.uniform(0.05, 2.0))
        self.resets[i] = 0
        self._bites[i] = self.street.homes[i].wdt_bites

    async def _up(self, i: int) -> None:
        """A node is left alone until it runs: what never gets to its program proves nothing."""
        await asyncio.sleep(0.3)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.street.homes[i].ready.wait(), 20)

    async def _wire_cut(self) -> None:
        async with self._some_home() as i:
            await self.street.segment.wire(i, False)
            await asyncio.sleep(self.random.uniform(0.5, 6.0))
            await self.street.segment.wire(i, True)

    async def _babbler(self) -> None:
        async with self._some_home() as i:
            await self.street.segment.babble(i, on_ms=15, off_ms=self.random.uniform(60, 200))
            await asyncio.sleep(self.random.uniform(0.5, 4.0))
            await self.street.segment.babble(i, on_ms=0)

    # -- faults of the line and the mains ----------------------------------------------------

    async def _noise(self) -> None:
        await self.street.segment.noise(10 ** self.random.uniform(-5, -3.5))
        await asyncio.sleep(self.random.uniform(0.5, 6.0))
        await self.street.segment.noise(0.0)

    async def _answers_lost(self) -> None:
        for _ in range(self.random.randrange(1, 6)):
            await self.street.segment.rule(way="up", do="drop", skip=self.random.randrange(20))

    async def _phase_sags(self) -> None:
        phase = self.random.randrange(3)
        self.sags.append((phase, time.monotonic()))
        self.street.set_phase(phase, self.random.choice((0.0, 0.8)))
        await asyncio.sleep(self.random.uniform(0.2, _SAG_S))
        self.street.set_phase(phase, 1.0)

    # -- faults of the controller and its computer -------------------------------------------

    async def _controller_killed(self) -> None:
        await self._restart(9)

    async def _controller_stopped(self) -> None:
        await self._restart(15)

    async def _restart(self, sig: int) -> None:
        async with self._controller:
            await self.site.stop(sig)
            await asyncio.sleep(self.random.uniform(0.0, 3.0))
            await self.site.start(self._environment())

    async def _plug(self) -> None:
        self._port.unlink(missing_ok=True)
        self._socat = await self.street.run(
            "socat",
            [
                "socat",
                f"pty,rawer,link={self._port}",
                f"open:{self.street.device},rawer",
            ],
        )
        for _ in range(100):
            if self._port.exists():
                return
            await asyncio.sleep(0.02)
        raise RuntimeError("socat did not make the controller's port")

    async def _port_pulled(self) -> None:
        """The adapter is unplugged and plugged in again: every read and write fails meanwhile."""
        if self._pulled:
            return
        self._pulled = True
        self.street.kill(self._socat)
        await self.street.wait(self._socat)
        await asyncio.sleep(self.random.uniform(0.2, 5.0))
        await self._plug()
        self._pulled = False

    async def _disk_full(self) -> None:
        async with self._controller:
            pid = self.site.pid
            none = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            try:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
                await asyncio.sleep(self.random.uniform(0.5, 6.0))
                resource.prlimit(pid, resource.RLIMIT_FSIZE, none)
            except ProcessLookupError:
                pass

    async def _clock_stepped(self) -> None:
        """The computer's clock jumps, and jumps back: no battery, a bad time server."""
        step = self.random.choice((-60, -5, -3, 3, 5, 60))
        self._clock.write_text(f"{step:+d}")
        await asyncio.sleep(self.random.uniform(1.5, 6.0))
        self._clock.write_text("+0")
