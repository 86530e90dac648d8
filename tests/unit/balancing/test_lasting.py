"""The imbalance that lasts: means of hours, and what the planner makes of them."""

import numpy as np
import pytest

from pbal_controller.balancing import Planner, PlannerConfig, neutral_current
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
def test_a_lopsided_feeder_is_put_right_in_the_first_hours(step_min: int) -> None:
    """40 homes, 26 of them on one phase, by day: what each draws comes and goes."""
    rng = np.random.default_rng(step_min)
    n, step_s = 40, 60.0 * step_min
    x = np.array([0] * 26 + [1] * 8 + [2] * 6, np.int8)
    start = x.copy()
    planner = Planner(n, PlannerConfig(stale_s=3 * step_s))
    mean, built, left = rng.uniform(1.0, 3.0, n), [], []
    noon_s = 12 * 3600.0
    for k in range(round(4 * 3600 / step_s)):
        amps = (mean * rng.gamma(2.0, 0.5, n)).astype(complex)
        planner.observe(noon_s + k * step_s, amps)
        for move in planner.decide(noon_s + k * step_s, x):
            x[move.home] = move.to_phase
        built.append(abs(neutral_current(mean + 0j, start)))
        left.append(abs(neutral_current(mean + 0j, x)))
    assert left[-1] < 0.25 * built[-1]
    assert planner.wear.today(noon_s + 4 * 3600).sum() < 2 * n
