"""The bound on what any causal controller can save (bench/causal_bound.py)."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from bench.causal_bound import Day, day, least, settle
from pbal_controller.balancing import neutral_current
from pbal_controller.balancing.hindsight import hindsight


def _day(now: np.ndarray, ahead: np.ndarray, drawn: np.ndarray, start: list[int]) -> Day:
    return Day(now, ahead, drawn, np.array(start, np.int8))


def _least(made: Day, price: float, tau_min: float) -> float:
    return float(least(made, np.array([price]), tau_min)[0])


def test_without_a_charge_it_is_the_hindsight_optimum() -> None:
    rng = np.random.default_rng(3)
    now = rng.uniform(0, 10, (20, 3)) * (rng.random((20, 3)) < 0.6)
    made = _day(now, np.zeros((20, 8, 3)), np.zeros((20, 1, 8, 3)), [0, 0, 1])
    found = hindsight(now.astype(complex), made.start, 60.0)
    assert _least(made, 60.0, 0.0) == pytest.approx(found.cost, rel=1e-4)


def test_who_draws_what_comes_is_charged_nothing() -> None:
    made = day(3, 1, np.random.default_rng(5))
    made.drawn = made.ahead[:, None]
    assert _least(made, 500.0, 20.0) == pytest.approx(_least(made, 500.0, 0.0), rel=1e-4)


def test_a_charge_that_knows_the_law_leaves_what_a_causal_controller_can_do() -> None:
    # Two homes on one phase; the second minute is one of two, and nobody can know which.
    first, price = np.array([6.0, 4.0]), 110.0
    second = (np.array([6.0, 4.0]), np.array([0.0, 9.0]))

    def square(amps: np.ndarray, x: tuple[int, ...]) -> float:
        return float(abs(neutral_current(amps.astype(complex), np.array(x))) ** 2)

    def moved(x: tuple[int, ...], y: tuple[int, ...]) -> int:
        return sum(a != b for a, b in zip(x, y, strict=True))

    places = list(product(range(3), repeat=2))

    def then(x: tuple[int, ...], amps: np.ndarray) -> float:
        return min(price * moved(x, y) + square(amps, y) for y in places)

    causal = min(
        price * moved((0, 0), x) + square(first, x) + np.mean([then(x, a) for a in second])
        for x in places
    )
    known, told = [], []
    for amps in second:
        now = np.stack((first, amps))
        ahead = np.zeros((2, 8, 2))
        drawn = np.zeros((2, 2, 8, 2))
        ahead[1, 0] = amps
        drawn[1, :, 0] = second
        made = _day(now, ahead, drawn, [0, 0])
        known.append(_least(made, price, 0.0))
        told.append(_least(made, price, 1e5))
    assert np.mean(known) < causal - 1.0
    assert np.mean(told) == pytest.approx(causal, rel=1e-3)


def test_what_was_done_is_charged_as_every_other_path_is() -> None:
    made = day(3, 4, np.random.default_rng(7))
    price = np.array([400.0])
    stayed = np.broadcast_to(made.start, made.now.shape)
    least_net = least(made, price, 20.0, [stayed])[0]
    square = (np.abs(neutral_current(made.now.astype(complex), stayed)) ** 2).sum()
    # Both charged alike, the best path cannot be worse than the one that was taken.
    assert least_net <= square
    assert least_net != pytest.approx(least(made, price, 20.0)[0], rel=1e-6)


def test_settling_pays_once_for_each_home_that_moves() -> None:
    value = np.full(9, 100.0)
    value[4] = 1.0  # both homes on phase 1
    assert settle(value, 10.0, 2).tolist() == [21, 11, 21, 11, 1, 11, 21, 11, 21]


def test_draws_have_the_mean_of_what_comes() -> None:
    made = day(4, 24, np.random.default_rng(11))
    for k in (0, 3, 5):
        off = (made.ahead[:, k] - made.drawn[:, :, k].mean(axis=1)).sum(axis=1)
        assert abs(off.mean()) < 4 * off.std() / np.sqrt(len(off))
    assert np.allclose(made.ahead[:, 0], made.now)
