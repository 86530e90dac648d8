"""Whose word fits: single readings, fuses, voltage drops, the transformer's meter; doubts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from bench.virtual_street import VirtualStreet
from pbal_controller.config import HomeConfig, PlausibilityConfig
from pbal_controller.homes import Fleet, Home
from pbal_controller.journal import Journal
from pbal_controller.plausibility import DoubtBook, Watch, lift_doubt
from pbal_controller.plausibility.reading import Energy, Fuse, contradiction
from pbal_controller.plausibility.steps import Look, Steps
from pbal_protocol import records as r

GOOD = {
    "va_v": 231.0, "vb_v": 232.0, "vc_v": 233.0, "vout_v": 230.9, "current_a": 10.0,
    "p_w": 2200.0, "q_var": 500.0, "freq_hz": 50.0, "phase": 1, "state": r.STATE_CLOSED,
}  # fmt: skip


def telemetry(**changes) -> r.Telemetry:
    return r.Telemetry(**(GOOD | changes))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"vout_v": 0.0, "p_w": 0.0}, ""),
        ({"p_w": -2200.0}, ""),
        ({"p_w": 90.0, "current_a": 0.7, "q_var": 20.0}, ""),  # what no power factor fits
        ({"vb_v": 400.0}, "400 V at B is no mains voltage"),
        ({"p_w": 5000.0}, "5000 W do not fit 231 V and 10.0 A"),
        ({"q_var": -6000.0}, "do not fit"),
        ({"vout_v": 200.0}, "200 V at the output on phase A, which has 231 V"),
    ],
)
def test_one_reading_may_contradict_itself(changes, words):
    said = contradiction(telemetry(**changes))
    assert words in said
    assert bool(words) == bool(said)


@pytest.mark.parametrize(
    ("amps", "after_s"), [(60, None), (100, None), (102, 3600), (130, 300), (190, 60), (330, 5)]
)
def test_a_fuse_carries_so_much_for_so_long(amps, after_s):
    fuse = Fuse(63.0)
    blown = next((t for t in range(0, 4000, 5) if fuse.blown(float(t), float(amps))), None)
    assert blown == after_s


def test_a_pause_cools_a_fuse():
    fuse = Fuse(63.0)
    for t in range(0, 55, 5):
        assert not fuse.blown(t, 200.0)
    fuse.blown(55, 10.0)
    assert not fuse.blown(60, 200.0)
    assert not fuse.blown(115, 200.0)
    assert "home.fuse_a" in fuse.blown(121, 200.0)


@pytest.mark.parametrize(("share", "noticed"), [(1.0, False), (0.8, False), (0.0, True), (3, True)])
def test_the_counter_must_gain_what_the_power_makes(share, noticed):
    energy = Energy()
    words = [
        energy.differs(t, telemetry(e_import_wh=int(1000 + share * 2200 * t / 3600)))
        for t in range(0, 3600, 5)
    ]
    assert any(words) == noticed


def test_a_counter_that_begins_anew_is_no_contradiction():
    energy = Energy()
    for t in range(0, 3600, 5):
        count = 100_000 if t < 1500 else int(2200 * (t - 1500) / 3600)
        count += int(2200 * t / 3600) if t < 1500 else 0
        assert not energy.differs(t, telemetry(e_import_wh=count))


def flat_street(n=8, **options) -> VirtualStreet:
    """Homes whose loads step at times of their own, 1 to 4 kW."""
    rng = np.random.default_rng(options.get("seed", 1))
    periods, sizes = rng.uniform(180, 420, n), rng.uniform(1000, 4000, n)

    def watts(i: int, t: float) -> float:
        return 300 + (sizes[i] if (t + 50 * i) % periods[i] < periods[i] / 2 else 0.0)

    return VirtualStreet(n, watts, **options)


def says_w(watts):
    """A meter that shows so much power, whatever flows."""

    def lie(said, now):
        return replace(said, p_w=watts(now), q_var=0.3 * watts(now))

    return lie


def swings_40kw(now: float) -> float:
    return 40_000.0 if now % 240 < 120 else 300.0


@pytest.mark.parametrize("with_meter", [False, True], ids=["no meter", "meter"])
def test_40_kw_that_do_not_flow_are_named_and_harm_little(with_meter):
    street = flat_street(lies={3: says_w(lambda t: 40_000.0)}, fuse_a=40.0, with_meter=with_meter)
    street.play(1200)
    assert [home for _, home, why in street.doubts if why] == [4]
    assert "a fuse of 40 A blows" in street.homes[3].doubted
    began = street.doubts[0][0]
    assert began <= 70
    assert "in doubt" in street.homes[3].immovable(street.now)
    assert np.isnan(street.homes[3].counted_a())
    # The others go on being planned for.
    assert street.loop.last_decision["skipped"] == ""
    assert street.loop.decisions_total >= 19
    start = np.arange(street.n) % 3
    assert street.truth_a() <= street.with_phases_a(start) + 40.0


def test_a_voltage_that_does_not_drop_gives_a_lie_away_without_a_meter():
    street = flat_street(lies={3: says_w(swings_40kw)}, fuse_a=100.0)
    street.play(1500)
    assert [home for _, home, why in street.doubts if why] == [4]
    assert "its voltage does not fit its current" in street.homes[3].doubted


def test_the_meter_gives_a_lie_of_a_few_ampere_away():
    def some(now: float) -> float:
        return 3500.0 if now % 240 < 120 else 300.0

    street = flat_street(lies={3: says_w(some)}, with_meter=True)
    while not street.doubts and street.now < 7200:
        street.play(300)
    assert {home for _, home, why in street.doubts if why} == {4}
    assert "the transformer's meter saw" in street.doubts[0][2]


def test_a_meter_with_swapped_phases_names_nobody():
    street = flat_street(with_meter=True)
    honest = street._read

    def swapped() -> None:
        honest()
        m = street.reading
        street.reading = replace(m, p_w=(m.p_w[1], m.p_w[2], m.p_w[0]),
                                 q_var=(m.q_var[1], m.q_var[2], m.q_var[0]))  # fmt: skip

    street._read = swapped
    street.play(1200)
    assert street.doubts == []


def test_a_meter_must_have_followed_others_and_chance_is_counted():
    steps = Steps(4, 0.0)
    steps.follow[0].extend([0.0] * 6)
    assert steps._follow_verdict(0) == ""  # nothing is known of the meter
    steps.follow[1].extend([1.0] * 20)
    assert "saw 0 % of its last" in steps._follow_verdict(0)
    assert steps._follow_verdict(1) == ""
    steps.follow[0][-1] = 0.9
    assert steps._follow_verdict(0) == ""  # the last one was seen
    steps.follow[0][-1] = 0.0
    steps.follow[2].extend([0.0, 0.9] * 8)  # what has no node often hides a step
    assert steps._follow_verdict(0) == ""


class OnOnePhase:
    """Eight homes on phase A; home 0 turns 9 A on and off, with the drop that `ohm` makes."""

    def __init__(self, ohm: float) -> None:
        self.steps = Steps(8, 0.005)
        self.ohm = ohm
        self.amps = 0.0
        self.said: dict[int, str] = {}
        self.look(20)

    def look(self, times: int = 1, late_v: float = 0.0) -> None:
        """`late_v`: what half of the homes see already of a load without a node."""
        for _ in range(times):
            claimed = np.zeros((8, 3), complex)
            claimed[:, 0] = [5.0 + self.amps, *[5.0] * 7]
            v = np.full((8, 3), 230.0)
            v[1:5, 0] += late_v
            vout = v[:, 0] - 0.04 * 5.0
            vout[0] -= self.ohm * self.amps
            self.said |= self.steps.take(Look(claimed, v, vout, None))

    def turn(self, late_v: float = 0.0) -> None:
        """The other way; then a load without a node steps while the homes are read."""
        self.look(6)
        self.amps = 9.0 - self.amps
        self.look(2)
        self.look(1, late_v)
        self.look(6)


def test_a_step_of_what_has_no_node_while_homes_are_read_doubts_nobody():
    """One such window in three made an honest home's line -50 mohm."""
    street = OnOnePhase(0.04)
    for late_v in (0.0, 0.0, -5.0):
        street.turn(late_v)
    ohms = [value for value, _ in street.steps.drop[0]._values]
    assert ohms[:2] == pytest.approx([0.04, 0.04])
    assert abs(ohms[2] - 0.04) > 0.2, "the third shows it"
    assert street.said == {}


@pytest.mark.parametrize(("ohm", "doubted"), [(0.04, False), (0.0, True)])
def test_a_voltage_that_does_not_follow_is_still_found(ohm, doubted):
    street = OnOnePhase(ohm)
    street.steps._floor = 0.03  # nine ampere show no less on this street
    for _ in range(36):
        street.turn()
    assert bool(street.said) == doubted


@pytest.mark.parametrize("with_meter", [False, True], ids=["no meter", "meter"])
def test_honest_homes_are_not_doubted(with_meter):
    street = flat_street(with_meter=with_meter, seed=5)
    street.play(3600)
    assert street.doubts == []
    assert street.moves


def test_a_voltage_unlike_the_neighbours_moves_nobody_else():
    def sick(said, now):
        return replace(said, v=[170.0, 171.0, 280.0], vout_v=170.0 if said.phase < 3 else 280.0)

    street = flat_street(lies={3: sick})
    street.play(900)
    honest = flat_street()
    honest.play(900)
    assert {home for _, home, _ in street.doubts} == {4}
    assert "the other homes see" in street.doubts[0][2]


def test_a_doubt_ends_by_itself_and_lasts_twice_as_long_the_next_time():
    until = 200.0

    def lie(now: float) -> float:
        return 40_000.0 if now < until or 2000 < now < 2100 else 500.0

    street = flat_street(
        lies={3: says_w(lie)}, fuse_a=30.0, plausibility=PlausibilityConfig(clear_s=600)
    )
    street.play(5000)
    begins = [t for t, _, why in street.doubts if why]
    ends = [t for t, _, why in street.doubts if not why]
    assert len(begins) == len(ends) == 2
    assert ends[0] == pytest.approx(until + 600, abs=20)
    assert ends[1] == pytest.approx(2100 + 1200, abs=20)


def test_checks_can_be_turned_off_and_the_bound_stays():
    street = flat_street(
        lies={3: says_w(lambda t: 40_000.0)}, fuse_a=40.0,
        plausibility=PlausibilityConfig(enabled=False),
    )  # fmt: skip
    street.play(1800)
    assert street.doubts == []
    assert abs(street.homes[3].counted_a()) == pytest.approx(40.0)


def test_a_fuse_that_seems_set_too_low_is_told_once(caplog):
    watch = Watch([home(1, current_a=70.0, p_w=16000.0, q_var=0.0)], PlausibilityConfig())
    for now in range(0, 3000, 5):
        watch.homes[0].sampled_at = float(now)
        watch.homes[0].telemetry.e_import_wh = int(16000 * now / 3600)
        assert watch.look(float(now), 10.0, None) == []
        assert len(caplog.records) == (now >= 600)
    assert caplog.records[0].why == "69 A, home.fuse_a is 63 A"


def home(address=1, **changes) -> Home:
    made = Home(HomeConfig(address=address, bus="s"), SimpleNamespace(), alive=True)
    made.telemetry = telemetry(**changes)
    return made


def test_plans_count_at_most_a_fuse_and_nothing_of_a_home_in_doubt():
    big = home(p_w=40_000.0, current_a=174.0, q_var=0.0)
    big.sampled_at = 0.0
    fleet = Fleet([big])
    assert abs(fleet.phase_sums(0.0, 10.0)[0]) == pytest.approx(63.0)
    big.doubted = "a test"
    assert fleet.phase_sums(0.0, 10.0) == (0j, 0j, 0j)


class Here:
    """The journal on the caller's own thread."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    async def call(self, method, *args):
        return method(self.journal, *args)


async def test_doubts_outlast_a_restart_and_a_person_ends_them(tmp_path):
    journal = Journal(tmp_path / "journal.db")
    homes = [home(1), home(2)]
    watch = Watch(homes, PlausibilityConfig())
    book = DoubtBook(watch, Here(journal), lambda: 5.0)
    await book.look()
    watch.doubt(1, "a test", 0.0)
    await book.look()
    assert book.history() == [{"time_s": 5.0, "home": 2, "why": "a test"}]

    again = [home(1), home(2)]
    watch2 = Watch(again, PlausibilityConfig())
    book2 = DoubtBook(watch2, Here(journal), lambda: 6.0)
    await book2.restore(100.0)
    assert [each.doubted for each in again] == ["", "a test"]
    assert not lift_doubt(journal, 1)
    assert lift_doubt(journal, 2)
    await book2.look()
    assert again[1].doubted == ""
    assert book2.history()[-1] == {"time_s": 6.0, "home": 2, "why": ""}
    assert not lift_doubt(journal, 2)


@pytest.mark.parametrize("blob", [b"", b"[]", b'{"now": 3, "history": []}', b"\xff",
                                  b'{"now": {"1": {"why": 3}}, "history": []}'])  # fmt: skip
async def test_a_damaged_list_of_doubts_is_an_empty_one(tmp_path, blob, caplog):
    journal = Journal(tmp_path / "journal.db")
    journal.put_blob("doubts", blob)
    book = DoubtBook(Watch([home(1)], PlausibilityConfig()), Here(journal))
    await book.restore(0.0)
    await book.look()
    assert "damaged" in caplog.text or b'"now": 3' in blob
