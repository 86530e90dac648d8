"""What the benches of balancing are built on: who is seen, who moves, means over streets."""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import pytest
from rigs.needs import require_shared

from bench import _data
from bench._spread import spread
from bench.control import Trial, drive, measure, over_streets, places, relays, simple_rule
from pbal_controller.balancing import PlannerConfig

EAGER = PlannerConfig(predict=False, price=1.0, wear_budget_per_day=None, dwell_s=0.0)


def _case(amps: np.ndarray, start: list[int]) -> _data.Case:
    return _data.Case("", np.asarray(amps, np.complex128), np.array(start, np.int8))


@pytest.mark.parametrize(
    ("others", "moves"), [("metered", True), ("remainder", True), ("none", False)]
)
def test_a_home_makes_way_for_those_without_a_relay_as_far_as_they_are_seen(
    others: str, moves: bool
) -> None:
    # Homes 0 and 2 stay; alone, home 1 is as good on any phase.
    case = _case(np.full((3, 3), 10.0), [0, 0, 2])
    paths = drive(case, EAGER, Trial(movable=np.array([False, True, False]), others=others))
    assert (paths[:, [0, 2]] == [0, 2]).all()
    assert paths[0, 1] == 0  # nothing has been seen yet
    assert (paths[1:, 1] == (1 if moves else 0)).all()


def test_the_remainder_is_told_by_phase() -> None:
    # On C there is as much as on A: only B is free.
    case = _case(np.tile([8.0, 3.0, 5.0, 8.0], (2, 1)), [2, 0, 0, 0])
    paths = drive(
        case, EAGER, Trial(movable=np.array([False, False, False, True]), others="remainder")
    )
    assert paths[-1].tolist() == [2, 0, 0, 1]


@pytest.mark.parametrize("others", ["metered", "remainder"])
@pytest.mark.parametrize(
    ("amps", "start"),
    [
        # Even already, with homes that have a relay behind one that has none.
        ([10.0, 10.0, 10.0], [1, 0, 2]),
        # As even as can be; were home 1 counted among the others, it would leave A.
        ([4.0, 10.0, 10.0], [1, 0, 2]),
    ],
)
def test_who_stands_well_stays(others: str, amps: list[float], start: list[int]) -> None:
    case = _case(np.tile(amps, (4, 1)), start)
    trial = Trial(movable=np.array([False, True, amps[0] == 10.0]), others=others)
    assert (drive(case, EAGER, trial) == start).all()


def test_a_feeder_is_that_of_the_homes_that_are_seen() -> None:
    # Only homes 1 and 2 cost something where they share a phase.
    resistance = np.zeros((3, 3, 3))
    resistance[1, 2, 0] = resistance[2, 1, 0] = 0.5
    case = _case(np.full((2, 3), 10.0), [0, 0, 0])
    config = replace(EAGER, resistance=resistance, beta=0.0)
    paths = drive(case, config, Trial(movable=np.array([False, True, True]), others="none"))
    assert (paths[:, 0] == 0).all()
    assert paths[-1, 1] != paths[-1, 2]
    resistance[1, 2, 0] = resistance[2, 1, 0] = 0.0
    assert (drive(case, config, Trial(movable=np.array([False, True, True]))) == 0).all()


def test_a_decision_sees_what_was_so_long_ago_and_is_made_so_often() -> None:
    amps = np.zeros((40, 2))
    amps[10:] = 10.0
    case = _case(amps, [0, 0])
    for trial, at in (
        (Trial(), 11),
        (Trial(delay=-1), 10),
        (Trial(delay=3), 14),
        (Trial(delay=3, every=8), 16),
    ):
        paths = drive(case, EAGER, trial)
        assert np.flatnonzero((paths != 0).any(axis=1))[0] == at


def test_who_asks_for_what_cannot_be_known_is_told() -> None:
    with pytest.raises(ValueError, match="metered, remainder, none"):
        Trial(others="guessed")


def test_relays_are_drawn_by_share_and_seed() -> None:
    drawn = relays(50, 0.2, 3)
    assert drawn is not None
    assert drawn.sum() == 10
    assert (drawn == relays(50, 0.2, 3)).all()
    assert (drawn != relays(50, 0.2, 4)).any()
    few = relays(4, 0.01, 1)
    assert few is not None
    assert few.sum() == 1
    assert relays(50, 1.0, 1) is None


def test_the_rule_has_a_budget_or_a_price() -> None:
    assert (simple_rule().price, simple_rule().wear_budget_per_day) == (300.0, None)
    assert (simple_rule(2.0).price, simple_rule(2.0).wear_budget_per_day) == (None, 2.0)
    assert not simple_rule(2.0).predict


def test_switchings_are_counted_where_there_are_relays() -> None:
    paths = np.zeros((1440, 4), np.int8)
    paths[700:, 1] = 2
    case = _case(np.full((1440, 4), 5.0), [0, 0, 0, 0])
    assert measure(case, paths)["switchings"] == 0.25
    assert measure(case, paths, np.array([False, True, True, False]))["switchings"] == 0.5
    # 20 A as built; from then on 15 on A and 5 on C: 15^2 + 5^2 - 15 * 5.
    left = np.sqrt(175.0) / 20.0
    assert measure(case, paths)["neutral_cut"] == pytest.approx((1 - left) * 740 / 1440, abs=1e-4)


def test_a_mean_and_how_sure_it_is() -> None:
    assert spread([1.0, 2.0, 6.0]) == {
        "mean": 3.0, "se": pytest.approx(np.sqrt(7 / 3), abs=1e-4), "most": 6.0, "n": 3
    }  # fmt: skip
    assert spread([4.0])["se"] is None
    with pytest.raises(ValueError, match="no values"):
        spread([])


def test_the_mean_over_streets_is_of_each_controller() -> None:
    def street(cut: float, share: float) -> list[dict[str, object]]:
        return [
            {"controller": "hindsight", "neutral_cut": cut / share, "switchings": 3.0},
            {"controller": "pbal", "neutral_cut": cut, "switchings": 2.5,
             "share_of_hindsight": share},
        ]  # fmt: skip

    hindsight, pbal = over_streets([street(0.4, 0.8), street(0.5, 0.7)])
    assert "share_of_hindsight" not in hindsight
    assert pbal["controller"] == "pbal"
    assert pbal["share_of_hindsight"]["mean"] == pytest.approx(0.75)
    assert pbal["share_of_hindsight"]["se"] == pytest.approx(0.05)
    assert pbal["neutral_cut"]["mean"] == pytest.approx(0.45)
    assert pbal["neutral_cut"]["n"] == 2


def _args(**wanted: object) -> argparse.Namespace:
    usual = {"days": 1, "homes": 5, "seed": 3, "streets": 3, "full": False, "only": None}
    return argparse.Namespace(**(usual | wanted))


def test_made_up_streets_differ_and_come_again() -> None:
    for kind in ("made-up streets", "made-up households"):
        cases = [load() for load in places(_args())[kind]]
        again = [load() for load in places(_args())[kind]]
        assert len({case.name for case in cases if case}) == 3
        for one, same, other in zip(cases, again, cases[1:], strict=False):
            assert one
            assert same
            assert other
            assert one.currents.shape == (1440, 5)
            assert (one.currents == same.currents).all()
            assert not (one.currents == other.currents).all()


def test_a_household_lives_on_over_midnight() -> None:
    one, two = _data.households(4, 1, 9, 100), _data.households(4, 2, 9, 100)
    assert two.currents.shape == (2880, 4)
    assert (two.currents[:1440] == one.currents).all()
    assert not (two.currents[1440:] == one.currents).all()


@pytest.mark.shared
def test_held_out_days_do_not_overlap_and_end_with_the_data() -> None:
    require_shared("data", "persistent_60homes_15days_1min_w.csv.gz")
    cases = [load() for load in places(_args(days=4, streets=9))["30 held-out homes"]]
    assert len(cases) == 3
    whole = _data.held_out(15)
    assert whole
    for k, case in enumerate(cases):
        assert case
        assert (case.currents == whole.currents[k * 5760 : (k + 1) * 5760]).all()
    assert _data.held_out(4, 12) is None
    # Longer than there is: what there is, as ever.
    assert len(places(_args(days=20))["30 held-out homes"]) == 1


@pytest.mark.shared
def test_the_halves_have_no_home_in_common() -> None:
    require_shared("data", "persistent_60homes_15days_1min_w.csv.gz")
    seen, unseen = _data.development(15), _data.held_out(15)
    assert seen
    assert unseen
    assert seen.currents.shape == unseen.currents.shape == (21600, 30)
    same = (seen.currents[:, :, None] == unseen.currents[:, None, :]).all(axis=0)
    assert not same.any()


def test_phases_drawn_leave_the_homes_as_they_were() -> None:
    case = replace(_data.synthetic(30, 1, 5), resistance=np.zeros((30, 30, 3)))
    drawn = _data.by_lot(case, np.random.default_rng(1))
    assert (drawn.currents == case.currents).all()
    assert set(drawn.start.tolist()) == {0, 1, 2}
    assert (drawn.start != case.start).any()
    assert drawn.resistance is None
