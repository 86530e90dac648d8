"""What the planner takes to come: steps, their lag, the recent past, what has no node."""

import numpy as np
import pytest

from pbal_controller.balancing import Planner, PlannerConfig


def fed(every_min, n=6, **config):
    """A planner that has been read every so many minutes for six hours."""
    planner = Planner(n, PlannerConfig(**config))
    amps, x = np.full(n, 10 + 0j), np.zeros(n, int)
    for t in range(0, 6 * 60 + 1, every_min):
        planner.observe(60.0 * t, amps)
        planner.decide(60.0 * t, x)
    return planner


def test_rare_readings_are_old_by_half_of_the_time_between_them():
    often, rare = fed(1, wear_budget_per_day=1.0), fed(15, wear_budget_per_day=1.0)
    assert rare.wear.demand == pytest.approx(often.wear.demand, rel=0.05)
    assert rare.wear.price / often.wear.price == pytest.approx(np.exp(-7 / 8), rel=0.1)


def test_a_load_that_comes_and_goes_counts_by_its_mean():
    """One of two homes on A is off in every second quarter of an hour, which is not forgotten."""
    planner = Planner(2, PlannerConfig(wear_budget_per_day=None, price=30.0))
    for minute in range(150):
        on = minute // 15 % 2 == 0
        planner.observe(60.0 * minute, np.array([10.0, 10.0 * on], complex))
    assert not on
    later = planner.outlook.scenarios(149 * 60.0, planner.outlook.homes.last, np.ones(2, bool))[0][
        :-1, 1
    ].real
    assert later[0] == 0.0
    assert 0.5 < later[-1] < 2.5  # up to a quarter of some five amperes
    # Where readings are rare, more of it.
    rare = [fed(15).outlook.recent_share(), fed(1).outlook.recent_share()]
    assert rare[0] == pytest.approx(1.6 * rare[1])


def test_a_step_that_goes_takes_its_share_of_reactive_current_along():
    planner = Planner(2, PlannerConfig(wear_budget_per_day=None, price=1.0))
    lag = np.exp(-0.6j)
    for minute, size in enumerate((0.5, 12.5)):
        planner.observe(60.0 * minute, np.array([size * lag, -3 + 2j]))
    now = planner.outlook.homes.last
    later = planner.outlook.scenarios(60.0, now, np.ones(2, bool))[0][:-1]  # the last is what lasts
    assert abs(later[-1, 0]) < 0.5 * abs(now[0])
    assert np.angle(later[:, 0]) == pytest.approx(-0.6)
    assert later[:, 1] == pytest.approx(now[1])


def test_the_simple_rule_weighs_the_last_half_hour_against_now():
    planner = Planner(1, PlannerConfig(predict=False))
    for minute in range(300):
        planner.observe(60.0 * minute, [20.0 if minute < 240 else 10.0 * (minute % 2)])
    amps, weights = planner.outlook.scenarios(
        299 * 60.0, planner.outlook.homes.last, np.ones(1, bool)
    )
    assert amps[:, 0] == pytest.approx([10.0, 5.0], abs=0.2)
    assert weights == pytest.approx([0.7, 0.3])


def test_what_has_no_node_counts_by_its_mean_as_well():
    planner = Planner(1, PlannerConfig())
    for minute in range(120):
        planner.observe(60.0 * minute, [1.0], rest=[20.0 * (minute % 2 == 0), 0, 0])
    known = np.ones(3, bool)
    _, ahead = planner.outlook.with_rest(
        planner.outlook.rest.last, known, np.ones(1, complex), np.ones((9, 1))
    )
    assert ahead[:-1, 1].real == pytest.approx(np.linspace(3.0, 7.0, 8), abs=1.2)
