"""The best causal controller of small streets (bench/causal_optimum.py)."""

from __future__ import annotations

import numpy as np
import pytest

from bench.causal_optimum import (
    EDGES,
    Street,
    _age,
    best,
    cuts,
    draw,
    expected,
    hindsight,
    number,
    worth,
)
from pbal_controller.balancing import neutral_current
from pbal_controller.balancing.persistence import AGES


def _street(*homes: tuple[float, float, float]) -> Street:
    """Homes that are off or on: what they draw, and the chances to come and to end."""
    chance = [[[1 - comes, comes], [ends, 1 - ends]] for _, comes, ends in homes]
    return Street(np.array(chance), np.array([[0.0, amps] for amps, _, _ in homes]))


def _paid(street: Street, lived: np.ndarray, paths: np.ndarray, start: np.ndarray) -> np.ndarray:
    square = (np.abs(neutral_current(street.drawn(lived), paths)) ** 2).mean()
    moves = (np.diff(paths, axis=0) != 0).sum() + (paths[0] != start).sum()
    return np.array((square, moves / len(lived)))


def test_states_and_places_count_alike_everywhere() -> None:
    street = draw(3, np.random.default_rng(1))
    states = street.states()
    assert (number(states.T, street.amps.shape[1]) == np.arange(states.shape[1])).all()
    place, state = np.array([2, 0, 1]), np.array([1, 0, 3])
    found = street.squares()[number(place, 3), number(state, street.amps.shape[1])]
    meant = abs(neutral_current(street.drawn(state[None]), place[None])[0]) ** 2
    assert found == pytest.approx(meant, rel=1e-5)


def test_the_next_minute_is_expected_home_by_home() -> None:
    street = draw(3, np.random.default_rng(2))
    value = np.random.default_rng(3).random((27, street.states().shape[1])).astype(np.float32)
    whole = np.ones((1, 1))
    for chance in street.chance:
        whole = np.kron(whole, chance)
    assert expected(value, street) == pytest.approx(value @ whole.T, rel=1e-4)


def test_two_homes_on_one_phase_are_told_apart_when_it_pays() -> None:
    # Both always on: apart, 10 A is left where 20 A was: 300 A^2 a minute, whatever one move costs.
    always = _street((10.0, 1.0, 0.0), (10.0, 1.0, 0.0))
    lived = np.ones((5, 2), np.int64)
    ahead, paid = worth(always, always.squares(), 1e5)
    paths = best(always, ahead, 290.0, lived, np.zeros(2, np.int8))
    assert paid == pytest.approx(100.0, rel=0.01)
    assert (paths[:, 0] != paths[:, 1]).all()
    # Knowing that there are five minutes, it pays up to 5 * 300.
    start = np.zeros(2, np.int8)
    assert hindsight(always, always.squares(), 1490.0, lived, start) == pytest.approx(1990.0)
    assert hindsight(always, always.squares(), 1510.0, lived, start) == pytest.approx(2000.0)


def test_it_pays_what_it_says_and_less_than_others() -> None:
    price = 400.0
    street = _street((9.0, 0.05, 0.2), (12.0, 0.02, 0.05), (20.0, 0.01, 0.02), (9.0, 0.1, 0.1))
    square = street.squares()
    lived = street.live(30_000, np.random.default_rng(4))
    start = np.array([0, 1, 2, 0], np.int8)

    def pays(ahead: np.ndarray, price_it_sees: float = price) -> float:
        paths = best(street, ahead, price_it_sees, lived, start)
        return float(_paid(street, lived, paths, start) @ (1, price))

    ahead, per_minute = worth(street, square, price)
    its = pays(ahead)
    assert its == pytest.approx(per_minute, rel=0.04)
    assert hindsight(street, square, price, lived, start) / len(lived) < its
    # One that looks at no more than the present minute.
    assert pays(square) > 1.05 * its
    # One that thinks switchings cheaper or dearer than they are.
    for wrong in (0.2 * price, 2.5 * price):
        assert pays(worth(street, square, wrong)[0], wrong) > its


def test_a_load_lasts_as_long_as_one_that_follows_the_table() -> None:
    row = np.linspace(0.3, 0.01, len(AGES))
    kept = np.cumprod(1 - row[np.searchsorted(AGES, np.arange(1500), side="right") - 1])
    there, mean = 1.0, 0.0
    for age in range(len(EDGES)):
        ends, on = _age(row, age)
        mean += there / (ends + on)
        there *= on / (ends + on)
    assert mean == pytest.approx(1.0 + kept[:-1].sum(), rel=1e-3)


def test_cuts_are_read_off_between_runs() -> None:
    # One home, a price of 1440 a switching is one per minute at one switching a day.
    prices = np.array([1440.0])
    rows = {"as built": [(100.0, 0.0)], "hindsight": [(37.0, 0.0)], "some": [(36.0, 2.0)]}
    found = cuts(rows, prices, 1.0, 1)
    assert found == pytest.approx({"hindsight": 1 - 6 / 10, "some": 1 - 37**0.5 / 10})
