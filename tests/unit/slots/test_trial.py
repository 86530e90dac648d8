"""A new version on trial, in virtual time: kept when it does well, else taken back, whenever it is
cut off.
"""

from __future__ import annotations

import dataclasses
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pbal_slots import Health, Limits, Running, SlotError, Slots, Trials, layout, watch
from pbal_slots import trial as trial_module

WELL = {"answers": True, "late": [], "nothing_ordered": "", "homes_alive": 10}


class Cut(BaseException):
    """The power is cut here."""


def payload(folder: Path, version: str) -> Path:
    made = folder / f"payload-{version}"
    (made / "bin").mkdir(parents=True)
    (made / ".pbal-build").write_text(f"build of {version}\n")
    (made / "bin" / "pbal-controller").write_text(version)
    return made


class World:
    """A computer with a service manager, a clock, and versions that behave as they are told."""

    def __init__(self, folder: Path, behaviour: dict[str, str], cut_after: int | None = None):
        self.now = 0.0
        self.behaviour = behaviour
        self.cut_after = cut_after
        self.steps = 0
        self.slots = Slots(folder / "opt", step=self.step)
        self.trials = Trials(folder / "state", self.slots, Limits(limit_s=300, settle_s=60))
        self.state, self.slot = "stopped", ""
        self.due: float | None = None

    def step(self, _: str = "") -> None:
        """A moment at which the power may go."""
        self.steps += 1
        if self.cut_after is not None and self.steps >= self.cut_after:
            self.cut_after = None
            raise Cut

    def start(self) -> None:
        """What systemd does: before-start, then the program behind the link."""
        self.slot = self.trials.before_start()
        how = self.behaviour[self.slot]
        self.state = {"ends": "failed", "crashes": "starting"}.get(how, "active")
        if self.state == "failed":
            self.slot = ""
        self.due = self.now + 5 if how == "crashes" else None

    def boot(self) -> None:
        """The power is back."""
        self.state, self.slot, self.due = "stopped", "", None
        self.start()

    # -- Service --

    def running(self) -> Running:
        self.step()
        return Running(self.state, self.slot, "exit-code")

    def restart(self) -> None:
        self.step()
        self.start()

    # -- what watch needs beside --

    def health(self) -> dict[str, Any] | None:
        self.step()
        how = self.behaviour.get(self.slot, "")
        found = {
            "well": WELL, "late": {**WELL, "late": ["planner"]}, "deaf": {**WELL, "homes_alive": 3},
            "orders nothing": {**WELL, "nothing_ordered": "the clock is not set"},
        }  # fmt: skip
        return found.get(how)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.due is not None and self.now >= self.due:
            self.start()

    def watch(self) -> bool | None:
        return watch(self.trials, self, self.health, clock=lambda: self.now, sleep=self.sleep)

    def install(self, folder: Path, *versions: str) -> None:
        for version in versions:
            self.slots.add(payload(folder, version), version)


def world(folder: Path, new: str, **more: Any) -> World:
    made = World(folder, {"1.0": "well", "2.0": new}, **more)
    made.install(folder, "1.0", "2.0")
    made.slots.use("1.0")
    made.start()
    return made


def test_one_that_does_well_is_kept(tmp_path: Path) -> None:
    w = world(tmp_path, "well")
    w.trials.begin("2.0", WELL)
    assert w.watch() is True
    assert (w.slot, w.slots.current(), w.trials.read()) == ("2.0", "2.0", None)
    assert 60 <= w.now < 100
    assert w.slots.versions() == ["1.0", "2.0"], "the one before stays, for the way back"
    assert w.watch() is None


@pytest.mark.parametrize("new", ["ends", "crashes", "late", "deaf", "hangs", "orders nothing"])
def test_one_that_does_not_is_taken_back(tmp_path: Path, new: str) -> None:
    w = world(tmp_path, new)
    w.trials.begin("2.0", WELL)
    assert w.watch() is False
    assert (w.slot, w.state, w.slots.current()) == ("1.0", "active", "1.0")
    assert w.trials.read() is None
    last = w.trials.last()
    assert last["kept"] is False
    assert last["why"]
    assert w.now <= 320


def test_no_worse_than_before_is_good_enough(tmp_path: Path) -> None:
    """A site whose clock is not set stays a site whose clock is not set."""
    w = world(tmp_path, "orders nothing")
    w.trials.begin("2.0", {**WELL, "nothing_ordered": "the clock is not set"})
    assert w.watch() is True


def test_a_version_that_is_started_again_and_again_goes_without_a_watch(tmp_path: Path) -> None:
    w = world(tmp_path, "crashes")
    w.trials.begin("2.0", WELL)
    for _ in range(5):
        assert w.trials.before_start() == "2.0"
    assert w.trials.before_start() == "1.0"
    assert w.watch() is False
    assert "started 5 times" in w.trials.last()["why"]


def test_a_stopped_service_is_not_judged(tmp_path: Path) -> None:
    w = world(tmp_path, "well")
    w.trials.begin("2.0", WELL)
    w.state, w.slot = "stopped", ""
    assert w.watch() is None
    assert w.trials.read() is not None
    w.start()
    assert w.watch() is True


def test_back_by_hand(tmp_path: Path) -> None:
    w = world(tmp_path, "well")
    with pytest.raises(SlotError, match="no version to go back to"):
        w.trials.go_back("by hand")
    w.trials.begin("2.0", WELL)
    w.watch()
    assert w.trials.go_back("by hand") == "1.0"
    assert w.slots.current() == "1.0"


def test_health_says_whether_it_got_worse() -> None:
    before = Health(10, True)
    assert Health(8, True).as_good_as(before)
    assert not Health(7, True).as_good_as(before)
    assert not Health(10, False).as_good_as(before)
    assert Health(0, False).as_good_as(None)
    assert Health.of(None) is None
    assert Health.of({**WELL, "answers": False}) is None


def cut_everywhere(patch: pytest.MonkeyPatch, step: Callable[[str], None]) -> None:
    """Every write of the trial's files is a moment at which the power may go, before and after."""
    real = trial_module.replace_file

    def replace_file(path: Path, text: str) -> None:
        step("before")
        real(path, text)
        step("after")

    patch.setattr(trial_module, "replace_file", replace_file)


@pytest.mark.parametrize("new", ["well", "ends", "late", "crashes"])
def test_the_power_goes_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, new: str
) -> None:
    """However often and wherever it is cut, one whole version runs in the end: the right one."""
    rng = random.Random(13)
    # Hundreds of them, on a busy disk; what is ordered before what is not changed by it.
    monkeypatch.setattr(layout, "sync", lambda _: None)
    monkeypatch.setattr(trial_module, "sync", lambda _: None)
    monkeypatch.setattr(os, "sync", lambda: None)
    step: list[Callable[[str], None]] = [lambda _: None]
    cut_everywhere(monkeypatch, lambda word: step[0](word))
    cuts = 0
    for episode in range(60):
        folder = tmp_path / str(episode)
        folder.mkdir()
        w = world(folder, new)
        step[0] = w.step
        w.steps, w.cut_after = 0, rng.randrange(1, 60)
        begun = False
        ended: bool | None = None
        for _ in range(8):
            try:
                if not begun:
                    w.trials.begin("2.0", WELL)
                    begun = True
                ended = w.watch()
                if ended is not None or w.trials.read() is None:
                    break
            except Cut:
                cuts += 1
                begun = begun or w.trials.read() is not None
                w.cut_after = w.steps + rng.randrange(1, 60) if rng.random() < 0.3 else None
                while True:
                    try:
                        w.boot()
                        break
                    except Cut:
                        cuts += 1
        assert w.trials.read() is None, "the trial never ended"
        assert w.slots.current() in ("1.0", "2.0")
        assert (tmp_path / str(episode) / "opt" / "pbal" / ".pbal-build").exists()
        if new != "well":
            assert (w.slots.current(), w.slot) == ("1.0", "1.0")
        elif ended is True:
            assert (w.slots.current(), w.slot) == ("2.0", "2.0")
    assert cuts > 20


def test_a_cut_while_a_slot_is_made_leaves_no_half_one(tmp_path: Path) -> None:
    w = World(tmp_path, {}, cut_after=2)
    made = payload(tmp_path, "1.0")
    with pytest.raises(Cut):
        w.slots.add(made, "1.0")
    assert w.slots.versions() == []
    assert w.slots.add(made, "1.0") == "1.0"
    assert w.slots.versions() == ["1.0"]
    assert list(w.slots.root.glob(".*")) == []


def test_another_content_of_one_version_is_another_slot(tmp_path: Path) -> None:
    w = World(tmp_path, {})
    first = payload(tmp_path, "1.0")
    assert w.slots.add(first, "1.0") == "1.0"
    (first / ".pbal-build").unlink()
    (first / ".pbal-build").write_text("another\n")
    assert w.slots.add(first, "1.0") == "1.0.another"
    assert w.slots.add(first, "1.0") == "1.0.another"


def test_back_to_one_that_was_installed_by_hand(tmp_path: Path) -> None:
    w = World(tmp_path, {"0.9": "well", "2.0": "ends"})
    by_hand = w.slots.path("0.9") / "bin"
    by_hand.mkdir(parents=True)
    (by_hand / "pbal-controller").write_text("0.9")
    w.install(tmp_path, "2.0")
    w.slots.use("0.9")
    w.start()
    w.trials.begin("2.0", None)
    assert w.watch() is False
    assert (w.slots.current(), w.slot) == ("0.9", "0.9")
    w.slots.prune(set())
    assert by_hand.exists(), "what was not made here is not taken away"


def test_what_cannot_be_used_is_refused(tmp_path: Path) -> None:
    w = World(tmp_path, {})
    for call, words in (
        (lambda: w.slots.add(tmp_path, "1.0"), "no environment"),
        (lambda: w.slots.use("1.0"), "not here; these are: none"),
        (lambda: w.slots.path("../etc"), "is no version"),
    ):
        with pytest.raises(SlotError, match=words):
            call()
    assert dataclasses.asdict(Limits())["limit_s"] == 300.0


def test_one_that_follows_another_is_as_good_without_homes() -> None:
    before = Health(homes=20, orders=True)
    assert not Health(homes=0, orders=True).as_good_as(before)
    assert Health(homes=0, orders=True, follows=True).as_good_as(before)
    assert not Health(homes=0, orders=False, follows=True).as_good_as(before)
    said = {"answers": True, "homes_alive": 0, "nothing_ordered": "", "follows": True}
    assert Health.of(said) == Health(0, True, follows=True)
