"""One home: its contacts, its meter, its node's analogue inputs, and the events of its chip."""

from __future__ import annotations

import asyncio
import mmap
import random
import struct
import time
from collections.abc import Callable
from typing import Any

from pbal_sim import chip as chips
from pbal_sim.contacts import ContactSet
from pbal_sim.hal import hwmap
from pbal_sim.metering import MeterWire
from pbal_sim.pzem import Pzem, Reading
from pbal_sim.radio import RadioWire
from pbal_sim.witness import Witness


class Home:
    """Joins one chip to the mains."""

    chip: chips.Chip
    on_reset: Callable[[], None]  # machine.reset() was called

    def __init__(
        self,
        index: int,
        board: dict[str, Any],
        pages: mmap.mmap,
        witness: Witness,
        rng: random.Random,
        schedule: Callable[[float, Callable[[], None]], None],
        recompute: Callable[[], None],
    ) -> None:
        self.index = index
        self.respawn = True
        self.crashes = 0
        self.wdt_bites = 0
        self.cuts = 0
        self.cut_seen = asyncio.Event()
        self.at_boot = asyncio.Event()  # the file system is there, boot.py starts
        self.at_main = asyncio.Event()  # main.py starts
        self.ready = asyncio.Event()  # the application runs: it started its watchdog
        self.stage = hwmap.STAGE_RESET
        self.meter = Pzem(int(board.get("meter", {}).get("unit", 1)))
        self._pages = pages
        self._schedule = schedule
        self._recompute = recompute
        self._witness = witness
        self._buffer = bytearray()
        self._current_a = 0.0
        self._v: list[float] = [0.0, 0.0, 0.0]
        selector = board["selector"]
        self._aux = [selector.get(f"aux_{letter}") for letter in "abc"]
        self._aux_closed = int(selector.get("aux_closed_level", 0))
        self.contacts = ContactSet(
            selector,
            rng,
            schedule,
            self._moved,
            lambda phase, on, t: witness.driven(index, phase, on, t),
        )
        self.meter_wire: MeterWire
        self.radio_wire: RadioWire | None = None

    def attach(self) -> None:
        """Joins the wires once the chip exists."""
        self.meter_wire = MeterWire(
            self.chip.meter_end, self.meter, self._pages, self.chip.base, self._schedule
        )

        for phase in range(3):
            self._show_aux(phase, False)

    def _show_aux(self, phase: int, closed: bool) -> None:
        """The auxiliary contact of a phase moves with its armature."""
        pin = self._aux[phase]
        if pin is not None:
            self.chip.set_input(int(pin), self._aux_closed if closed else 1 - self._aux_closed)

    async def power_on(self, cause: int) -> None:
        """Starts the chip."""
        for event in (self.at_boot, self.at_main, self.ready):
            event.clear()
        self.cut_seen.clear()
        await self.chip.start(cause)

    def chip_stopped(self) -> None:
        """The chip is gone: its pins float and its wires are silent."""
        self.chip.pid = 0
        self.stage = hwmap.STAGE_RESET
        self.readable()
        self._buffer.clear()
        self.meter_wire.reset()
        if self.radio_wire is not None:
            self.radio_wire.reset()
        self.contacts.power_lost(time.monotonic_ns() / 1000)

    def readable(self) -> None:
        """The chip reported something."""
        try:
            self._buffer += self.chip.event_end.recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        size = hwmap.EVENT_SIZE
        while len(self._buffer) >= size:
            kind, a, b, _, t_us = struct.unpack_from(hwmap.EVENT_FORMAT, self._buffer, 0)
            del self._buffer[:size]
            self._event(kind, a, b, t_us)

    def _event(self, kind: int, a: int, b: int, t_us: int) -> None:
        if kind == hwmap.EV_PIN:
            self.contacts.pin_event(a, b, float(t_us))
        elif kind == hwmap.EV_STAGE:
            self.stage = a
            if a >= hwmap.STAGE_BOOT:
                self.at_boot.set()
            if a >= hwmap.STAGE_MAIN:
                self.at_main.set()
        elif kind == hwmap.EV_WDT:
            # boot.py may start it too, to feed it for a person at the console.
            if self.stage >= hwmap.STAGE_MAIN:
                self.ready.set()
        elif kind == hwmap.EV_RESET:
            self.on_reset()
        elif kind == hwmap.EV_CUT:
            self.cuts += 1
            self.cut_seen.set()

    def _moved(self, phase: int, closed: bool, t_us: float) -> None:
        self._show_aux(phase, closed)
        self._witness.moved(self.index, phase, closed, t_us, self._current_a, self._v)
        self._recompute()

    def note(self, reading: Reading, v: list[float]) -> None:
        """The present reading, for the meter and the witness; `v` are the three phase voltages."""
        self.meter.reading = reading
        self._v = v
        self._current_a = reading.i
