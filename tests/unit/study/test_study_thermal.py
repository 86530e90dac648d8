"""IEC 60076-7: values worked out by hand from the standard's equations."""

import numpy as np
import pytest

from pbal_study.run.thermal import ThermalModel, ageing, ageing_rate, hot_spot

# The worked example of IEC 60076-7, annex C: an ONAF transformer, a value every 3 minutes.
EXAMPLE = ThermalModel(
    winding_exponent=1.3, loss_ratio=8.0, top_oil_rise_k=45.0, hot_spot_rise_k=35.0,
    oil_minutes=150.0, winding_minutes=7.0, k11=0.5, k21=2.0, k22=2.0,
)  # fmt: skip
EXAMPLE_LOAD = [
    *(0.81, 0.87, 0.88, 0.86, 0.90, 0.92, 0.95, 0.96, 0.97, 1.00, 1.70, 1.70, 1.73, 1.72, 1.69),
    *(1.68, 1.71, 1.69, 1.67, 1.68, 1.63, 1.59, 1.53, 1.49, 1.41, 1.38, 1.32, 1.28, 1.21, 1.19),
    *(0.87, 0.88, 0.87, 0.86, 0.85, 0.87, 0.83, 0.86, 0.85, 0.82, 0.86),
]


def test_the_standards_example_begins_where_the_standard_says() -> None:
    """At a load of 0.81 and 30.3 degrees: top oil 63.9, hot spot 90.5 degrees."""
    oil, hot = hot_spot(np.array([0.81]), np.array([0.81]), 180, 30.3, EXAMPLE)
    assert oil[0] == pytest.approx(63.9, abs=0.05)
    assert hot[0] == pytest.approx(90.5, abs=0.05)


def test_the_standards_difference_equations_give_the_same() -> None:
    """Its equations (annex C) in steps of a tenth of a minute; ours in steps of three."""
    load, m, dt = np.repeat(EXAMPLE_LOAD, 30), EXAMPLE, 0.1

    def settled(k: float) -> tuple[float, float]:
        oil = ((1 + k * k * m.loss_ratio) / (1 + m.loss_ratio)) ** m.oil_exponent
        return oil * m.top_oil_rise_k, m.hot_spot_rise_k * k**m.winding_exponent

    oil, gradient = settled(load[0])
    one, two = m.k21 * gradient, (m.k21 - 1) * gradient
    said = []
    for k in load:
        oil_end, gradient = settled(float(k))
        oil += dt / (m.k11 * m.oil_minutes) * (oil_end - oil)
        one += dt / (m.k22 * m.winding_minutes) * (m.k21 * gradient - one)
        two += dt / (m.oil_minutes / m.k22) * ((m.k21 - 1) * gradient - two)
        said.append(30.0 + oil + one - two)
    _, ours = hot_spot(np.array(EXAMPLE_LOAD), np.array(EXAMPLE_LOAD), 180, 30.0, EXAMPLE)
    assert ours == pytest.approx(np.array(said)[29::30], abs=0.3)
    assert ours.max() > 140


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


def test_an_absurd_overload_still_gives_numbers() -> None:
    """--kva 1 on a street of a hundred: JSON knows no infinity."""
    found, hot = ageing(np.full((10, 3), 500.0), 1.4, 60, 20.0)
    assert hot.max() > 100_000
    assert np.isfinite(found.life_used_h)
    assert found.relative_rate > 1e80


def test_each_winding_ages_by_its_own_load_on_the_oil_of_all() -> None:
    """One phase heavy after the other: no winding ages as if it had carried all of it."""
    heavy, light = 140.0, 40.0
    turns = np.full((3 * 480, 3), light)
    for phase in range(3):
        turns[480 * phase : 480 * (phase + 1), phase] = heavy
    alone = np.tile([heavy, light, light], (3 * 480, 1))
    shared, hot = ageing(turns, 100.0, 60, 20.0)
    single, _ = ageing(alone, 100.0, 60, 20.0)
    assert shared.life_used_h < 0.5 * single.life_used_h
    # The oil is the same, so is the highest hot spot; and one winding's is what is returned.
    assert shared.peak_hot_spot_c == pytest.approx(single.peak_hot_spot_c, abs=1.0)
    assert hot.shape == (1440,)
    assert ageing_rate(hot).sum() / 60 == pytest.approx(shared.life_used_h)


def test_windings_side_by_side_are_those_alone() -> None:
    rng = np.random.default_rng(3)
    load = rng.uniform(0, 1.5, (300, 3))
    oil_load = np.sqrt((load**2).mean(axis=1))
    _, together = hot_spot(oil_load, load, 60, 20.0)
    for phase in range(3):
        _, one = hot_spot(oil_load, load[:, phase], 60, 20.0)
        assert together[:, phase] == pytest.approx(one)
