"""What switchings cost, on the first day above all: the budget holds on streets of any kind."""

import numpy as np
import pytest

from bench._homes import street
from pbal_controller.balancing import Planner, PlannerConfig
from pbal_controller.balancing.wear import _LOAD, Wear


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


def test_many_homes_show_in_their_first_readings_how_little_they_draw():
    loads = {}
    for n in (2, 160):
        wear, x = Wear(n, PlannerConfig()), np.zeros(n, np.int8)
        at_midnight = 6.0 * _LOAD[0]  # of homes whose day's mean square is 6 A^2
        for minute in (5, 10, 15, 20):
            wear.see(60.0 * minute, x, at_midnight)
            loads.setdefault(n, []).append(wear.load)
    assert min(loads[2]) > 20.0, "two homes may be asleep"
    assert loads[160][0] < 15.0
    assert 6.0 < loads[160][-1] < 9.0
    assert np.all(np.diff(loads[160]) < 0)


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
    # In a street that has run for long, half a day's budget is nothing to brake for: the other
    # half is left over, and the price falls.
    old = Wear(10, PlannerConfig(wear_budget_per_day=1.0))
    old.load_state({**wear.state(), "begun": 1.0})
    assert old.prices(60.0)[9] == pytest.approx(old.price * 0.5**3)


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
    assert late.state()["demand"] == pytest.approx([3.0 + 0.3 * 2.0 * 6] * 2)
    assert early.state()["demand"] == pytest.approx([3.0 + 0.3 * 2.0 * 6] * 2)
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


def priced(n=10, square=25.0, lag_min=0.0, **config):
    """Wear that has seen one street for a minute: what is asked for is what was expected."""
    wear = Wear(n, PlannerConfig(**config))
    wear.see(0.0, np.zeros(n, np.int8), square, lag_min)
    return wear


def test_a_home_pays_for_what_it_used_of_its_daily_cap():
    wear = priced(3, wear_budget_per_day=None, price=100.0, fairness=0.5, daily_cap=4)
    for minute, phase in enumerate((1, 2), 1):
        wear.see(60.0 * minute, np.array([phase, 0, 0], np.int8), 25.0)
    assert wear.today(120.0).tolist() == [2, 0, 0]
    assert wear.prices(120.0) == pytest.approx([125.0, 100.0, 100.0])
    assert wear.prices(86400.0 + 60.0) == pytest.approx([112.5, 100.0, 100.0])
    assert wear.prices(86400.0 + 120.0) == pytest.approx([100.0, 100.0, 100.0])


def test_dwell_and_cap_end_to_the_second():
    wear = priced(2, dwell_s=1800.0, daily_cap=2)
    wear.see(60.0, np.array([1, 0], np.int8), 25.0)
    assert [wear.free(t).tolist() for t in (1859.0, 1860.0)] == [[False, True], [True, True]]
    wear.see(3600.0, np.array([2, 0], np.int8), 25.0)
    assert [wear.free(t)[0] for t in (5400.0, 86459.0, 86460.0)] == [False, False, True]


def test_the_price_never_falls_below_its_floor():
    lines = np.full((4, 4, 3), 0.01)
    for unit, more in ((1.0, {}), (0.08, {"resistance": lines, "beta": 0.07})):
        wear = priced(4, square=1e-9, price_floor=80.0, **more)
        for hour in range(1, 200):
            wear.see(3600.0 * hour, np.zeros(4, np.int8), 1e-9)
        assert wear.price == pytest.approx(80.0 * unit)
        # What one ampere squared costs, lines and neutral.
        assert priced(4, wear_budget_per_day=None, **more).price == pytest.approx(300.0 * unit)


def test_the_hour_is_the_local_one():
    here, there = (Wear(4, PlannerConfig(utc_offset_s=s)) for s in (0.0, 6 * 3600.0))
    for wear, start in ((here, 18 * 3600.0), (there, 12 * 3600.0)):
        for minute in range(30):
            wear.see(start + 60.0 * minute, np.zeros(4, np.int8), 25.0)
    assert there.load == here.load
    assert there.state()["begun"] == here.state()["begun"]


def test_old_data_make_switchings_cheaper_as_documented():
    ratio = priced(lag_min=8.0, wear_budget_per_day=1.0).price
    ratio /= priced(wear_budget_per_day=1.0).price
    assert ratio == pytest.approx(np.exp(-1.0))
    # Away from the budget at which it was fitted the elasticity counts as well.
    asked = priced(lag_min=8.0, wear_budget_per_day=3.0).price
    asked /= priced(wear_budget_per_day=3.0).price
    assert asked == pytest.approx(np.exp(-1.0) * 3.0 ** (-0.4 / 1.1))
    assert priced(lag_min=90.0).price == priced(lag_min=15.0).price


def test_few_that_can_be_moved_and_few_homes_as_documented():
    all_of_them, few = priced(50), priced(50, fixed=range(10, 50))
    assert few.price / all_of_them.price == pytest.approx(5.0 ** (0.4 / 1.1))
    ratio = -np.expm1(-4 / 18) / -np.expm1(-50 / 18)
    # In loads: many homes show what they draw sooner.
    few, many = priced(4), all_of_them
    assert few.price / few.load / (many.price / many.load) == pytest.approx(ratio)


def test_old_days_fade_and_a_gap_is_no_long_day():
    wear, x = priced(10), np.zeros(10, np.int8)
    before = wear.state()["demand"][0]
    for hour in range(1, 24 * 15):
        wear.see(3600.0 * hour, x, 100.0)
    assert wear.load == pytest.approx(100.0, rel=0.05)
    assert wear.state()["demand"][0] == pytest.approx(before * np.exp(-15 / 2.5), rel=0.05)
    for hour in range(24 * 15, 24 * 30):
        wear.see(3600.0 * hour, x, 4.0)
    assert 4.0 < wear.load < 8.0
    wear.see(86400.0 * 60, x, 1000.0)
    assert wear.load < 30.0


@pytest.mark.parametrize(("long", "then"), [(0, 2), (4, 0)])
def test_weeks_that_no_price_could_change_are_got_over(long, then):
    """No relay answers, or overloads force switchings, for 60 days; then it is over.

    long, then: switchings of each of 10 homes per day, where the budget is one.
    """
    wear, x = priced(10, wear_budget_per_day=1.0), np.zeros(10, np.int8)
    for day in range(75):
        for hour in range(24):
            if hour < (long if day < 60 else then):
                x = (x + 1) % 3
            wear.see(86400.0 * day + 3600.0 * (hour + 1), x.astype(np.int8), 25.0)
        if day == 59:
            assert wear.demand < 0.2 if long == 0 else wear.demand > 4.0
    assert wear.demand > 1.0 if long == 0 else wear.demand < 1.0
    other = Wear(10, PlannerConfig(wear_budget_per_day=1.0))
    other.load_state(wear.state())
    assert other.price == wear.price
