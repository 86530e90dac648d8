"""Unbalance, 10-minute values, the weekly test and duration curves: known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pbal_study.feeder.model import A
from pbal_study.run.metrics import (
    duration_curve,
    pvur,
    sequence,
    ten_minute_rms,
    vuf,
    weekly_test,
)

BALANCED = 230 * np.array([1, A**2, A])


def test_balanced_voltages_have_no_unbalance() -> None:
    assert vuf(BALANCED) == pytest.approx(0, abs=1e-12)
    assert pvur(np.abs(BALANCED)) == pytest.approx(0, abs=1e-12)


@given(v2=st.floats(0, 20), angle=st.floats(0, 6.28), v0=st.floats(0, 20), turn=st.floats(0, 6.28))
def test_vuf_is_v2_over_v1_whatever_the_zero_sequence(
    v2: float, angle: float, v0: float, turn: float
) -> None:
    v = BALANCED + v2 * np.exp(1j * angle) * np.array([1, A, A**2]) + v0 * np.exp(1j * turn)
    assert vuf(v) == pytest.approx(v2 / 230, abs=1e-9)
    positive, negative = sequence(v)
    assert abs(positive) == pytest.approx(230)
    assert abs(negative) == pytest.approx(v2, abs=1e-9)


def test_pvur_by_hand() -> None:
    """Mean 220, the low phase is 20 below: 9.09 %."""
    assert pvur(np.array([230.0, 230.0, 200.0])) == pytest.approx(20 / 220)


def test_ten_minute_values_are_root_mean_squares() -> None:
    values = np.array([3.0] * 5 + [4.0] * 5 + [7.0] * 10 + [100.0] * 3)
    assert ten_minute_rms(values, 60) == pytest.approx([np.sqrt(12.5), 7.0])
    assert ten_minute_rms(values, 900) == pytest.approx(values)


@pytest.mark.parametrize(("bad", "passes"), [(50, True), (51, False)])
def test_a_week_passes_with_95_percent(bad: int, passes: bool) -> None:
    """1008 values in a week: 50 may be outside (95.04 %), 51 may not (94.94 %)."""
    within = np.ones((1008, 2), dtype=bool)
    within[:bad, 1] = False
    test = weekly_test(within, 60)
    assert test.passed is passes
    assert test.complete_weeks == 1
    assert test.sites_failed == (0 if passes else 1)


@pytest.mark.parametrize(("step", "values"), [(60, 1008), (240, 1260), (900, 672), (3600, 168)])
def test_a_week_is_a_week_at_any_step(step: int, values: int) -> None:
    """240 s: two steps make a value of eight minutes, 1260 of which are a week."""
    test = weekly_test(np.ones((2 * values, 1), dtype=bool), step)
    assert test.complete_weeks == 2
    assert len(test.share_within) == 2


def test_one_bad_week_is_not_hidden_by_good_ones() -> None:
    within = np.ones((4 * 1008 + 500, 1), dtype=bool)
    within[1008 : 1008 + 100] = False
    test = weekly_test(within, 60)
    assert within.mean() > 0.95
    assert not test.passed
    assert len(test.share_within) == 5
    assert test.complete_weeks == 4


def test_a_scrap_of_a_week_joins_the_last_one() -> None:
    within = np.ones((1008 + 10, 1), dtype=bool)
    within[1008:] = False
    assert weekly_test(within, 60).passed


def test_duration_curve_of_known_values() -> None:
    share, level = duration_curve(np.arange(101.0), points=5)
    assert list(share) == [0, 25, 50, 75, 100]
    assert level == pytest.approx([100, 75, 50, 25, 0])
