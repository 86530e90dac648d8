"""A street: mains, homes, meters, contacts, wires and one real firmware per home.

    async with Street(StreetConfig(homes=12)) as street:
        print(street.device)        # the serial port for a controller
        await asyncio.sleep(10)
        print(figures.snapshot(street))

Everything runs under a process server; leaving the context, Ctrl-C, a crash or SIGKILL of
this process leaves none of them and no file behind.
"""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pbal_build import build_files, load_board
from pbal_sim import chip as chips
from pbal_sim.errors import TwinError
from pbal_sim.frontend import FrontEnd
from pbal_sim.hal import hwmap
from pbal_sim.hardware import build_hal, make_flash
from pbal_sim.home import Home
from pbal_sim.installation import (
    first_files,
    identity_of,
    interpreter_heap,
    wiring_of,
    with_settings,
)
from pbal_sim.mains import Mains
from pbal_sim.neutral import NeutralHistory
from pbal_sim.placing import HUB, station
from pbal_sim.processclient import ProcessClient, memory_file
from pbal_sim.pzem import Reading
from pbal_sim.radio import Air, PiPort, RadioWire, Sx1276
from pbal_sim.segment import Segment
from pbal_sim.streetconfig import StreetConfig, loads_of
from pbal_sim.witness import Witness

__all__ = ["Street", "StreetConfig"]

_TICK_S = 0.1
_WATCH_S = 0.1
_APART_M = 25.0  # from one home with a radio to the next
_BOOT_S = 30.0
_EXACT_HOMES = 16


class Street:
    """See the module's docstring. Homes are numbered 0.. here; addresses come from the config."""

    def __init__(self, config: StreetConfig | None = None) -> None:
        self.config = config or StreetConfig()
        c = self.config
        if not 1 <= c.homes <= 96:
            raise TwinError(f"a segment carries 1 to 96 homes, not {c.homes}")
        self._rng = random.Random(c.seed)
        self.board = load_board(c.board)
        self.mains = Mains(c.homes, c.mains)
        self.neutral = NeutralHistory(self.mains)
        self.loads = loads_of(c)
        rated_a = self.board.get("limits", {}).get("rated_switch_a", 40)
        settings = c.node_settings
        self.witness = Witness(
            c.homes,
            rated_a=settings.get("rated_switch_ma", 1000 * rated_a) / 1000,
            dwell_s=settings.get("dwell_s", 1800),
            band_v=(
                settings.get("band_low_dv", 2070) / 10,
                settings.get("band_high_dv", 2530) / 10,
            ),
        )
        self.identities = [identity_of(c, i) for i in range(c.homes)]
        pair = c.pair_frames if c.pair_frames is not None else c.homes > _EXACT_HOMES
        apart = {i for homes in c.buildings for i in homes}
        # The controller's line, then one for each building.
        self._lines = [[i for i in range(c.homes) if i not in apart], *map(list, c.buildings)]
        self.segments = [
            Segment([self.identities[i].address & 0xFF for i in on], c.baud, c.seed, pair, on)
            for on in self._lines
        ]
        self.segment = self.segments[0]
        self.homes: list[Home] = []
        self.started_s = 0.0
        self.clock_us = 0.0
        self.interpreter = ""
        self.boot_s = 0.0
        if c.radio is not None and "radio" not in self.board:
            raise TwinError(f"the board {c.board} has no radio")
        loss = c.radio.loss if c.radio else None
        self.air = Air(lambda: time.monotonic_ns() // 1000, loss=loss, seed=c.seed)
        self.hub: PiPort | None = None  # the controller's radio
        self._supervisor = ProcessClient(self._ended)
        self._tasks: set[asyncio.Task[None]] = set()
        self._pages: mmap.mmap | None = None
        self._front: FrontEnd | None = None
        self._pages_fd = -1
        self._closing = False
        self.tan_phi = np.full(c.homes, np.tan(np.arccos(c.power_factor)))

    # -- life ---------------------------------------------------------------------------

    async def __aenter__(self) -> Street:
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def _start(self) -> None:
        c = self.config
        begin = time.monotonic()
        await self._supervisor.start()
        hal, files = await asyncio.gather(
            asyncio.to_thread(build_hal, self.workdir / "hal"),
            asyncio.to_thread(lambda: c.files if c.files is not None else build_files(c.board)),
        )
        files = with_settings(c, files)
        image, self.interpreter = await make_flash(self._supervisor, hal, files)
        size = c.homes * hwmap.PAGE_SIZE
        self._pages_fd = memory_file("pages", size)
        self._pages = mmap.mmap(self._pages_fd, size)
        self._front = FrontEnd(
            self._pages, c.homes, self.board["sense"], c.adc_noise_mv, c.adc_curve_mv
        )
        for i in range(c.homes):
            self.homes.append(self._home(i, image, hal))
        for segment, on in zip(self.segments, self._lines, strict=True):
            wires = [self.homes[i].chip.bus_end for i in on]
            await segment.start(self._supervisor, wires, self._pages_fd)
        self.started_s = time.monotonic()
        self.clock_us = time.monotonic_ns() / 1000
        self._step()
        loop = asyncio.get_running_loop()
        for home in self.homes:
            loop.add_reader(home.chip.event_end.fileno(), home.readable)
            loop.add_reader(home.chip.meter_end.fileno(), home.meter_wire.readable)
            if home.radio_wire is not None:
                loop.add_reader(home.chip.spi_end.fileno(), home.radio_wire.readable)
        if c.radio is not None:
            hub = Sx1276(self.air, HUB)
            self.hub = await PiPort(self.workdir / "pi", hub, self._schedule).__aenter__()
        self._task(self._tick(), "street mains")
        self._task(self._watch(), "street watchdogs")
        gate = asyncio.Semaphore(c.boot_parallel)

        async def boot(home: Home) -> None:
            async with gate:
                await home.power_on(chips.PWRON_RESET)
                try:
                    await asyncio.wait_for(home.at_boot.wait(), _BOOT_S)
                except TimeoutError:
                    words = home.chip.log().strip()[-2000:]
                    raise TwinError(f"chip {home.index + 1} does not start: {words}") from None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(home.ready.wait(), _BOOT_S)

        await asyncio.gather(*(boot(h) for h in self.homes))
        self.boot_s = time.monotonic() - begin

    async def close(self) -> None:
        """Ends everything; safe to call twice."""
        self._closing = True
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        loop = asyncio.get_running_loop()
        for segment in self.segments:
            segment.close()
        if self.hub is not None:
            await self.hub.__aexit__()
            self.hub = None
        for home in self.homes:
            loop.remove_reader(home.chip.event_end.fileno())
            loop.remove_reader(home.chip.meter_end.fileno())
            loop.remove_reader(home.chip.spi_end.fileno())
        await self._supervisor.stop()
        for home in self.homes:
            home.chip.close()
        self.homes.clear()
        if self._pages is not None:
            self._front = None  # holds views of the pages
            self._pages.close()
            os.close(self._pages_fd)
            self._pages = None

    @property
    def workdir(self) -> Path:
        """A folder that lives as long as the street; for a controller's files as well."""
        return self._supervisor.workdir

    @property
    def device(self) -> str:
        """The serial device of the street's RS-485 segment."""
        return self.segment.device

    async def run(self, name: str, argv: list[str], env: dict[str, str] | None = None) -> int:
        """Starts another program; its output goes to `workdir/NAME.log`."""
        log = os.open(self.workdir / f"{name}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            return await self._supervisor.spawn(
                {"do": "exec", "name": name, "argv": argv, "env": env or {}}, [log]
            )
        finally:
            os.close(log)

    def kill(self, pid: int, sig: int = 9) -> None:
        """Signals a process of this street."""
        self._supervisor.kill(pid, sig)

    async def wait(self, pid: int) -> int:
        """Awaits the end of a process of this street; negative = ended by that signal."""
        return await self._supervisor.wait(pid)

    # -- building -----------------------------------------------------------------------

    def _home(self, i: int, image: bytes, hal: Path) -> Home:
        assert self._pages is not None
        c, identity = self.config, self.identities[i]
        home = Home(
            i,
            self.board,
            self._pages,
            self.witness,
            random.Random(self._rng.random()),
            self._schedule,
            self._recompute,
        )
        home.chip = chips.Chip(
            i,
            self._supervisor,
            self._pages,
            self._pages_fd,
            image,
            wiring_of(self.board, home.contacts.pins, identity.eui, i in c.wifi),
            heap=interpreter_heap(self._heap(i)),
            hal=hal,
            log=self.workdir / f"node-{i + 1:02d}.log",
            nice=c.nice,
        )
        home.chip.first_files = first_files(c, i, identity)
        home.attach()
        if "radio" in self.board:
            distance_m = c.radio.distance_m(i) if c.radio else _APART_M * (i + 1)
            radio = Sx1276(self.air, station(i), (distance_m, 0.0))
            home.radio_wire = RadioWire(
                home.chip.spi_end, radio, self.board["radio"], home.chip.set_input, self._schedule
            )
        home.on_reset = lambda: self._task(self.reset(i, chips.HARD_RESET), "chip reset")
        button = self.board.get("button", {}).get("pin")
        if button is not None:
            home.chip.set_input(int(button), 1)  # pulled up, not pressed
        return home

    def _heap(self, i: int) -> str:
        c = self.config
        bridges = [homes[0] for homes in c.buildings]
        return c.bridge_heap if c.bridge_heap and i in bridges else c.heap

    # -- time ---------------------------------------------------------------------------

    def _task(self, coroutine: Any, name: str) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _schedule(self, t_us: float, action: Callable[[], None]) -> None:
        # asyncio's clock is CLOCK_MONOTONIC in seconds.
        asyncio.get_running_loop().call_at(t_us / 1e6, action)

    @property
    def load_time_s(self) -> float:
        """Time of day of the loads, in seconds from midnight of their first day."""
        elapsed = max(0.0, self.clock_us / 1e6 - self.started_s)
        return self.config.load_start_s + elapsed * self.config.speed

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            self._step()

    def _step(self) -> None:
        now = time.monotonic_ns() / 1000
        seconds = (now - self.clock_us) / 1e6
        self.clock_us = now
        for home in self.homes:
            home.meter.advance(seconds)
        self._recompute()
        self.neutral.note(self.clock_us / 1e6, self._phases(), len(self.witness.transfers))

    def _phases(self) -> npt.NDArray[np.int64]:
        return np.array([h.contacts.phase for h in self.homes], dtype=np.int64)

    def _recompute(self) -> None:
        if not self.homes:
            return
        watts = self.loads.at(self.load_time_s)[: self.config.homes]
        self.mains.solve(watts, self.tan_phi, self._phases())
        m = self.mains
        if self._front is not None:
            self._front.show(m)
        v = [float(x) for x in np.abs(m.v_phase)]
        v_home, i_home = np.abs(m.v_home).tolist(), np.abs(m.i_home).tolist()
        power = (m.v_home * np.conj(m.i_home)).real.tolist()
        for home, volts, amperes, p in zip(self.homes, v_home, i_home, power, strict=True):
            size = volts * amperes
            pf = abs(p) / size if size > 0 else 1.0
            home.note(Reading(volts, amperes, p, m.supply.hz, pf), v)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            for home in self.homes:
                if home.chip.pid and home.chip.starved:
                    home.chip.forget_watchdog()
                    home.wdt_bites += 1
                    self._task(self.reset(home.index, chips.WDT_RESET), "watchdog reset")

    def _ended(self, pid: int, name: str, status: int) -> None:
        if self._closing:
            return
        for home in self.homes:
            if home.chip.pid == pid:
                # Not requested here: an interpreter that crashed, or a SIGKILL from outside.
                home.crashes += 1
                self._chip_down(home)
                if home.respawn:
                    self._task(home.power_on(chips.HARD_RESET), "chip restart")

    def _chip_down(self, home: Home) -> None:
        home.chip_stopped()
        for segment, on in zip(self.segments, self._lines, strict=True):
            if home.index in on:
                segment.chip_reset(on.index(home.index))

    # -- faults -------------------------------------------------------------------------

    async def reset(self, i: int, cause: int = chips.HARD_RESET) -> None:
        """Resets one chip, as its EN pin or its watchdog does."""
        home = self.homes[i]
        await home.chip.stop()
        self._chip_down(home)
        await home.power_on(cause)

    async def power_cut(self, i: int, seconds: float = 1.0) -> None:
        """Takes the supply of one home's node away, then gives it back."""
        await self.power_off(i)
        await asyncio.sleep(seconds)
        await self.homes[i].power_on(chips.PWRON_RESET)

    async def power_off(self, i: int) -> None:
        """Takes the supply of one node away: its chip stops, held contacts fall open."""
        home = self.homes[i]
        await home.chip.stop()
        self._chip_down(home)

    async def power_on(self, i: int) -> None:
        """Gives a node its supply back."""
        await self.homes[i].power_on(chips.PWRON_RESET)

    def set_phase(self, phase: int, scale: float) -> None:
        """Voltage of one phase of the network as a share of normal; 0 = phase lost."""
        self.mains.supply.scale[phase] = scale
        self._recompute()

    async def blackout(self, seconds: float) -> None:
        """The whole street without supply for a while."""
        self.mains.supply.on = False
        await asyncio.gather(*(self.power_off(h.index) for h in self.homes))
        self._recompute()
        await asyncio.sleep(seconds)
        self.mains.supply.on = True
        self._recompute()
        await asyncio.gather(*(self.power_on(h.index) for h in self.homes))

    def contact_fault(self, i: int, phase: int, fault: str) -> None:
        """ "welded", "stuck" or "" for one contact."""
        self.homes[i].contacts.set_fault(phase, fault, time.monotonic_ns() / 1000)
        self._recompute()

    def lying_meter(self, i: int, watts: Callable[[], float] | None) -> None:
        """One home's meter reports this power, with the current that fits it, whatever flows;
        None: the true power again."""
        self.homes[i].meter.claim(watts)
