"""Makes the summaries: samples the site once a second, closes a window every five minutes.

A window ends on the clock, at a multiple of its length. What the controller did not see of it (it
started within it, or nothing answered) shows in `complete_percent`.
"""

from __future__ import annotations

import asyncio
import cmath
import logging
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from pbal_controller.config import TransformerConfig, UplinkConfig
from pbal_controller.documents import dump_json, load_json
from pbal_controller.homes import ROTATION, Fleet, Home
from pbal_controller.journal import AsyncJournal, Journal, clock_is_set
from pbal_controller.uplink import outbox
from pbal_controller.uplink.alarms import AlarmBook, SiteAlarm
from pbal_controller.uplink.thermal import Heat
from pbal_controller.uplink.window import (
    Sample,
    Three,
    Volts,
    Window,
    rated_current_a,
    resistance,
)
from pbal_uplink import Event, Summary

if TYPE_CHECKING:
    from pbal_controller.meters import TransformerReading

log = logging.getLogger(__name__)

EVERY_S = 1.0
_DEAD_V = 50.0
_UNWRITTEN = 300  # messages kept while the journal fails: a day
_HEAT = "uplink_heat"
_HEAT_KEPT_S = 86_400  # a temperature from longer ago is not used
_AUTONOMOUS = 3  # the node event of a transfer by itself (docs/wire.md)


class Sampler:
    """Reads the site as it is now. Keeps what the next sample compares with."""

    def __init__(
        self,
        fleet: Fleet,
        transformer: TransformerConfig,
        max_age_s: float,
        meter: Callable[[], TransformerReading | None],
    ) -> None:
        self._fleet = fleet
        self._max_age_s = max_age_s
        self._meter = meter
        self._ohm = resistance(transformer.rated_kva, transformer.load_loss_w, transformer.line_ohm)
        self._energy: dict[int, tuple[float, int, int]] = {}  # sampled_at, import, export
        self._polls = (0, 0)
        self.first_phases: dict[int, int] = {}

    def new_phases(self) -> dict[int, int]:
        """Homes that are heard for the first time, and on which phase."""
        return {
            home.address: home.phase
            for home in self._fleet
            if home.phase and home.address not in self.first_phases
        }

    def sample(self, now: float) -> Sample | None:
        """The site at `now`; None when nothing of it is known."""
        fresh = [home for home in self._fleet if home.age_s(now) <= self._max_age_s]
        reading = self._meter()
        if not fresh and reading is None:
            return None
        sums = self._fleet.phase_sums(now, self._max_age_s)
        phases: Three = (abs(sums[0]), abs(sums[1]), abs(sums[2]))
        neutral = abs(_neutral(sums))
        volts: tuple[Volts, Volts, Volts] = tuple(_volts(fresh, k) for k in range(3))  # type: ignore[assignment]
        if reading is not None:
            phases = reading.i
            measured = reading.neutral_a
            phasors = reading.phasors_a()
            if math.isfinite(measured):
                neutral = measured
            elif not any(cmath.isnan(i) for i in phasors):
                neutral = abs(_neutral(phasors))
            if not fresh:
                volts = tuple((v, v, v, int(v > _DEAD_V)) for v in reading.v)  # type: ignore[assignment]
        imported, exported = self._energies(fresh)
        polls, answers = self._link()
        return Sample(
            phases, neutral, volts, imported, exported, self._avoided_w(fresh, sums), polls, answers
        )

    def _energies(self, fresh: list[Home]) -> tuple[Three, Three]:
        imported, exported = [0.0] * 3, [0.0] * 3
        for home in fresh:
            t = home.telemetry
            if t is None:
                continue
            now = (home.sampled_at, int(t.e_import_wh), int(t.e_export_wh))
            before = self._energy.get(home.address)
            self._energy[home.address] = now
            if before is None or not home.phase:
                continue
            # At most what its fuse carries: more is a counter that was set back, or false.
            most = home.config.fuse_a * 1.5 * 260 * (now[0] - before[0]) / 3600 + 2
            for k, out in ((1, imported), (2, exported)):
                gained = now[k] - before[k]
                if 0 <= gained <= most:
                    out[home.phase - 1] += gained
        return (imported[0], imported[1], imported[2]), (exported[0], exported[1], exported[2])

    def _link(self) -> tuple[int, int]:
        polls = sum(home.link.polls for home in self._fleet)
        answers = sum(home.link.answers for home in self._fleet)
        before, self._polls = self._polls, (polls, answers)
        return polls - before[0], answers - before[1]

    def _avoided_w(self, fresh: list[Home], sums: tuple[complex, ...]) -> float | None:
        if self._ohm is None or not self.first_phases:
            return None
        first = [0j, 0j, 0j]
        for home in fresh:
            current = home.counted_a()
            if home.phase and not cmath.isnan(current):
                first[self.first_phases.get(home.address, home.phase) - 1] += current
        return self._ohm.loss_w(first, _neutral(first)) - self._ohm.loss_w(sums, _neutral(sums))


def _neutral(sums: tuple[complex, ...] | list[complex]) -> complex:
    return sum((s * ROTATION[k + 1] for k, s in enumerate(sums)), 0j)


def _volts(homes: list[Home], phase: int) -> Volts:
    """Lowest, sum, highest and count of a phase's voltages at the homes."""
    found = [
        v
        for home in homes
        if (t := home.telemetry) is not None and (v := (t.va_v, t.vb_v, t.vc_v)[phase]) > _DEAD_V
    ]
    return (min(found), sum(found), max(found), len(found)) if found else (0.0, 0.0, 0.0, 0)


def first_phases(journal: Journal) -> dict[int, int]:
    """On which phase each home was first heard."""
    return dict(journal.db.execute("SELECT address, phase FROM first_phases"))


def note_first_phases(journal: Journal, found: dict[int, int], wall: float) -> None:
    """Homes heard for the first time."""
    with journal.transaction():
        journal.db.executemany(
            "INSERT INTO first_phases VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
            [(address, phase, wall) for address, phase in found.items()],
        )


def counts(journal: Journal, from_s: float, to_s: float) -> tuple[dict[str, int], int]:
    """How switchings ended within a time, by end, and the transfers nodes made by themselves."""
    out = {
        state: min(255, count)
        for state, count in journal.db.execute(
            "SELECT state, COUNT(*) FROM commands WHERE updated_s >= ? AND updated_s < ? AND state "
            "IN ('confirmed', 'refused', 'failed', 'expired', 'disagreed') GROUP BY state",
            (from_s, to_s),
        )
    }
    (alone,) = journal.db.execute(
        "SELECT COUNT(*) FROM events WHERE code = ? AND received_s >= ? AND received_s < ?",
        (_AUTONOMOUS, from_s, to_s),
    ).fetchone()
    return out, min(255, alone)


class Summaries:
    """The loop that samples, closes windows and queues the summaries for HQ."""

    def __init__(
        self,
        journal: AsyncJournal,
        fleet: Fleet,
        site: int,
        uplink: UplinkConfig,
        transformer: TransformerConfig,
        max_age_s: float,
        meter: Callable[[], TransformerReading | None],
        mode: Callable[[], int],
        wall: Callable[[], float],
        queued: Callable[[], None] = lambda: None,
        alarms: Callable[[], Iterable[SiteAlarm]] = tuple,
    ) -> None:
        self._journal = journal
        self._fleet = fleet
        self._site = site
        self._config = uplink
        self._transformer = transformer
        self._max_age_s = max_age_s
        self._mode = mode
        self._wall = wall
        self._queued = queued
        self._alarms = alarms
        self._book = AlarmBook(site)
        self._sampler = Sampler(fleet, transformer, max_age_s, meter)
        self._window: Window | None = None
        self._heat: Heat | None = None
        self._unwritten: list[Summary | Event] = []
        self._started = False

    async def run(self, beat: Callable[[], None]) -> None:
        """Sample until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            await self.round(loop.time())
            beat()
            due = max(due + EVERY_S, loop.time())
            await asyncio.sleep(due - loop.time())

    async def round(self, now: float) -> None:
        """One second's work. `now`: the event loop's clock, s."""
        if not self._started:
            self._sampler.first_phases = await self._journal.call(first_phases)
            self._heat = _warm(await self._journal.call(Journal.get_blob, _HEAT), self._wall())
            self._started = True
        wall = self._wall()
        if clock_is_set(wall):
            await self._sample(now, wall)
            if self._config.kind != "null":
                self._unwritten += self._book.begun(self._alarms(), wall)
        await self._write()
        if await self._journal.call(outbox.take_facts, self._site):
            self._queued()

    async def _sample(self, now: float, wall: float) -> None:
        length = self._config.window_s
        start = int(wall) // length * length
        if self._window is not None and self._window.start_s != start:
            await self._close(self._window, now)
            self._window = None
        if self._window is None:
            self._window = Window(start, length)
        new = self._sampler.new_phases()
        if new:
            await self._journal.call(note_first_phases, new, wall)
            self._sampler.first_phases |= new
        sample = self._sampler.sample(now)
        if sample is not None:
            self._window.add(sample)

    async def _close(self, window: Window, now: float) -> None:
        self._unwritten.append(await self._summary(window, now))
        del self._unwritten[:-_UNWRITTEN]

    async def _summary(self, window: Window, now: float) -> Summary:
        fields: dict[str, Any] = window.fields(self._transformer.rated_kva, EVERY_S)
        if self._transformer.rated_kva is not None and window.samples:
            load = window.worst_load(rated_current_a(self._transformer.rated_kva))
            heat = self._heat or Heat.settled(load)
            self._heat = heat.after(load, window.length_s)
            spot = self._heat.hot_spot_c(self._transformer.ambient_c)
            fields["hotspot_c"] = max(-50.0, min(400.0, spot))
            kept = [window.start_s + window.length_s, *vars_of(self._heat)]
            await self._journal.call(Journal.put_blob, _HEAT, dump_json(kept).encode())
        ended, alone = await self._journal.call(
            counts, window.start_s, window.start_s + window.length_s
        )
        homes = list(self._fleet)
        return Summary(
            site=self._site,
            homes=len(homes),
            homes_alive=sum(home.alive for home in homes),
            homes_fresh=sum(home.age_s(now) <= self._max_age_s for home in homes),
            homes_quarantined=sum(bool(home.quarantined) for home in homes),
            mode=self._mode(),
            autonomous=alone,
            **ended,
            **fields,
        )

    async def reading(self, now: float) -> Summary | None:
        """The window that is under way, so far (a reading on demand); it is not queued."""
        window = self._window
        if window is None:
            return None
        taken = max(1, int(self._wall()) - window.start_s)
        fields: dict[str, Any] = window.fields(self._transformer.rated_kva, EVERY_S)
        fields |= {"length_s": min(3600, taken)}
        homes = list(self._fleet)
        return Summary(
            site=self._site, homes=len(homes), homes_alive=sum(h.alive for h in homes),
            homes_fresh=sum(h.age_s(now) <= self._max_age_s for h in homes),
            homes_quarantined=sum(bool(h.quarantined) for h in homes), mode=self._mode(), **fields,
        )  # fmt: skip

    async def _write(self) -> None:
        """What is made goes into the outbox; while the journal fails it is kept here."""
        while self._unwritten:
            message = self._unwritten[0]
            gone = await self._journal.call(outbox.put, message, self._config.max_summaries)
            self._unwritten.pop(0)
            if gone:
                log.warning("the outbox is full: summaries were dropped", extra={"count": gone})
            self._queued()


def vars_of(heat: Heat) -> list[float]:
    """The three rises, for the journal."""
    return [heat.oil_k, heat.fast_k, heat.slow_k]


def _warm(blob: bytes | None, wall: float) -> Heat | None:
    """The heat that was kept before a restart, if it is not too old."""
    try:
        at_s, *rises = map(float, load_json(blob or b""))
        heat = Heat(*rises)
    except (ValueError, TypeError):
        return None
    return heat if 0 <= wall - at_s <= _HEAT_KEPT_S else None
