"""What switchings cost, on the first day above all: the budget holds on streets of any kind."""

import numpy as np
import pytest

from bench._homes import street
from pbal_controller.balancing import Planner, PlannerConfig
from pbal_controller.balancing.wear import Wear


def sparse_day(relays, budget, *, every, delay_min, rest, seed=41, homes=40):
    """Switchings of a first day over the budget, where only some homes can be moved.

    rest: whether what the other homes draw is given as a transformer's meter would show it;
    else they have nodes, and are fixed.
    """
    currents = street(homes, 1, seed) / 230 + 0j
    x = np.arange(homes) % 3
    seen = np.arange(homes) < relays
    config = PlannerConfig(wear_budget_per_day=budget, fixed=() if rest else range(relays, homes))
    planner = Planner(relays if rest else homes, config)
    others = [np.where(~seen & (x == q), currents, 0).sum(axis=1) for q in range(3)]
    made = 0
    for t in range(0, len(currents) - delay_min, every):
        amps = currents[t, : planner.n]
        planner.observe(60.0 * t, amps, [o[t] for o in others] if rest else None)
        for move in planner.decide(60.0 * (t + delay_min), x[: planner.n]):
            x[move.home] = move.to_phase
            made += 1
    return made / (relays * budget)


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize(("every", "delay_min"), [(5, 2), (15, 1)])
@pytest.mark.parametrize("budget", [1.0, 3.0])
def test_the_first_day_holds_its_budget_with_few_relays_and_old_data(
    rest, every, delay_min, budget
):
    used = sparse_day(13, budget, every=every, delay_min=delay_min, rest=rest)
    assert 0.5 < used <= 1.1 + 1 / (13 * budget)  # one switching is more than a tenth of one day


def test_a_rest_of_nothing_changes_no_price():
    wear = [Wear(4, PlannerConfig()) for _ in range(2)]
    for t in range(10):
        wear[0].see(60.0 * t, np.zeros(4, np.int8), 25.0)
        wear[1].see(60.0 * t, np.zeros(4, np.int8), 25.0, rest_square=2500.0 * (t % 2))
    assert wear[0].homes == 4
    assert wear[1].price > wear[0].price


def test_what_is_spent_ahead_of_the_day_raises_the_price_before_the_budget_is_gone():
    wear = Wear(10, PlannerConfig(wear_budget_per_day=1.0))
    x = np.zeros(10, np.int8)
    wear.see(0.0, x, 25.0)
    before = wear.prices(0.0)[9] / wear.price
    x[:5] = 1  # half of the day's budget at midnight
    wear.see(60.0, x, 25.0)
    assert before == 1.0
    assert wear.prices(60.0)[9] / wear.price > 1.5**3
    # In a street that has run for long, half a day's budget is nothing to brake for.
    old = Wear(10, PlannerConfig(wear_budget_per_day=1.0))
    old.load_state({**wear.state(), "begun": 1.0})
    assert old.prices(60.0)[9] == old.price


def test_old_memories_are_taken_up_and_damaged_ones_refused():
    wear = Wear(3, PlannerConfig())
    state = wear.state()
    old = {name: state[name] for name in ("times_s", "load", "demand")}
    wear.load_state(old)
    assert wear.state()["begun"] == 1.0  # it was running: its day is not its first
    for name, value in (("rest", [1.0, 0.0]), ("rest", [-1.0, 2.0]), ("load", [0.0, 1.0]),
                        ("begun", 2.0)):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            wear.load_state({**state, name: value})


@pytest.mark.parametrize("how", ["immovable", "unknown", "open", "fixed"])
@pytest.mark.parametrize("budget", [1.0, 3.0])
def test_the_budget_is_of_the_homes_that_can_be_moved(how, budget):
    """However it is told that two homes of three cannot be moved."""
    n, relays, days = 24, 8, 2
    currents = street(n, days, seed=17) / 230 + 0j
    out = np.arange(n) >= relays
    config = PlannerConfig(
        wear_budget_per_day=budget, fixed=range(relays, n) if how == "fixed" else ()
    )
    planner, x, made = Planner(n, config), np.arange(n) % 3, 0
    for t in range(0, len(currents), 2):
        amps = np.where(out, np.nan, currents[t]) if how == "unknown" else currents[t]
        planner.observe(60.0 * t, amps)
        seen = np.where(out, -1, x) if how == "open" else x
        still = range(relays, n) if how == "immovable" else ()
        for move in planner.decide(60.0 * t, seen, immovable=still):
            assert move.home < relays
            x[move.home] = move.to_phase
            made += 1
    assert planner.wear.movable == relays
    assert 0.6 < made / (relays * days * budget) <= 1.15


def test_a_home_that_comes_later_brings_its_share_of_the_prior():
    some, rule = np.arange(6) < 2, PlannerConfig(wear_budget_per_day=2.0)
    late, early = Wear(6, rule), Wear(6, rule)
    x = np.zeros(6, np.int8)
    late.see(0.0, x, 25.0, known=some, able=some)
    assert (late.movable, late.homes, late.per_day) == (2, 2.0, 4.0)
    late.see(0.0, x, 25.0)
    early.see(0.0, x, 25.0)
    assert late.state()["demand"] == pytest.approx(early.state()["demand"])
    assert late.movable == 6
    # What has not been heard of for a day is not counted, and brings nothing when it returns.
    early.see(86000.0, x, 25.0, known=some, able=some)
    early.see(86401.0, x, 25.0, known=some, able=some)
    assert early.movable == 2
    demand = early.state()["demand"]
    early.see(86401.0, x, 25.0)
    assert early.movable == 6
    assert early.state()["demand"] == pytest.approx(demand)


def test_damaged_memories_leave_it_as_it_was():
    wear = Wear(3, PlannerConfig())
    wear.see(0.0, np.zeros(3, np.int8), 9.0)
    state = wear.state()
    for name, value in (("times_s", np.full((6, 3), np.nan)), ("able_s", np.zeros(2)),
                        ("known_s", np.full(3, np.nan)), ("phases", [0, 1, 7]),
                        ("phases", [0, 1]), ("times_s", np.zeros((6, 2)))):  # fmt: skip
        with pytest.raises(ValueError, match=name):
            wear.load_state({**state, "begun": 0.5, name: value})
        assert wear.state()["begun"] == state["begun"]
