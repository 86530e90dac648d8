"""A search told how long it may take takes no longer, and without being told is repeatable."""

import time

import numpy as np
import pytest

from pbal_controller.balancing import _core


def slow_street(n=700, seed=3):
    """With a feeder model no pair can be ruled out beforehand: each pass looks at all of them."""
    rng = np.random.default_rng(seed)
    amps = rng.gamma(0.6, 8.0, (1, n)) * np.exp(-1j * rng.uniform(0, 0.5, (1, n)))
    where = rng.random(n)
    own = np.minimum.outer(where, where)
    gram = _core.build_gram(amps, [1.0], 0.07, np.stack((own, 0.2 * own, 0.2 * own), axis=2))
    return gram, rng.integers(0, 3, n).astype(np.int8), np.zeros((n, 3))


def cpu_s(work):
    """Processor time, which is at most the time on the clock, however busy the computer."""
    began = time.process_time()
    answer = work()
    return time.process_time() - began, answer


@pytest.mark.parametrize("max_moves", [3, 20, -1])
def test_the_time_limit_holds_while_it_descends(max_moves):
    street = slow_street()
    whole_s, best = cpu_s(lambda: _core.solve(*street, max_moves=max_moves, restarts=0))
    # The first look at the whole array is not cut short.
    look_s = max(cpu_s(lambda: _core.fields(*street[:2]))[0] for _ in range(3))
    limit_s = whole_s / 5
    spent_s, cut = cpu_s(lambda: _core.solve(*street, max_moves=max_moves, restarts=0,
                                             budget_s=limit_s))  # fmt: skip
    assert spent_s <= 1.1 * limit_s + 2 * look_s
    assert best[2] - 1e-6 <= cut[2] <= cut[1]
    assert max_moves < 0 or (cut[0] != street[1]).sum() <= max_moves
    assert cut[2] == pytest.approx(_core.cost(street[0], cut[0], street[2]), rel=1e-9)


@pytest.mark.parametrize("max_moves", [3, 20, -1])
def test_the_time_limit_holds_while_it_restarts(max_moves):
    street = slow_street(200)
    spent_s, found = cpu_s(
        lambda: _core.solve(*street, max_moves=max_moves, restarts=-1, budget_s=0.3)
    )
    assert spent_s <= 0.33
    assert found[3] > 0
    assert found[2] == pytest.approx(_core.cost(street[0], found[0], street[2]), rel=1e-9)


def test_no_time_at_all_changes_nothing():
    street = slow_street(50)
    x, before, after, kicks = _core.solve(*street, restarts=-1, budget_s=0.0)
    assert (x == street[1]).all()
    assert (before, kicks) == (after, 0)


def test_an_excess_is_brought_down_even_without_time():
    currents = np.full((1, 6), 10.0 + 0j)
    gram = _core.build_gram(currents, [1.0])
    x, *_ = _core.solve(gram, np.zeros(6, np.int8), np.zeros((6, 3)), limit_currents=currents,
                        limits_a=25.0, restarts=-1, budget_s=0.0)  # fmt: skip
    assert np.bincount(x, minlength=3).max() == 2


@pytest.mark.parametrize("max_moves", [3, 20, -1])
def test_with_restarts_alone_the_answer_is_the_seeds(max_moves):
    street = slow_street(120)
    runs = [_core.solve(*street, max_moves=max_moves, restarts=30, seed=5) for _ in range(2)]
    assert (runs[0][0] == runs[1][0]).all()
    assert runs[0][1:] == runs[1][1:]


def test_restarts_help_where_few_may_move():
    """A kick that may move nothing else has to put something back first."""
    better = 0
    for seed in range(8):
        gram, phases, price = slow_street(120, seed)
        none = _core.solve(gram, phases, price, max_moves=3, restarts=0)[2]
        some = _core.solve(gram, phases, price, max_moves=3, restarts=40)[2]
        exact = _core.best_of(gram, phases, price, 3)[2]
        assert exact <= some + 1e-9 <= none + 2e-9
        better += some < none - 1e-6
    assert better >= 3
