"""The transfer test's witness in a street that lives: whole tests of one home in virtual time,
while other homes and the home itself switch. `pytest -s` prints how often it was right, wrong, or
gave no verdict.
"""

from __future__ import annotations

import bisect
import itertools
import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from pbal_protocol import config, names, records
from pbal_tools.commission import content, transfer
from pbal_tools.commission.loadmoves import CONFIRMED, CONTRADICTED, UNDECIDED

BEGIN_S = 1_800_000_000.0
LASTS_S = 5400
RIGHT = (0, 1, 2)
SWAPPED = ((1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0), (2, 0, 1))
JOINED = ((0, 0, 2), (0, 1, 1), (2, 1, 2), (0, 0, 0))  # two or three contacts on one phase


class Appliances:
    """Loads that go on and off: W over time, as a whole."""

    def __init__(self, rng: random.Random, count: int, calm: float, most_w: float) -> None:
        events: list[tuple[float, float]] = []
        for _ in range(count):
            watts = rng.choice((60, 150, 400, 800, 1000, 1500, 2000, 2300))
            watts = min(watts, most_w)
            at, on = rng.uniform(-600, 0) * calm, False
            while at < LASTS_S:
                at += rng.expovariate(1 / (180.0 if on else 600.0)) * calm
                on = not on
                events.append((at, watts if on else -watts))
        events.sort()
        self._at = [at for at, _ in events]
        self._w = list(itertools.accumulate((w for _, w in events), initial=0.0))

    def at(self, now: float) -> float:
        return self._w[bisect.bisect_right(self._at, now)]


class Street:
    """A home under test, others on three phases, a meter, and a medium whose turn takes `turn_s`;
    `wiring`: the phase behind each contact; `starts_s`: how long the home's meter takes to start
    after it was dark. It is its own clock, meter, talk and medium.
    """

    most_tries = 3
    address = 1

    def __init__(
        self, seed: int, wiring: tuple[int, ...], turn_s: float, homes: int = 12,
        calm: float = 1.0, signed: bool = True, load_w: float | None = None,
        starts_s: float = 0.0,
    ) -> None:  # fmt: skip
        rng = self.rng = random.Random(seed)
        self.wiring, self.turn_s, self.signed = wiring, turn_s, signed
        self.now_s = 60.0
        self.others = [Appliances(rng, 3 * homes, calm, 2300) for _ in range(3)]
        self.own = Appliances(rng, 2, 2.0, 400)
        self.base_w = rng.uniform(400, 2300) if load_w is None else load_w
        self.starts_s = starts_s
        self.phase = 1
        self.moves: list[tuple[float, int]] = [(0.0, 1)]
        self.clock_off_s = rng.uniform(-1.5, 1.5)
        self.values = {row[1]: row[3] for row in config.KEYS} | {"dwell_s": 900, "daily_cap": 30}
        self.results: dict[int, records.SwitchResult] = {}
        self._done: dict[int, tuple[float, records.SwitchResult]] = {}
        self.telemetry: records.Telemetry | None = None
        self._sampled_s = 0.0
        self.meanwhile = lambda: None
        self.medium = self
        self.at_s = 0.0
        self.failed = ""
        # What `transfer` takes for the module `time`, and for a job.
        self.data: dict[str, Any] = {"restore": {}}
        self.state = self
        self.meter: Street | None = self
        self._notes: dict[str, Any] = {}

    # -- the clock, the job -----------------------------------------------------------------------

    def time(self) -> float:
        return BEGIN_S + self.now_s

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds

    def home(self, _address: int) -> dict[str, Any]:
        return self._notes

    def save(self) -> None:
        pass

    def note(self, _words: str) -> None:
        pass

    def talk(self, _address: int) -> Street:
        return self

    # -- the transformer's meter ------------------------------------------------------------------

    def load_w(self, at: float) -> float:
        return self.base_w + (self.own.at(at) if self.base_w > 0 else 0.0)

    def read(self) -> SimpleNamespace:
        at = self.now_s - 0.3
        p_w = [each.at(at) + self.rng.gauss(0, 15) for each in self.others]
        contact = next(to for since, to in reversed(self.moves) if since <= at)
        p_w[self.wiring[contact - 1]] += self.load_w(at)
        self.at_s = self.time()
        return SimpleNamespace(p_w=tuple(p_w))

    # -- the conversation -------------------------------------------------------------------------

    def poll(self, *items: Any, tries: int = 3) -> list[Any]:
        for _ in range(tries):
            if self._turn(items):
                assert self.telemetry is not None
                return [self.telemetry]
        return []

    def _turn(self, items: tuple[Any, ...]) -> bool:
        left = self.rng.uniform(0.3, 1.0) * self.turn_s + 0.02
        heard = not self.turn_s or self.rng.random() > 0.1
        for item in items:
            if heard and isinstance(item, records.Switch) and item.command_id not in self._done:
                self._transfer(item, self.now_s + self.rng.uniform(0.3, 0.9) * left)
        while left > 0:
            self.now_s += min(0.2, left)
            left -= 0.2
            if self.turn_s:
                self.meanwhile()
        if not heard or (self.turn_s and self.rng.random() < 0.1):
            return False
        self._say()
        return True

    def _transfer(self, order: records.Switch, at: float) -> None:
        result = records.SwitchResult(
            command_id=order.command_id, outcome=names.DONE, to_phase=order.to_phase,
            transfer_ms=150, time_s=int(BEGIN_S + at + 0.3 + self.clock_off_s),
        )  # fmt: skip
        # Its word comes later than its deed.
        later = self.rng.choice((0.0, 1.0, 2.0)) * self.turn_s
        self._done[order.command_id] = at + 0.3 + later, result
        self.moves.append((at, order.to_phase))

    def _say(self) -> None:
        aged = self.rng.uniform(0.1, 0.9)
        at = self.now_s - aged
        self.phase = next(to for since, to in reversed(self.moves) if since <= at)
        watts = self.load_w(at)
        if self.moves[-1][0] <= self.now_s < self.moves[-1][0] + self.starts_s:
            at, watts = self.now_s, 0.0  # what else it measures is fresh
        self.telemetry = records.Telemetry(
            time_s=int(self.time()), va_v=230, vb_v=230, vc_v=230, vout_v=230,
            p_w=watts if self.signed else abs(watts), current_a=abs(watts) / 230,
            phase=self.phase, state=names.STATE_CLOSED,
        )  # fmt: skip
        self._sampled_s = BEGIN_S + at
        self.results = {i: r for i, (at, r) in self._done.items() if at <= self.now_s}

    def reading(self) -> records.Telemetry:
        while not self.poll():
            pass
        assert self.telemetry is not None
        return self.telemetry

    def sampled_s(self) -> float:
        return self._sampled_s

    def settings(self) -> dict[str, int]:
        self._turn(())
        return dict(self.values)

    def set(self, name: str, value: int) -> None:
        self._turn(())
        self.values[name] = value


def toured(monkeypatch: pytest.MonkeyPatch, street: Street) -> dict[str, Any]:
    monkeypatch.setattr(transfer, "time", street)
    return transfer.tour(street, 1)  # type: ignore[arg-type]


def played(
    monkeypatch: pytest.MonkeyPatch, wirings: list[tuple[int, ...]], **how: Any
) -> Counter[str]:
    found: Counter[str] = Counter()
    for seed, wiring in enumerate(wirings):
        found[toured(monkeypatch, Street(seed, wiring, **how))["load"]["verdict"]] += 1
    return found


class Stopped(Street):
    """Somebody presses Ctrl-C after the first move."""

    def __init__(self, *how: Any) -> None:
        super().__init__(*how)
        self.notes: list[str] = []

    def note(self, words: str) -> None:
        self.notes.append(words)
        if len(self.notes) == 2:
            raise KeyboardInterrupt


def test_a_test_that_is_stopped_says_that_the_home_stays_where_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    street = Stopped(1, RIGHT, 0.0)
    before = dict(street.values)
    began = street.moves[-1][1]
    with pytest.raises(KeyboardInterrupt):
        toured(monkeypatch, street)
    assert street.notes[-1] == (
        f"home 1 stays on the phase it is on; before the test it was on {'?ABC'[began]}"
    )
    assert street.moves[-1][1] != began
    assert street.values == before, "settings are put back"


# (turn_s, homes on each phase, how much slower they switch): a line, a near village, a far one, a
# street in which somebody switches every few seconds.
PLACES = {
    "on a line": (0.0, 12, 1.0),
    "at SF7": (5.0, 12, 1.0),
    "at SF10": (30.0, 12, 1.0),
    "at SF10, a quiet village": (30.0, 6, 2.0),
    "at SF10, a lively street": (30.0, 20, 0.8),
    "at SF10, a restless street": (30.0, 30, 0.5),
}
BETWEEN = ("at SF7", "at SF10, a lively street")  # what the others enclose
TRIALS = 30


@pytest.mark.parametrize(
    "place",
    [pytest.param(place, marks=[pytest.mark.long] if place in BETWEEN else []) for place in PLACES],
)
def test_other_homes_neither_raise_an_alarm_nor_hide_a_wrong_wiring(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    turn_s, homes, calm = PLACES[place]
    how = {"turn_s": turn_s, "homes": homes, "calm": calm}
    right = played(monkeypatch, [RIGHT] * TRIALS, **how)
    others = itertools.islice(itertools.cycle(SWAPPED + JOINED), TRIALS)
    wrong = played(monkeypatch, list(others), **how)
    print(f"\n{place}: right {dict(right)}, wrong {dict(wrong)}")
    assert not right[CONTRADICTED], "a false alarm"
    assert not wrong[CONFIRMED], "a wrong wiring was confirmed"
    if "street" not in place:
        assert right[CONFIRMED] >= 0.5 * TRIALS
        assert wrong[CONTRADICTED] >= 0.5 * TRIALS


def told(monkeypatch: pytest.MonkeyPatch, street: Street) -> dict[str, Any]:
    found: dict[str, Any] = toured(monkeypatch, street)
    return found


def test_without_a_verdict_the_node_decides_and_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blind = Street(1, SWAPPED[0], 0.0)
    blind.meter = None
    small = Street(1, RIGHT, 0.0, load_w=-40.0)
    idle = Street(1, RIGHT, 0.0, load_w=0.0)
    mute = Street(1, RIGHT, 5.0)
    monkeypatch.setattr(mute, "read", lambda: None)
    for street, why in (
        (blind, "the transformer has no meter"),
        (small, "its load was below 150 W: switch something on"),
        (idle, "its load was below 150 W: switch something on"),
        (mute, "the transformer has no meter that was read"),
    ):
        found = told(monkeypatch, street)
        assert found["ok"], found
        assert found["load"]["verdict"] == UNDECIDED
        assert why in found["load"]["words"], found["load"]
        words = content.load_words(found["load"])
        assert "not decided" in words
        assert "--again transfer" in words


def test_a_contradiction_fails_the_test_and_names_the_wiring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = told(monkeypatch, Street(3, (1, 0, 2), 0.0, homes=1))
    assert found["load"]["verdict"] == CONTRADICTED
    assert found["load"]["words"] == "its contacts A, B, C put the load on phases B, A, C"
    assert not found["ok"]
    assert all(move["ok"] for move in found["moves"]), "the node itself saw nothing wrong"
    stays = told(monkeypatch, Street(3, (1, 1, 1), 0.0, homes=1))
    assert stays["load"]["words"] == "its load stays on one phase whichever contact is closed"


def test_a_meter_without_a_sign_takes_export_for_import_and_raises_no_alarm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    street = Street(5, RIGHT, 0.0, homes=1, signed=False, load_w=-1800.0)
    assert told(monkeypatch, street)["load"]["verdict"] == CONFIRMED


@pytest.mark.parametrize("turn_s", [0.0, 5.0])
def test_a_meter_that_is_dark_with_the_home_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, turn_s: float
) -> None:
    """As a PZEM behind the contacts: until it has started, its node tells 0 A and 0 W."""
    for seed in range(10):
        street = Street(seed, RIGHT, turn_s, homes=1, load_w=900.0, starts_s=2.5)
        assert told(monkeypatch, street)["load"]["verdict"] == CONFIRMED
    wrong = Street(3, (1, 0, 2), turn_s, homes=1, load_w=900.0, starts_s=2.5)
    assert told(monkeypatch, wrong)["load"]["verdict"] == CONTRADICTED


def test_a_clock_that_is_wrong_gives_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    street = Street(1, RIGHT, 0.0, homes=1)
    street.clock_off_s = -90.0
    found = told(monkeypatch, street)
    assert found["load"]["verdict"] == UNDECIDED
    assert "the node's clock is wrong" in found["load"]["words"]
