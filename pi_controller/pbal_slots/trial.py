"""A new version on trial: kept once it works as well as the one before, else taken back.

The trial is one small file that is on the disk before anything is switched:

    begin   -> file written -> link switched -> service restarted
    watch   -> well for `settle_s` on end        -> file removed: the version is kept
            -> ended, or not well in `limit_s`   -> "back" written -> link switched back -> restart

Every step may be the last before a power cut: the next call (`watch`, or `before_start` at each
start of the service) reads the file and goes on from there, and every step may be repeated. No
clock of the day is used. What ends a trial that is never watched to its end: after `starts` starts
or `watches` interrupted watches the version before is taken.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pbal_slots.layout import SlotError, Slots, replace_file, sync
from pbal_slots.service import Service


@dataclass(frozen=True)
class Limits:
    """When a trial is decided. `limit_s`: within so long it must be well; `settle_s`: on end."""

    limit_s: float = 300.0
    settle_s: float = 60.0
    starts: int = 5
    watches: int = 3
    poll_s: float = 2.0


@dataclass(frozen=True)
class Health:
    """The health of a controller. `homes`: how many answer; `orders`: it may order moves, or could
    if its turn came. `follows`: another controller of its site is at work, so no home answers it.
    """

    homes: int
    orders: bool
    follows: bool = False

    @classmethod
    def of(cls, said: dict[str, Any] | None) -> Health | None:
        """From what `pbal-controller health --json` says; None when it does not run well."""
        if not said or said.get("late") or not said.get("answers"):
            return None
        return cls(
            int(said.get("homes_alive", 0)),
            not said.get("nothing_ordered"),
            bool(said.get("follows")),
        )

    def as_good_as(self, before: Health | None) -> bool:
        """Whether nothing got worse: four of five homes that answered answer, orders go out."""
        if before is None:
            return True
        homes = self.follows or self.homes * 5 >= before.homes * 4
        return homes and (self.orders or not before.orders)


@dataclass(frozen=True)
class Trial:
    """What is tried. `back`: the version before; `why`: set once it is decided to go back."""

    version: str
    back: str
    before: dict[str, Any] | None = None
    starts: int = 0
    watches: int = 0
    why: str = ""


class Trials:
    """The trial's file, and what follows from it. Every method may be called again at any time."""

    def __init__(self, folder: Path, slots: Slots, limits: Limits | None = None) -> None:
        self._file = folder / "trial.json"
        self._last = folder / "last.json"
        self._folder = folder
        self.slots = slots
        self.limits = limits or Limits()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time decides. Ends with the process."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def read(self) -> Trial | None:
        """What is on trial, if anything."""
        try:
            text = self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            return Trial(**json.loads(text))
        except (ValueError, TypeError):
            return None

    def last(self) -> dict[str, Any]:
        """How the last trial ended; empty when there was none."""
        try:
            found = json.loads(self._last.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, trial: Trial) -> None:
        replace_file(self._file, json.dumps(asdict(trial)) + "\n")

    def _end(self, trial: Trial, kept: bool) -> None:
        ended = {"version": trial.version, "back": trial.back, "kept": kept, "why": trial.why}
        replace_file(self._last, json.dumps(ended) + "\n")
        self._file.unlink(missing_ok=True)
        sync(self._folder)

    def begin(self, version: str, before: dict[str, Any] | None) -> Trial:
        """Try a version that is in its slot. `before`: the health of the present one, None:
        unknown.

        A trial under way is replaced; the version to go back to stays the last that was kept.
        Raises SlotError.
        """
        with self._alone():
            running = self.read()
            back = running.back if running is not None else self.slots.current()
            if not back or back == version:
                self.slots.use(version)
                if running is not None:
                    self._end(replace(running, why="the version before was asked for"), False)
                return Trial(version, version)
            if version not in self.slots.versions():
                raise SlotError(f"version {version} is not here")
            trial = Trial(version, back, before)
            self._write(trial)
            self.slots.use(version)
        return trial

    def before_start(self) -> str:
        """Called before each start of the service: the version that is started."""
        with self._alone():
            trial = self.read()
            if trial is None:
                return self.slots.current()
            if not trial.why:
                trial = replace(trial, starts=trial.starts + 1)
                if trial.starts > self.limits.starts:
                    trial = replace(trial, why=f"started {self.limits.starts} times, never well")
                self._write(trial)
            self.slots.use(trial.back if trial.why else trial.version)
        return self.slots.current()

    def watched(self) -> Trial | None:
        """A watch begins: what is on trial, if anything."""
        with self._alone():
            trial = self.read()
            if trial is None:
                return None
            trial = replace(trial, watches=trial.watches + 1)
            if trial.watches > self.limits.watches and not trial.why:
                trial = replace(trial, why=f"watched {self.limits.watches} times without an end")
            self._write(trial)
            self.slots.use(trial.back if trial.why else trial.version)
        return trial

    def keep(self, trial: Trial) -> bool:
        """Keep the version on trial. False when something else was decided meanwhile."""
        with self._alone():
            now = self.read()
            if now is None or now.version != trial.version or now.why:
                return False
            self._end(now, True)
            self.slots.prune({now.version, now.back})
        return True

    def go_back(self, why: str) -> str:
        """Take the version before, from the next start on; returns it. Raises SlotError.

        Without a trial: the version before the one that was kept last.
        """
        with self._alone():
            trial = self.read()
            if trial is None:
                back = str(self.last().get("back", ""))
                if not back or back == self.slots.current():
                    raise SlotError("there is no version to go back to")
                trial = Trial(self.slots.current(), back)
            if not trial.why:
                trial = replace(trial, why=why)
                self._write(trial)
            self.slots.use(trial.back)
        return trial.back

    def settle_back(self) -> None:
        """The version before runs again: the trial is over."""
        with self._alone():
            trial = self.read()
            if trial is not None and trial.why:
                self._end(trial, False)


def watch(
    trials: Trials,
    service: Service,
    health: Callable[[], dict[str, Any] | None],
    *,
    say: Callable[[str], None] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool | None:
    """Bring the trial to its end: True kept, False taken back, None nothing was decided.

    `health` asks the controller that runs. `clock` in seconds, monotonic. Nothing is decided where
    there is no trial, and where a person keeps the service stopped.
    """
    trial = trials.watched()
    if trial is None:
        return None
    if not trial.why:
        why = _ill(trial, trials.limits, service, health, clock, sleep)
        if why is None:
            say(f"version {trial.version} is still on trial: the service is stopped")
            return None
        if not why and trials.keep(trial):
            say(f"version {trial.version} does well and is kept")
            return True
        trials.go_back(why or "decided elsewhere")
    trial = trials.read()
    if trial is None:
        return None
    say(f"version {trial.version}: {trial.why}; back to {trial.back}")
    restart(service, trials.go_back(""), trials.limits, clock, sleep)
    trials.settle_back()
    return False


def restart(
    service: Service,
    version: str,
    limits: Limits,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Restart unless this version runs; returns whether it runs within `limit_s`."""
    if service.running().slot != version:
        service.restart()
    end = clock() + limits.limit_s
    while service.running().slot != version:
        if clock() >= end:
            return False
        sleep(limits.poll_s)
    return True


def _ill(
    trial: Trial,
    limits: Limits,
    service: Service,
    health: Callable[[], dict[str, Any] | None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> str | None:
    """Why the version on trial fails; empty when it does not, None: the service is stopped."""
    before = Health.of(trial.before)
    state = service.running()
    if state.slot not in (trial.version, ""):
        service.restart()
    end = clock() + limits.limit_s
    since: float | None = None
    while clock() < end:
        state = service.running()
        if state.state == "failed":
            return f"it ended and is not started again ({state.detail})"
        found = None
        if state.state == "active" and state.slot == trial.version:
            found = Health.of(health())
        if found is None or not found.as_good_as(before):
            since = None
        else:
            since = clock() if since is None else since
            if clock() - since >= limits.settle_s:
                return ""
        sleep(limits.poll_s)
    return None if state.state == "stopped" else f"not well in {limits.limit_s:.0f} s"
