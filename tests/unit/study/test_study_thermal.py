"""IEC 60076-7: values worked out by hand from the standard's equations."""

import numpy as np
import pytest

from pbal_tools.study.thermal import ageing, ageing_rate, hot_spot


def test_rated_load_at_20_degrees_is_98_degrees_and_ages_normally() -> None:
    oil, hot = hot_spot(np.ones(10), np.ones(10), 60, 20.0)
    assert oil == pytest.approx([75.0] * 10)
    assert hot == pytest.approx([98.0] * 10)
    done, _ = ageing(np.full((1440, 3), 100.0), 100.0, 60, 20.0)
    assert done.life_used_h == pytest.approx(24.0)
    assert done.relative_rate == pytest.approx(1.0)


def test_no_load_leaves_the_iron_losses() -> None:
    """(1 / (1 + 5)) ^ 0.8 * 55 K = 13.117 K."""
    oil, hot = hot_spot(np.zeros(3), np.zeros(3), 60, 10.0)
    assert oil[0] == pytest.approx(10 + 13.117, abs=0.001)
    assert hot == pytest.approx(oil)


def test_step_response_has_the_two_time_constants() -> None:
    """From no load to K = 1.2: oil 63.2 % after 180 min, winding 63.2 % after 2 * 4 = 8 min."""
    load = np.full(721, 1.2)
    load[0] = 0.0
    oil, hot = hot_spot(load, load, 60, 0.0)
    first, last = 13.117, ((1 + 1.44 * 5) / 6) ** 0.8 * 55
    assert oil[180] == pytest.approx(first + (last - first) * (1 - np.exp(-1)), abs=0.01)
    gradient = 23 * 1.2**1.6
    assert (hot - oil)[8] == pytest.approx(gradient * (1 - np.exp(-1)), abs=0.01)
    assert hot[-1] == pytest.approx(last + gradient, abs=1.5)


def test_step_length_does_not_change_the_result() -> None:
    load = np.repeat([0.3, 1.1, 0.6], 120).astype(float)
    _, fine = hot_spot(load, load, 60, 15.0)
    _, coarse = hot_spot(load[::30], load[::30], 1800, 15.0)
    assert coarse[1:] == pytest.approx(fine[30 + 29 :: 30][: len(coarse) - 1], abs=0.6)


def test_ageing_doubles_every_six_kelvin() -> None:
    assert ageing_rate(np.array([92.0, 98, 104, 110])) == pytest.approx([0.5, 1, 2, 4])


def test_unequal_phases_are_hotter_than_equal_ones_of_the_same_sum() -> None:
    equal, _ = ageing(np.full((600, 3), 100.0), 100.0, 60, 20.0)
    uneven, _ = ageing(np.tile([160.0, 90.0, 50.0], (600, 1)), 100.0, 60, 20.0)
    assert uneven.peak_hot_spot_c > equal.peak_hot_spot_c + 20
    assert uneven.peak_load == pytest.approx(1.6)
