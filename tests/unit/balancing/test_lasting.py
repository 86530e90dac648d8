"""The imbalance that lasts: means of hours, and what the planner makes of them."""

import numpy as np
import pytest

from pbal_controller.balancing import Planner, PlannerConfig
from pbal_controller.balancing.lasting import Lasting

FLAT = np.ones(24)


def watched(lasting: Lasting, amps: np.ndarray, hours: float, start_s: float = 0.0) -> None:
    known = np.isfinite(amps)
    for k in range(round(hours * 60) + 1):
        lasting.observe(start_s + 60.0 * k, np.where(known, amps, 0), known, 12.0)


def test_at_first_every_load_is_an_average_one() -> None:
    lasting = Lasting(4, FLAT)
    assert (lasting.mean() == 0).all()
    watched(lasting, np.array([8.0, 0.0, 0.0, 0.0]) + 0j, 0.05)
    assert lasting.mean()[1:] == pytest.approx(np.full(3, 2.0), rel=0.03)
    watched(lasting, np.array([8.0, 0.0, 0.0, 0.0]) + 0j, 100.0, 3600.0)
    assert lasting.mean()[0] > 7.5
    assert abs(lasting.mean()[1]) < 0.2


def test_a_quiet_hour_is_not_taken_for_a_quiet_day() -> None:
    course = np.where(np.arange(24) < 6, 0.5, 7 / 6)
    night = Lasting(1, course)
    for k in range(241):
        night.observe(60.0 * k, np.array([1.0 + 0j]), np.array([True]), k / 60)
    assert night.mean()[0].real == pytest.approx(2.0)


def test_who_is_not_read_keeps_what_is_known() -> None:
    lasting = Lasting(2, FLAT)
    watched(lasting, np.array([5.0, 3.0]) + 0j, 30.0)
    before = lasting.mean()[1]
    watched(lasting, np.array([5.0, np.nan]) + 0j, 10.0, 40 * 3600.0)
    assert lasting.mean()[1] == pytest.approx(before, rel=0.05)


def test_what_is_kept_comes_back_and_damage_is_refused() -> None:
    lasting, other = Lasting(3, FLAT), Lasting(3, FLAT)
    watched(lasting, np.array([5.0, 3.0, 1.0]) + 1j, 3.0)
    other.load({k: v.tolist() for k, v in lasting.state().items()})
    assert other.mean() == pytest.approx(lasting.mean())
    for bad in ({"re": [1.0]}, {"hours": [1.0, -1.0, 0.0]}, {"im": [np.nan, 0, 0]}):
        with pytest.raises(ValueError, match="expected"):
            other.load({**lasting.state(), **bad})
    assert other.mean() == pytest.approx(lasting.mean())


@pytest.mark.parametrize("step_min", [1, 5, 15])
def test_what_lasts_is_worth_a_price_that_the_next_minutes_are_not(step_min: int) -> None:
    """30 homes of 1 A, 14 of them on A: a move saves 3 * (14 - 8 - 1) = 15 A^2 at first."""
    n, step_s = 30, 60.0 * step_min
    x = np.array([0] * 14 + [1] * 8 + [2] * 8, np.int8)
    for price, moves in ((18.0, True), (40.0, False)):
        config = PlannerConfig(price=price, wear_budget_per_day=None, stale_s=3 * step_s)
        planner = Planner(n, config)
        told: list[int] = []
        for k in range(round(2 * 3600 / step_s)):
            planner.observe(12 * 3600 + k * step_s, np.ones(n, complex))
            told += [m.from_phase for m in planner.decide(12 * 3600 + k * step_s, x)]
        assert bool(told) == moves
        assert set(told) <= {0}
