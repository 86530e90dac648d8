"""The lease between two controllers of one site, their numbers, and the copy handed over."""

import itertools
from pathlib import Path

import pytest

from pbal_controller.journal import Journal
from pbal_controller.journal.numbers import LANE, Numbers, in_lane
from pbal_controller.standby import Lease, Role
from pbal_controller.standby import copy as copying
from pbal_controller.standing import store as standing_store

TAKE_S = 6.0


class Line:
    """A bus that two leases hear, with its own clock. A cut line carries nothing to the other."""

    def __init__(self, seed: int = 0) -> None:
        self.now = 1000.0
        self.cut = False
        self.sent: list[tuple[float, str]] = []
        draws = iter([0.1, 0.25, 0.17, 0.4, 0.3] * 100_000)
        self.leases = {
            name: Lease(["bus"], TAKE_S, second=name == "b", clock=lambda: self.now,
                        draw=lambda low, high: low + next(draws) * (high - low))
            for name in "ab"
        }  # fmt: skip
        self.frozen: set[str] = set()
        self.fit = {"a", "b"}
        for lease in self.leases.values():
            lease.opened("bus")

    def write(self, name: str) -> bool:
        """Put something on the line, if the lease allows it."""
        if not self.leases[name].may_send():
            return False
        self.sent.append((self.now, name))
        if not self.cut:
            other = self.leases["b" if name == "a" else "a"]
            if other.role is not Role.LOST and not other.serving:
                other.heard("bus")
        return True

    def run(self, seconds: float, step: float = 0.05) -> None:
        """Let both live for so long; who serves polls at each step."""
        end = self.now + seconds
        while self.now < end:
            self.now += step
            for name in "ab":
                if name in self.frozen:
                    continue
                lease = self.leases[name]
                lease.tick()
                if lease.role is Role.FOLLOW and name in self.fit and lease.silent_s >= TAKE_S:
                    lease.claim()
                if lease.role is Role.HOLD:
                    lease.serve()
                if lease.sign_due("bus") or lease.serving:
                    self.write(name)

    def serving(self) -> set[str]:
        """Who is at work and would still be allowed to send."""
        return {name for name, lease in self.leases.items() if lease.serving}


def test_one_of_two_takes_a_silent_bus_and_the_other_follows() -> None:
    line = Line()
    line.run(30)
    assert line.serving() == {"a"}
    assert line.leases["b"].role is Role.FOLLOW


def test_the_follower_takes_over_after_the_silence_and_not_before() -> None:
    line = Line()
    line.run(10)
    died = line.now
    line.frozen.add("a")
    line.run(TAKE_S * 1.5 - 0.2)
    assert line.serving() == {"a"}
    assert line.leases["b"].role is Role.FOLLOW
    line.run(3)
    assert line.leases["b"].serving
    first = min(at for at, name in line.sent if name == "b" and at > died)
    assert first - died >= TAKE_S * 1.5 - 0.1


def test_who_stood_still_sends_nothing_more() -> None:
    line = Line()
    line.run(10)
    line.frozen.add("a")
    line.run(20)
    assert line.leases["b"].serving
    # It wakes up in the middle of what it did: the very next write is refused.
    assert not line.write("a")
    assert line.leases["a"].role is Role.LOST
    line.frozen.clear()
    line.run(20)
    assert line.serving() == {"b"}
    assert not line.leases["a"].claim()


@pytest.mark.parametrize("pause_s", [0.5, 1.0, 2.0, 2.9, 3.1, 5.0, 8.9, 9.1, 12.0, 60.0])
def test_no_pause_of_the_one_at_work_lets_both_send(pause_s: float) -> None:
    line = Line()
    line.run(10)
    line.frozen.add("a")
    line.run(pause_s)
    line.frozen.clear()
    line.run(30)
    others = [(at, name) for at, name in line.sent if at > 1011]
    # Whoever sends after the other has sent again, has the line alone from then on.
    changes = sum(x[1] != y[1] for x, y in itertools.pairwise(others))
    assert changes <= 1
    assert len(line.serving()) <= 1


@pytest.mark.parametrize("step", [0.05, 0.11, 0.23])
def test_both_start_in_the_same_moment(step: float) -> None:
    line = Line()
    line.leases["b"].take_s = TAKE_S  # without the head start of the first
    line.run(60, step)
    assert len(line.serving()) == 1


def test_silence_counts_only_while_all_buses_are_heard() -> None:
    now = [0.0]
    lease = Lease(["x", "y"], TAKE_S, second=False, clock=lambda: now[0])
    lease.opened("x")
    for _ in range(200):
        now[0] += 0.1
        lease.tick()
    assert lease.silent_s < 1
    assert not lease.claim()
    lease.opened("y")
    for _ in range(70):
        now[0] += 0.1
        lease.tick()
    assert lease.claim()


def test_a_follower_that_stood_still_begins_to_listen_anew() -> None:
    now = [0.0]
    lease = Lease(["x"], TAKE_S, second=False, clock=lambda: now[0])
    lease.opened("x")
    lease.tick()
    now[0] = 30.0
    lease.tick()
    assert not lease.claim()


def test_a_sign_is_due_where_nothing_else_is_sent() -> None:
    line = Line()
    line.run(10)
    lease = line.leases["a"]
    assert lease.serving
    for _ in range(400):
        line.now += 0.05
        lease.tick()
        if lease.sign_due("bus"):
            line.write("a")
    assert lease.serving
    gaps = [y[0] - x[0] for x, y in zip(line.sent[-20:], line.sent[-19:], strict=False)]
    assert max(gaps) < lease.hold_s / 2


# -- numbers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 64, LANE])
def test_two_lanes_never_meet(count: int) -> None:
    given: list[set[int]] = [set(), set()]
    now = 1_780_000_000.0
    for lane in (0, 1):
        for opening in range(6):
            numbers = Numbers(draw=opening * 999, lane=lane)
            stored = 0
            for _ in range(50):
                first = numbers.next("x", stored, now, count=count)
                given[lane].update(range(first, first + count))
                stored = first + count
    assert not given[0] & given[1]
    assert min(map(len, given)) > 50 * count / 2


def test_a_lane_goes_up_and_refuses_what_does_not_fit() -> None:
    for first in range(1, 2000, 7):
        for lane in (0, 1):
            found = in_lane(first, 100, lane)
            assert first <= found < first + 2 * LANE
            assert found // LANE % 2 == (found + 99) // LANE % 2 == lane
    with pytest.raises(ValueError, match="do not fit"):
        in_lane(1, LANE + 1, 0)


def test_every_program_keeps_to_the_journals_lane(tmp_path: Path) -> None:
    path = tmp_path / "j.db"
    Journal(path).use_lane(1)
    for _ in range(5):
        journal = Journal(path)
        assert journal.reserve(257, 2, "k", 1, 64) // LANE % 2 == 1
        assert journal.new_command(257, 1, 2, 0, 60, "", 0).id // LANE % 2 == 1
        journal.close()


# -- the copy --------------------------------------------------------------------------------


def filled(path: Path) -> Journal:
    """A journal of a controller that was at work."""
    journal = Journal(path)
    journal.use_lane(0)
    journal.reserve(257, 2, "k", 1, 256)
    journal.set_counter(257, 1, "k", 5000)
    journal.quarantine(258, "it lies")
    standing_store.stand_down(journal, "rival", "two of us")
    journal.new_command(257, 1, 2, 10, 70, "for balance", 3.5)
    journal.put_blob("planner", b"\x00memory")
    journal.put_blob("probe", b"")
    journal.set_meta("hq_restraint", '{"mode": "hold"}')
    journal.db.execute("INSERT INTO hq_commands VALUES ('7', 1.0, 'mode', 'done', '', x'00ff')")
    return journal


def test_what_is_copied_is_there_and_numbers_go_on_above(tmp_path: Path) -> None:
    theirs = filled(tmp_path / "a.db")
    text = copying.collect(theirs, 3, b"keys").model_dump_json()
    mine = Journal(tmp_path / "b.db")
    mine.use_lane(1)
    mine.quarantine(300, "our own")
    for _ in range(2):  # twice is as once
        copying.apply(mine, copying.Copy.model_validate_json(text))
    assert mine.quarantined() == {258: "it lies", 300: "our own"}
    assert standing_store.stood_down(mine) == {"rival": "two of us"}
    assert [row.address for row in mine.open_commands()] == [257]
    assert mine.get_blob("planner") == b"\x00memory"
    assert mine.get_blob("probe") is None
    assert mine.meta("hq_restraint") == '{"mode": "hold"}'
    assert mine.db.execute("SELECT id, body FROM hq_commands").fetchall() == [("7", b"\x00\xff")]
    assert mine.up_counters()[257] == ("k", 5000)
    assert mine.down_counters()[257][1] == theirs.down_counters()[257][1]
    old = theirs.open_commands()[0].id
    assert mine.new_command(257, 2, 3, 0, 60, "", 0).id > old
    assert mine.reserve(257, 2, "k", 1, 256) >= theirs.down_counters()[257][1]


def test_marks_never_fall(tmp_path: Path) -> None:
    theirs = filled(tmp_path / "a.db")
    copy = copying.collect(theirs, 1, b"")
    mine = Journal(tmp_path / "b.db")
    mine.set_counter(257, 1, "k", 9000)
    mine.set_meta("command_id", str(3_000_000_000))
    copying.apply(mine, copy)
    assert mine.up_counters()[257][1] == 9000
    assert mine.meta("command_id") == str(3_000_000_000)
