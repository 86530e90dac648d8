"""Brings releases to the homes: one home first, then in waves; a failure stops the rollout.

A release is published by putting its file into the directory `update.directory`. Everything
sent uses polls that are due anyway, or time in which the line would be idle, so that readings
and switchings come first. How far each home is (`rollout_progress`) is in the journal before
the next step.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from pbal_controller.config import UpdateConfig
from pbal_controller.homes import Fleet, Home
from pbal_controller.journal import AsyncJournal
from pbal_controller.updates import store
from pbal_controller.updates.delivery import ROOM, Delivery
from pbal_controller.updates.folder import ReleaseFolder
from pbal_controller.updates.progress import Progress, Rollout, Step
from pbal_controller.updates.steps import next_step
from pbal_controller.updates.store import State
from pbal_protocol import records as r

log = logging.getLogger(__name__)

_TICK_S = 0.25
_LOOK_S = 3.0


class Rollouts:
    """The supervised loop, and what the rounds ask between two frames."""

    def __init__(
        self,
        fleet: Fleet,
        journal: AsyncJournal,
        config: UpdateConfig,
        busy: Callable[[int], bool],
        publish: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._fleet = fleet
        self._journal = journal
        self._config = config
        self._busy = busy
        self._publish = publish
        self.active: Rollout | None = None
        self.rows: list[store.RolloutRow] = []
        self.bytes_total = 0
        self._folder = ReleaseFolder(config)
        self._idle_from: dict[str, float] = {}
        self._boards: dict[str, frozenset[int]] = {}  # board ids by the release's digest

    # -- asked by the rounds, between two frames ---------------------------------------------

    def order(self, home: Home, room: int, now: float) -> r.Update | None:
        """What this poll of the home may carry for the rollout. Nothing while it is held: a home
        that was ordered to restart just before would otherwise still do it after the stop.
        """
        delivery = self._delivery(home.address)
        if delivery is None or not home.alive or not self.under_way or room < ROOM:
            return None
        before = delivery.bytes_sent
        update = delivery.order(now)
        self.bytes_total += delivery.bytes_sent - before
        return update

    def received(self, home: Home, status: r.UpdateStatus, now: float) -> None:
        """A home's answer."""
        delivery = self._delivery(home.address)
        if delivery is not None:
            delivery.received(status, now)

    def idle_home(self, bearer: str, exchange_s: float, now: float) -> int | None:
        """The address of a home on an idle bearer that could take a chunk now."""
        if self.active is None or not self.under_way or now < self._idle_from.get(bearer, 0.0):
            return None
        for progress in self.active.homes.values():
            delivery = progress.delivery
            home = progress.home
            if delivery is not None and home.reached_over(bearer) and delivery.hungry:
                self._idle_from[bearer] = now + exchange_s / self._config.line_share
                return home.address
        return None

    @property
    def under_way(self) -> bool:
        """Whether a rollout runs now."""
        return self.active is not None and self.active.running

    def _delivery(self, address: int) -> Delivery | None:
        progress = self.active.homes.get(address) if self.active is not None else None
        return progress.delivery if progress is not None else None

    # -- the loop ------------------------------------------------------------------------------

    async def run(self, beat: Callable[[], None]) -> None:
        """Until cancelled. Without a directory in the configuration there is nothing to do."""
        loop = asyncio.get_running_loop()
        look_at = 0.0
        while True:
            now = loop.time()
            if now >= look_at:
                look_at = now + _LOOK_S
                await self._look()
            if self.active is not None and self.active.running:
                await self._advance(self.active, now)
            beat()
            await asyncio.sleep(_TICK_S)

    async def _look(self) -> None:
        """New files, wishes, and which rollout is under way."""
        for file, release in await asyncio.to_thread(self._folder.new):
            self._boards[release.digest.hex()] = frozenset(release.head.boards)
            state = State.WAITING if self._config.start == "ordered" else State.RUNNING
            await self._journal.call(
                store.add, release.digest.hex(), release.version, file, state.value
            )
        self.rows = await self._journal.call(store.rollouts)
        for row in self.rows:
            if row.wish:
                await self._fulfil(row)
        self.rows = await self._journal.call(store.rollouts)
        await self._choose()

    async def _fulfil(self, row: store.RolloutRow) -> None:
        """Do what a person asked for with `pbal-controller rollout`, or HQ by an order."""
        state, detail = row.state, row.detail
        held = (State.WAITING.value, State.PAUSED.value, State.STOPPED.value)
        if row.wish == "pause" and state == State.RUNNING.value:
            state, detail = State.PAUSED.value, "by request"
        elif row.wish == "resume" and state in held:
            state, detail = State.RUNNING.value, ""
        elif row.wish == "cancel" and state != State.DONE.value:
            state, detail = State.CANCELLED.value, "by request"
        elif row.wish == "retry":
            state, detail = State.RUNNING.value, ""
            for address, (step, _) in (await self._journal.call(store.homes, row.digest)).items():
                if step == Step.FAILED.value:
                    await self._journal.call(
                        store.set_home, row.digest, address, Step.WAITING.value, "again"
                    )
            if self.active is not None and self.active.row.digest == row.digest:
                self.active = None  # taken up anew from the journal
        log.info("rollout", extra={"version": row.version, "wish": row.wish, "state": state})
        await self._journal.call(store.set_state, row.digest, state, detail)

    async def _choose(self) -> None:
        """Which rollout is under way. A newer release takes the place of older ones for the same
        boards. Those for other boards take turns: one with no home to update is skipped. One that a
        person has paused, or that failed, stops all.
        """
        live: list[store.RolloutRow] = []
        for row in reversed(self.rows):
            if row.state not in (State.RUNNING.value, State.PAUSED.value, State.STOPPED.value):
                continue
            newer = next((other for other in live if self._rival(row, other)), None)
            if newer is None:
                live.append(row)
            elif row.state == State.RUNNING.value:
                why = f"by {newer.version}"
                await self._journal.call(store.set_state, row.digest, State.SUPERSEDED.value, why)
        held = [row for row in live if row.state != State.RUNNING.value]
        chosen = next(iter(held or live), None)
        digests = [row.digest for row in live]
        if not held and self.active is not None and self.active.row.digest in digests:
            at = digests.index(self.active.row.digest)
            chosen = live[at if self._at_work(self.active) else (at + 1) % len(live)]
        if chosen is None:
            self.active = None
        elif self.active is not None and self.active.row.digest == chosen.digest:
            self.active.row = chosen
        else:
            self.active = await self._take_up(chosen)

    def _rival(self, one: store.RolloutRow, other: store.RolloutRow) -> bool:
        """Whether two releases are for a common board; one whose file is gone counts as such."""
        boards, others = self._boards.get(one.digest), self._boards.get(other.digest)
        return boards is None or others is None or bool(boards & others)

    def _at_work(self, rollout: Rollout) -> bool:
        """Whether some home is updated now, or could be."""
        now = asyncio.get_running_loop().time()
        return any(
            p.step.under_way or (p.step is Step.WAITING and p.home.alive and now >= p.not_before)
            for p in rollout.homes.values()
        )

    async def _take_up(self, row: store.RolloutRow) -> Rollout | None:
        release = await asyncio.to_thread(self._folder.take, row.file, row.digest)
        if release is None:
            return None
        rollout = Rollout(row, release)
        now = asyncio.get_running_loop().time()
        for address, (step, detail) in (await self._journal.call(store.homes, row.digest)).items():
            home = self._fleet.get(address)
            if home is None:
                continue
            progress = Progress(home, Step(step), detail, since=now)
            if progress.step.under_way:
                progress.delivery = Delivery(release) if progress.step.spoken_to else None
                progress.boots = home.boots
                progress.recall_faults()
            rollout.homes[address] = progress
        log.info(
            "rollout taken up",
            extra={"version": row.version, "homes": len(rollout.homes), "state": row.state},
        )
        return rollout

    # -- one step of the rollout ---------------------------------------------------------------

    async def _advance(self, rollout: Rollout, now: float) -> None:
        self._enlist(rollout)
        for progress in list(rollout.homes.values()):
            await self._step(rollout, progress, now)
            if not rollout.running:
                return
        if not any(p.step.under_way for p in rollout.homes.values()):
            await self._next_wave(rollout, now)

    def _enlist(self, rollout: Rollout) -> None:
        """Homes whose board the release is made for."""
        boards = rollout.release.head.boards
        for home in self._fleet:
            if home.session is None:
                continue
            if home.hello is None:
                continue  # its conversation asks for it
            if home.address not in rollout.homes and home.hello.board in boards:
                rollout.homes[home.address] = Progress(home)

    async def _next_wave(self, rollout: Rollout, now: float) -> None:
        waiting = [p for p in rollout.homes.values() if p.step is Step.WAITING]
        unknown = [
            h for h in self._fleet
            if h.session is not None and h.hello is None and h.address not in rollout.homes
        ]  # fmt: skip
        if not waiting:
            if rollout.homes and not unknown and rollout.count(Step.DONE) == len(rollout.homes):
                await self._end(rollout, State.DONE, "")
            return
        first = rollout.count(Step.DONE) < self._config.canary
        size = self._config.canary - rollout.count(Step.DONE) if first else self._config.wave
        able = [p for p in waiting if p.home.alive and now >= p.not_before]
        for progress in able[:size]:
            progress.delivery = Delivery(rollout.release, forget=progress.detail == "again")
            progress.flags_before = progress.home.flags
            await self._set(rollout, progress, Step.SENDING, progress.old_faults, now)

    async def _step(self, rollout: Rollout, p: Progress, now: float) -> None:
        change = next_step(rollout, p, self._config, self._busy, now)
        if change is None:
            return
        step, detail = change
        await self._set(rollout, p, step, detail, now)
        if step is Step.FAILED:
            await self._end(rollout, State.STOPPED, f"home {p.home.address}: {detail}")

    async def _set(
        self, rollout: Rollout, p: Progress, step: Step, detail: str, now: float
    ) -> None:
        p.step, p.detail, p.since = step, detail, now
        if not step.spoken_to:
            p.delivery = None
        digest = rollout.row.digest
        await self._journal.call(store.set_home, digest, p.home.address, step.value, detail)
        log.info(
            "home updated" if step is Step.DONE else "home in rollout",
            extra={"home": p.home.address, "version": rollout.row.version, "step": step.value,
                   "why": detail},
        )  # fmt: skip
        self._publish(
            "rollout", {"home": p.home.address, "version": rollout.row.version,
                        "step": step.value, "detail": detail},
        )  # fmt: skip

    async def _end(self, rollout: Rollout, state: State, detail: str) -> None:
        await self._journal.call(store.set_state, rollout.row.digest, state.value, detail)
        self.rows = await self._journal.call(store.rollouts)
        rollout.row = next(row for row in self.rows if row.digest == rollout.row.digest)
        level = logging.INFO if state is State.DONE else logging.ERROR
        log.log(level, "rollout ended", extra={"version": rollout.row.version,
                                               "state": state.value, "why": detail})  # fmt: skip

    # -- shown ---------------------------------------------------------------------------------

    def steps(self) -> dict[str, int]:
        """Homes of the rollout under way, by step."""
        active = self.active
        return {step.value: active.count(step) if active is not None else 0 for step in Step}

    def as_dict(self) -> dict[str, Any]:
        """For /api/status."""
        active = self.active
        return {
            "rollouts": [
                {"version": row.version, "digest": row.digest, "file": row.file,
                 "state": row.state, "detail": row.detail}
                for row in self.rows
            ],
            "refused": dict(self._folder.refused),
            "bytes_sent": self.bytes_total,
            "homes": [] if active is None else [
                {
                    "address": address,
                    "step": p.step.value,
                    "detail": p.detail,
                    "sent_bytes": p.delivery.bytes_sent if p.delivery is not None else None,
                }
                for address, p in sorted(active.homes.items())
            ],
        }  # fmt: skip
