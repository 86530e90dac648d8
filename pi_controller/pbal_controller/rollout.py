"""Brings releases to the homes: one home first, then in waves, and stops when one goes wrong.

A release is published by putting its file into the directory `update.directory`. Everything
sent uses polls that are due anyway, or time in which the line would be idle, so that readings
and switchings come first. How far each home is, is in the journal before the next step.

    waiting -> sending -> ready -> trial -> watched -> done
                  |                  |         |
                  +------------------+---------+----> failed: the rollout stops
"""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pbal_controller import rollout_store as store
from pbal_controller.config import UpdateConfig
from pbal_controller.errors import ReleaseError
from pbal_controller.fleet import Fleet, Home
from pbal_controller.journal_thread import AsyncJournal
from pbal_controller.release import SUFFIX, Release, load
from pbal_controller.transfer import Transfer
from pbal_protocol import records as r

log = logging.getLogger(__name__)

_TICK_S = 0.25
_LOOK_S = 3.0
_ASK_AGAIN_S = 3.0
# One exchange with a full chunk at 115200 baud; sets the pace in otherwise idle line time.
_EXCHANGE_S = 0.04
# A home that is being updated is not moved meanwhile, for this long after it restarts.
_HOLD_S = 30.0
# Flags that, when they appear with a new application, speak against it.
_BAD_FLAGS = r.FLAG_SAFE_MODE | r.FLAG_METER_FAULT | r.FLAG_SENSE_FAULT | r.FLAG_LOCKOUT


class State(enum.Enum):
    """Of a rollout."""

    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    CANCELLED = "cancelled"
    DONE = "done"
    SUPERSEDED = "superseded"


class Step(enum.Enum):
    """Of one home in a rollout."""

    WAITING = "waiting"
    SENDING = "sending"
    READY = "ready"
    TRIAL = "trial"
    WATCHED = "watched"
    DONE = "done"
    FAILED = "failed"

    @property
    def under_way(self) -> bool:
        """Whether this home counts in the present wave."""
        return self in (Step.SENDING, Step.READY, Step.TRIAL, Step.WATCHED)


@dataclass
class Progress:
    """One home in the rollout that is under way."""

    home: Home
    step: Step = Step.WAITING
    detail: str = ""
    transfer: Transfer | None = None
    since: float = 0.0
    boots: int = 0
    flags_before: int = 0
    not_before: float = 0.0


@dataclass
class Rollout:
    """The rollout that is under way."""

    row: store.RolloutRow
    release: Release
    homes: dict[int, Progress] = field(default_factory=dict)

    def count(self, *steps: Step) -> int:
        """How many homes are at one of these steps."""
        return sum(p.step in steps for p in self.homes.values())


class Rollouts:
    """The supervised loop, and what the segments ask between two frames."""

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
        self.refused: dict[str, str] = {}
        self.bytes_total = 0
        self._idle_from: dict[str, float] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        self._digests: dict[str, str] = {}

    # -- asked by the segments, between two frames ---------------------------------------------

    def order(self, home: Home, now: float) -> r.Update | None:
        """What this poll of the home may carry for the rollout. Nothing while it is held: a home
        that was told to restart just before would otherwise still do it after the stop.
        """
        transfer = self._transfer(home.address)
        if transfer is None or not home.alive or not self._goes_on:
            return None
        before = transfer.bytes_sent
        update = transfer.order(now)
        self.bytes_total += transfer.bytes_sent - before
        return update

    def received(self, home: Home, status: r.UpdateStatus, now: float) -> None:
        """A home's answer."""
        transfer = self._transfer(home.address)
        if transfer is not None:
            transfer.received(status, now)

    def idle_unit(self, bus: str, now: float) -> int | None:
        """The unit of a home on an idle line that could take a chunk now."""
        if self.active is None or not self._goes_on or now < self._idle_from.get(bus, 0.0):
            return None
        for progress in self.active.homes.values():
            transfer = progress.transfer
            home = progress.home
            if transfer is not None and home.alive and home.config.bus == bus and transfer.hungry:
                self._idle_from[bus] = now + _EXCHANGE_S / self._config.line_share
                return home.unit
        return None

    @property
    def _goes_on(self) -> bool:
        return self.active is not None and self.active.row.state == State.RUNNING.value

    def _transfer(self, address: int) -> Transfer | None:
        progress = self.active.homes.get(address) if self.active is not None else None
        return progress.transfer if progress is not None else None

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
            if self.active is not None and self.active.row.state == State.RUNNING.value:
                await self._advance(self.active, now)
            beat()
            await asyncio.sleep(_TICK_S)

    async def _look(self) -> None:
        """New files, wishes, and which rollout is under way."""
        if self._config.directory is not None:
            for file, release in await asyncio.to_thread(self._new_releases):
                digest = release.digest.hex()
                await self._journal.call(
                    store.add, digest, release.version, file, State.RUNNING.value
                )
                self._digests[file] = digest
        self.rows = await self._journal.call(store.rollouts)
        for row in self.rows:
            if row.wish:
                await self._fulfil(row)
        self.rows = await self._journal.call(store.rollouts)
        await self._choose()

    def _new_releases(self) -> list[tuple[str, Release]]:
        found = []
        assert self._config.directory is not None
        for path in sorted(self._config.directory.glob(f"*{SUFFIX}")):
            try:
                stat = path.stat()
                mark = (stat.st_mtime_ns, stat.st_size)
                if self._seen.get(path.name) == mark:
                    continue
                self._seen[path.name] = mark
                found.append((path.name, self._usable(load(path))))
                self.refused.pop(path.name, None)
            except (OSError, ReleaseError) as error:
                self.refused[path.name] = str(error)
                log.error("release refused", extra={"file": path.name, "why": str(error)})
        return found

    def _usable(self, release: Release) -> Release:
        if not release.signature:
            raise ReleaseError("not signed; sign it with `pbal release sign`")
        keys = [bytes.fromhex(key) for key in self._config.keys]
        if keys and not any(release.signed_by(key) for key in keys):
            raise ReleaseError("signed with a key that is not in update.keys")
        return release

    async def _fulfil(self, row: store.RolloutRow) -> None:
        """Do what a person asked for with `pbal-controller rollout`."""
        state, detail = row.state, row.detail
        if row.wish == "pause" and state == State.RUNNING.value:
            state, detail = State.PAUSED.value, "by request"
        elif row.wish == "resume" and state in (State.PAUSED.value, State.STOPPED.value):
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
        """The newest release that is not finished is the one under way."""
        live = [
            row for row in self.rows
            if row.state in (State.RUNNING.value, State.PAUSED.value, State.STOPPED.value)
        ]  # fmt: skip
        newest = live[-1] if live else None
        for row in live[:-1]:
            if row.state == State.RUNNING.value:
                assert newest is not None
                await self._journal.call(
                    store.set_state, row.digest, State.SUPERSEDED.value, f"by {newest.version}"
                )
        if newest is None:
            self.active = None
        elif self.active is not None and self.active.row.digest == newest.digest:
            self.active.row = newest
        else:
            self.active = await self._take_up(newest)

    async def _take_up(self, row: store.RolloutRow) -> Rollout | None:
        if self._config.directory is None:
            return None
        try:
            path = self._config.directory / row.file
            release = self._usable(await asyncio.to_thread(load, path))
            if release.digest.hex() != row.digest:
                raise ReleaseError(f"{path}: is another release than it was")
        except ReleaseError as error:
            self.refused[row.file] = str(error)
            return None
        rollout = Rollout(row, release)
        now = asyncio.get_running_loop().time()
        for address, (step, detail) in (await self._journal.call(store.homes, row.digest)).items():
            home = self._fleet.get(address)
            if home is None:
                continue
            progress = Progress(home, Step(step), detail, since=now)
            if progress.step.under_way:
                progress.transfer = Transfer(release)
                progress.boots = home.boots
                if progress.step is Step.WATCHED:
                    progress.transfer = None
                progress.flags_before = _flags_in(detail)
            rollout.homes[address] = progress
        log.info(
            "rollout taken up",
            extra={"version": row.version, "homes": len(rollout.homes), "state": row.state},
        )
        return rollout

    # -- one step of the rollout ---------------------------------------------------------------

    async def _advance(self, rollout: Rollout, now: float) -> None:
        self._enlist(rollout, now)
        for progress in list(rollout.homes.values()):
            await self._step(rollout, progress, now)
            if rollout.row.state != State.RUNNING.value:
                return
        if not any(p.step.under_way for p in rollout.homes.values()):
            await self._next_wave(rollout, now)

    def _enlist(self, rollout: Rollout, now: float) -> None:
        """Homes whose board the release is made for."""
        boards = rollout.release.head.boards
        for home in self._fleet:
            if home.session is None:
                continue
            if home.hello is None:
                if home.alive and now - home.asked_hello_at >= _ASK_AGAIN_S:
                    home.asked_hello_at = now
                    home.requests.append(r.StatusGet(what=r.WHAT_HELLO))
            elif home.address not in rollout.homes and home.hello.board in boards:
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
            progress.transfer = Transfer(rollout.release, forget=progress.detail == "again")
            progress.flags_before = progress.home.flags
            await self._set(rollout, progress, Step.SENDING, _with_flags(progress), now)

    async def _step(self, rollout: Rollout, p: Progress, now: float) -> None:
        if not p.step.under_way:
            return
        home = p.home
        transfer = p.transfer
        if p.step is Step.WATCHED:
            await self._watch(rollout, p, now)
            return
        assert transfer is not None
        stage = transfer.stage
        if stage == r.STAGE_FAILED and not transfer.forget and p.step is not Step.READY:
            assert transfer.status is not None
            await self._fail(rollout, p, why_text(transfer.status.why), now)
        elif stage == r.STAGE_GOOD:
            p.boots = home.boots
            p.transfer = None
            await self._set(rollout, p, Step.WATCHED, _with_flags(p), now)
        elif p.step is Step.SENDING and stage == r.STAGE_READY:
            await self._set(rollout, p, Step.READY, _with_flags(p), now)
        elif (
            p.step in (Step.SENDING, Step.READY)
            and not transfer.commit
            and not home.alive
            and now - max(p.since, home.heard_at) > self._config.silent_s
        ):
            p.transfer = None
            p.not_before = now + self._config.silent_s
            await self._set(rollout, p, Step.WAITING, "silent while it was sent to", now)
        elif (
            p.step is Step.SENDING
            and home.alive
            and now - max(p.since, transfer.status_at) > self._config.silent_s
        ):
            await self._fail(rollout, p, "the node takes no updates (old firmware, no room)", now)
        elif p.step is Step.READY:
            await self._commit(rollout, p, transfer, now)
        elif p.step is Step.TRIAL and now - p.since > self._config.trial_s:
            await self._fail(rollout, p, "its trial did not end in time", now)

    async def _commit(self, rollout: Rollout, p: Progress, transfer: Transfer, now: float) -> None:
        """Restart into the trial, few homes at once and none that is being moved."""
        if transfer.stage in (r.STAGE_RESTARTING, r.STAGE_TRIAL):
            await self._set(rollout, p, Step.TRIAL, _with_flags(p), now)
            return
        if transfer.stage == r.STAGE_FAILED:
            assert transfer.status is not None
            await self._fail(rollout, p, why_text(transfer.status.why), now)
            return
        if transfer.commit:
            # The answer that says "restarting" may be lost: the node then comes back on trial. One
            # that does not come back at all must not hold up the rollout as if nothing were wrong.
            if now - p.since > self._config.trial_s:
                await self._fail(rollout, p, "silent since it was told to restart", now)
            return
        restarting = sum(
            q.step is Step.TRIAL or (q.transfer is not None and q.transfer.commit)
            for q in rollout.homes.values() if q is not p
        )  # fmt: skip
        if restarting >= self._config.at_once or self._busy(p.home.address):
            return
        p.home.hold_until = max(p.home.hold_until, now + _HOLD_S)
        p.home.hold_reason = "being updated"
        p.flags_before = p.home.flags
        p.since = now
        transfer.commit = True

    async def _watch(self, rollout: Rollout, p: Progress, now: float) -> None:
        """After the trial: is the home as well as before?"""
        home = p.home
        if p.boots and home.boots > p.boots:
            await self._fail(rollout, p, "restarted by itself after the update", now)
        elif home.flags & _BAD_FLAGS & ~p.flags_before:
            await self._fail(rollout, p, f"new fault flags 0x{home.flags & _BAD_FLAGS:04x}", now)
        elif not home.alive and now - home.heard_at > self._config.silent_s:
            await self._fail(rollout, p, "silent after the update", now)
        elif now - p.since >= self._config.soak_s and home.alive:
            await self._set(rollout, p, Step.DONE, "", now)

    async def _fail(self, rollout: Rollout, p: Progress, why: str, now: float) -> None:
        p.transfer = None
        await self._set(rollout, p, Step.FAILED, why, now)
        await self._end(rollout, State.STOPPED, f"home {p.home.address}: {why}")

    async def _set(
        self, rollout: Rollout, p: Progress, step: Step, detail: str, now: float
    ) -> None:
        p.step, p.detail, p.since = step, detail, now
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

    def as_dict(self) -> dict[str, Any]:
        """For /api/status."""
        active = self.active
        return {
            "rollouts": [
                {"version": row.version, "digest": row.digest, "file": row.file,
                 "state": row.state, "detail": row.detail}
                for row in self.rows
            ],
            "refused": dict(self.refused),
            "bytes_sent": self.bytes_total,
            "homes": [] if active is None else [
                {
                    "address": address,
                    "step": p.step.value,
                    "detail": p.detail,
                    "sent_bytes": p.transfer.bytes_sent if p.transfer is not None else None,
                }
                for address, p in sorted(active.homes.items())
            ],
        }  # fmt: skip


_BEFORE = "faults before it: 0x"


def _with_flags(p: Progress) -> str:
    """A home's detail while it is updated: the faults it had already speak against no release, and
    a restart of the controller must not forget them.
    """
    faults = p.flags_before & _BAD_FLAGS
    return f"{_BEFORE}{faults:04x}" if faults else ""


def _flags_in(detail: str) -> int:
    return int(detail.removeprefix(_BEFORE), 16) if detail.startswith(_BEFORE) else 0


def why_text(why: int) -> str:
    """A WHY_* number in words."""
    for name, value in vars(r).items():
        if name.startswith("WHY_") and value == why:
            return f"the node gave up: {name.removeprefix('WHY_').lower().replace('_', ' ')}"
    return f"the node gave up: {why}"
