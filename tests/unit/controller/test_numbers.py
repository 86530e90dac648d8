"""Ids and counters of one site over crashes, restored, lost and cloned journals: none comes twice.

The rule based machine runs real journals on a clock of its own. Two copies that run at the same
time start with different jumps, as chance has it; test_two_copies_go_apart draws them for real.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pbal_controller.homes.session import CounterBlock
from pbal_controller.journal import EPOCH_S, Journal
from pbal_controller.journal.numbers import (
    FAR_AHEAD,
    JUMP,
    LAST,
    PER_S,
    SMALL_JUMP,
    Numbers,
    NumbersUsedUp,
    time_base,
)

BLOCK = 256


class Site(RuleBasedStateMachine):
    """Up to two controllers at work on copies of one journal, and older copies of it."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.now = EPOCH_S + 1e7
        self.draws = 0
        self.copies: list[Path] = []
        self.used: dict[tuple[str, int], tuple[int, int]] = {}
        self.floor = 0  # of the node
        self.twice: list[object] = []
        self.serial = 0
        self.running: list[tuple[Path, Journal, CounterBlock]] = []
        self.start(self.folder / "journal0.db")

    def teardown(self) -> None:
        for _, journal, _ in self.running:
            journal.close()
        shutil.rmtree(self.folder)

    def start(self, path: Path) -> None:
        journal = Journal(path, lambda: self.now)
        # Jumps of different starts are apart, as they are but for one time in many thousands.
        self.draws += 1
        journal._numbers = Numbers((self.draws * 7919 * BLOCK) % JUMP)
        self.now += 1.0  # a start takes this long at least
        self.running.append((path, journal, CounterBlock()))

    def use(self, kind: str, number: int, serial: int) -> None:
        if self.used.setdefault((kind, number), (serial, 0))[0] != serial:
            self.twice.append((kind, number))

    def which(self, index: int) -> tuple[Path, Journal, CounterBlock]:
        return self.running[index % len(self.running)]

    @rule(index=st.integers(0, 1), seconds=st.floats(0.25, 1e5))
    def order(self, index: int, seconds: float) -> None:
        self.now += seconds
        self.serial += 1
        row = self.which(index)[1].new_command(1, 1, 2, 1, 2, "why", 1.0)
        self.use("id", row.id, self.serial)

    @rule(index=st.integers(0, 1), heard=st.booleans(), count=st.integers(1, 40))
    def seal(self, index: int, heard: bool, count: int) -> None:
        """Some frames; the node hears them or not. Its floor is known before the first."""
        _, journal, block = self.which(index)
        for _ in range(count):
            self.now += 0.25
            self.serial += 1
            block.node_floor(self.floor, 64 + self.serial * 613 % 60_000)  # skips differ, too
            if block.wants_more:
                block.extend(journal.reserve(1, 2, "k", max(1, block.floor), BLOCK), BLOCK)
            counter = block.take()
            self.serial += 1
            self.use("counter", counter, self.serial)
            if heard:
                self.floor = max(self.floor, counter)

    @rule(index=st.integers(0, 1))
    def crash(self, index: int) -> None:
        path, journal, _ = self.running.pop(index % len(self.running))
        journal.close()
        self.start(path)

    @rule(index=st.integers(0, 1))
    def back_up(self, index: int) -> None:
        copy = self.folder / f"copy{len(self.copies)}.db"
        self.which(index)[1].back_up(copy)
        self.copies.append(copy)

    @rule(index=st.integers(0, 1), which=st.integers(0, 99))
    def restore(self, index: int, which: int) -> None:
        if not self.copies:
            return
        path, journal, _ = self.running.pop(index % len(self.running))
        journal.close()
        shutil.copy(self.copies[which % len(self.copies)], path)
        self.start(path)

    @rule(index=st.integers(0, 1))
    def lose(self, index: int) -> None:
        path, journal, _ = self.running.pop(index % len(self.running))
        journal.close()
        path.unlink()
        self.start(path)

    @rule()
    def clone(self) -> None:
        if len(self.running) == 1:
            path = self.folder / "clone.db"
            path.unlink(missing_ok=True)
            self.running[0][1].back_up(path)
            self.start(path)

    @invariant()
    def nothing_came_twice(self) -> None:
        assert not self.twice


Site.TestCase.settings = settings(max_examples=12, stateful_step_count=25, deadline=None)
TestSite = Site.TestCase


def test_the_end_of_the_numbers() -> None:
    numbers = Numbers(5)
    assert numbers.next("x", LAST - 9, EPOCH_S + 10.0, count=5) == LAST - 4
    assert numbers.next("x", LAST, EPOCH_S + 10.0) == LAST
    with pytest.raises(NumbersUsedUp):
        numbers.next("x", LAST, EPOCH_S + 10.0, count=2)


def test_jumps_become_small_far_ahead_of_the_clock() -> None:
    now = EPOCH_S + 1000.0
    near, far = 1000 * PER_S + 5, FAR_AHEAD * 2
    assert Numbers(JUMP - 1).next("x", near, now) == near + JUMP - 1
    assert far <= Numbers(JUMP - 1).next("x", far, now) < far + SMALL_JUMP


def test_a_clock_that_cannot_be_true_gives_nothing() -> None:
    assert time_base(0.0) == 1
    assert time_base(EPOCH_S + 100 * 365.0 * 86400) == 1
    assert time_base(EPOCH_S + 100.0) == 100 * PER_S


def test_what_follows_a_floor_that_is_not_ours_is_left_to_the_other() -> None:
    ours, other = CounterBlock(), CounterBlock()
    for block in (ours, other):
        block.extend(1, 1 << 20)
    heard = [other.take() for _ in range(5)][-1]
    ours.node_floor(heard)
    assert ours.take() > other.take() + 63, "above all that the other may use unheard"
    # Our own doing: no gap.
    mine = ours.take()
    ours.node_floor(mine)
    assert ours.take() == mine + 1
