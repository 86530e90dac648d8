"""Moves that are better put off, against what waiting would really bring."""

import numpy as np
import pytest

from pbal_controller.balancing import Planner, PlannerConfig, _gains, neutral_current
from pbal_controller.balancing.persistence import WAYS, Persistence
from pbal_controller.balancing.waiting import lumped, put_off

RNG = np.random.default_rng(3)


@pytest.mark.parametrize("with_lines", [False, True])
def test_gain_is_the_difference_of_the_objective(with_lines):
    n = 6
    amps = RNG.gamma(0.6, 8.0, (4, 3, n)) * np.exp(-1j * RNG.uniform(0, 0.6, (4, 3, n)))
    x = RNG.integers(0, 3, n).astype(np.int8)
    own = np.minimum.outer(np.arange(1, n + 1), np.arange(1, n + 1)) / 20
    ohm = np.stack((own, 0.2 * own, 0.2 * own), axis=2) if with_lines else None

    def cost(phases):
        total = 0.07 * np.abs(neutral_current(amps, phases)) ** 2
        if ohm is not None:
            turned = amps * np.exp(-2j * np.pi / 3 * phases)
            for h in range(n):
                for g in range(n):
                    r = ohm[h, g, (phases[h] - phases[g]) % 3]
                    if h > g:
                        total = total + 2 * r * (turned[..., h].conj() * turned[..., g]).real
        return total

    def of(phases, homes, was, to):
        flat = amps.reshape(-1, n)
        return _gains.saved(0.07, ohm, flat, phases, homes, was, to).reshape(4, 3, -1)

    to = ((x + RNG.integers(1, 3, n)) % 3).astype(np.int8)
    homes = np.arange(n)
    at_once = of(x, homes, x, to)
    for home in homes:
        moved = x.copy()
        moved[home] = to[home]
        assert at_once[..., home] == pytest.approx(cost(x) - cost(moved))
        # Where the home itself stands in `phases` does not matter.
        one = homes[[home]]
        assert of(moved, one, x[one], to[one])[..., 0] == pytest.approx(at_once[..., home])


@pytest.mark.parametrize("with_lines", [False, True])
@pytest.mark.parametrize("n", [3, 40])
def test_what_is_put_off_is_by_the_rule(n, with_lines):
    """The compiled loop against the rule in NumPy, with many moves and few."""
    rng = np.random.default_rng(n)
    ways, m = 16, 5
    amps = rng.gamma(0.6, 8.0, (ways, m, n)) * np.exp(-1j * rng.uniform(0, 0.6, (ways, m, n)))
    soon, weights = amps.mean(axis=0)[:4], rng.uniform(0.05, 0.2, 9)
    ohm = rng.uniform(0.0, 0.1, (n, n, 3)) if with_lines else None
    start = rng.integers(0, 3, n).astype(np.int8)
    best = ((start + rng.integers(0, 3, n)) % 3).astype(np.int8)
    price = rng.uniform(0, 40, (n, 3))

    def gain(amps, x, left):
        flat = amps.reshape(-1, n)
        out = _gains.saved(1.0, ohm, flat, x, left, start[left], best[left])
        return out.reshape(*amps.shape[:-1], len(left))

    x, left, turns = best.copy(), np.flatnonzero(best != start), 0
    while left.size:
        worth = weights[4:] @ gain(amps, x, left)
        short = np.maximum(price[left, best[left]] - worth, 0.0).mean(axis=0)
        short -= weights[:4] @ gain(soon, x, left)
        many = np.count_nonzero(short > 0)
        if not many:
            break
        worst = left[np.argsort(-short)[: max(1, many // 4)]]
        x[worst] = start[worst]
        left, turns = np.setdiff1d(left, worst), turns + 1
    found = put_off(start, best, price, (soon, weights[:4]), (amps, weights[4:]), 1.0, ohm)
    assert (found == x).all()
    assert n == 3 or turns > 3


def wait(later_amps, price, meanwhile=10.0):
    """Two homes on A; home 0 may go to B. The later ways are the current of home 0."""
    start, best = np.array([0, 0], np.int8), np.array([1, 0], np.int8)
    prices = np.array([[0, price, price], [0, np.inf, np.inf]], float)
    now = np.array([[meanwhile, 10]], complex)
    later = np.stack([np.array([[a, 10]], complex) for a in later_amps])
    return put_off(
        start, best, prices, (now, np.array([0.3])), (later, np.array([0.7])), 1.0, None
    )[0]


def test_what_is_certain_is_not_waited_for():
    # Saves 3 * 10 * 10 = 300 a minute, in all (0.3 + 0.7) * 300, at any price below that.
    assert wait([10.0], 299.0) == 1
    assert wait([10.0], 301.0) == 0


def test_what_may_be_gone_is_waited_for_though_it_pays_on_average():
    # On average 0.3 * 300 + 0.7 * 150 = 195 is saved; but 90 is all that waiting loses, and in
    # one way of two it saves the whole price.
    assert wait([10.0, 10.0], 185.0) == 1
    assert wait([0.0, 10.0], 185.0) == 0
    assert wait([0.0, 10.0], 175.0) == 1


def test_the_ways_agree_with_the_forecast():
    tracker = Persistence(3)
    for minute, level in enumerate([[0.5, 0.5, 2.0], [9.5, 4.5, 2.0], [9.5, 20.0, 2.0]]):
        tracker.observe(60.0 * minute, np.array(level))
    rng = np.random.default_rng(1)
    ahead = [5.5, 11.5]
    ways = np.concatenate([tracker.sample(120.0, 4.0, ahead, rng) for _ in range(400)])
    assert len(ways) == 400 * WAYS
    assert ways.mean(axis=0) == pytest.approx(tracker.forecast(120.0, ahead), abs=0.3)
    assert np.ptp(ways[:, 0, 0]) > 5.0
    assert np.ptp(ways[:, 0, 2]) == 0.0  # no step is on there


def test_who_stays_counts_as_one_load():
    """The ways that `lumped` gives against those of all homes, each on its own."""
    n, ahead = 7, [5.5, 11.5, 30.0]
    tracker = Persistence(n)
    levels = RNG.gamma(0.6, 8.0, (12, n))
    levels[-1] = levels.max(axis=0) + 3.0  # each has a step that is on
    for minute, level in enumerate(levels):
        tracker.observe(60.0 * minute, level)
    phases = RNG.integers(0, 3, n).astype(np.int8)
    moves = np.isin(np.arange(n), (1, 4, 5))
    lean = 1.0 + 1j * RNG.normal(0, 0.3, (3, n))
    amps = levels[-1] * np.exp(1j * RNG.normal(0, 0.3, (3, n)))
    of_all = tracker.sample(660.0, 4.0, ahead, np.random.default_rng(2))
    of_all = amps + (of_all - levels[-1]) * lean
    chances = tracker.chances(660.0, 4.0, ahead, np.random.default_rng(2))
    assert len(set(chances[0]) & {1, 4, 5}) > 1
    ways = lumped(moves, phases, amps, lean, chances)
    assert ways.shape == (WAYS, 3, 4)
    assert ways[..., :-1] == pytest.approx(of_all[..., moves])
    stays = np.where(moves, -1, phases)
    assert ways[..., -1] == pytest.approx(neutral_current(of_all, stays))


def test_an_overload_is_not_waited_out():
    config = PlannerConfig(limits_a=25.0, price=1e9, wear_budget_per_day=None)
    planner = Planner(6, config)
    planner.observe(0.0, np.full(6, 0.5 + 0j))
    planner.observe(60.0, np.full(6, 10 + 0j))
    assert planner.decide(60.0, np.zeros(6, int))


def test_what_is_left_is_judged_anew_without_the_worst():
    """Two that would meet on B: neither pays while the other goes as well, one of them does."""
    prices = np.array([[0.0, 100.0, 100.0]] * 2)
    amps = np.full((1, 2), 10 + 0j)
    start, best = np.zeros(2, np.int8), np.ones(2, np.int8)
    weights = (np.array([0.3]), np.array([0.7]))
    x = put_off(start, best, prices, (amps, weights[0]), (amps[None], weights[1]), 1.0, None)
    assert sorted(x.tolist()) == [0, 1]


def test_no_part_of_a_swap_is_put_off_where_the_rest_would_break_a_limit(monkeypatch):
    amps = np.array([20, 6, 18, 1, 22], complex)
    x = np.array([0, 0, 1, 1, 2])
    limits = [26.5, 24.5, 24.0]  # either half of the swap alone is too much
    config = PlannerConfig(limits_a=limits, price=0.01, wear_budget_per_day=None, fixed=[0, 2, 4])

    def first_only(start, best, *_):
        y = start.copy()
        y[np.flatnonzero(best != start)[0]] = best[np.flatnonzero(best != start)[0]]
        return y

    monkeypatch.setattr("pbal_controller.balancing.planner.put_off", first_only)
    planner = Planner(5, config)
    planner.observe(0.0, amps)
    assert {(m.home, m.to_phase) for m in planner.decide(0.0, x)} == {(1, 1), (3, 0)}
