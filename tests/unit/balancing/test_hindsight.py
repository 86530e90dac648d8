"""The yardstick: exact where enumeration can say so, and never worse than what it judges."""

import itertools

import numpy as np
import pytest

from bench._homes import street
from pbal_controller.balancing import neutral_current
from pbal_controller.balancing._paths import Street as Paths
from pbal_controller.balancing.hindsight import again, at_budget, hindsight


def objective(currents, start, paths, price):
    switchings = (np.diff(paths, axis=0) != 0).sum() + (paths[0] != start).sum()
    return (np.abs(neutral_current(currents, paths)) ** 2).sum() + price * switchings


@pytest.mark.parametrize("seed", range(6))
def test_equals_enumeration_on_small_streets(seed):
    rng = np.random.default_rng(seed)
    steps, n = 4, 2
    currents = rng.gamma(0.7, 8.0, (steps, n)) * np.exp(1j * rng.normal(0, 0.3, (steps, n)))
    start = rng.integers(0, 3, n)
    price = float(rng.uniform(5, 100))
    best = min(
        objective(currents, start, np.array(p).reshape(steps, n), price)
        for p in itertools.product(range(3), repeat=steps * n)
    )
    found = hindsight(currents, start, price, sweeps=40, seed=seed)
    assert found.cost == pytest.approx(objective(currents, start, found.paths, price))
    assert found.cost == pytest.approx(best, rel=1e-6)


def test_cost_and_switchings_are_those_of_the_paths():
    currents = street(10, 1, 3)[:600] / 230 + 0j
    start = np.arange(10) % 3
    found = hindsight(currents, start, 800.0, sweeps=20)
    assert found.cost == pytest.approx(objective(currents, start, found.paths, 800.0))
    changes = (np.diff(found.paths, axis=0) != 0).sum() + (found.paths[0] != start).sum()
    assert found.switchings == changes


def test_fixed_homes_stay_and_a_high_price_stops_everything():
    currents = street(8, 1, 3)[:400] / 230 + 0j
    start = np.arange(8) % 3
    movable = np.arange(8) >= 4
    found = hindsight(currents, start, 100.0, sweeps=10, movable=movable)
    assert (found.paths[:, :4] == start[:4]).all()
    assert hindsight(currents, start, 1e12, sweeps=10).switchings == 0


def test_budget_is_kept_and_used():
    currents = street(20, 1, 5) / 230 + 0j
    start = np.arange(20) % 3
    found = at_budget(currents, start, 2.0 / 1440, sweeps=20)
    assert 0.8 * 40 <= found.switchings <= 1.01 * 40
    before = np.abs(neutral_current(currents, start)).mean()
    assert np.abs(neutral_current(currents, found.paths)).mean() < 0.8 * before


def test_more_searches_are_never_dearer_and_keep_the_budget():
    currents = street(24, 1, 8) / 230 + 0j
    start = np.arange(24) % 3
    one = at_budget(currents, start, 2.0 / 1440, sweeps=4, tries=1)
    found = at_budget(currents, start, 2.0 / 1440, sweeps=4, tries=4)
    assert one.spread == 0.0
    assert found.price == one.price
    assert found.cost <= one.cost
    assert found.switchings <= 1.01 * 48
    free = again(currents, start, one, (0, 1e6), 3, sweeps=4, seed=1)
    assert free.cost <= one.cost
    assert free.spread > 0
    # Bounds that no other search keeps leave the first.
    kept = again(currents, start, one, (0, 1), 3, sweeps=4, seed=1)
    assert kept.cost == one.cost


def exact(currents, start, price):
    """The least cost there is: dynamic programming over all assignments at once."""
    steps, n = currents.shape
    states = np.array(list(itertools.product(range(3), repeat=n)), np.int8)
    away = price * (states[:, None] != states[None]).sum(axis=2)
    least = price * (states != start).sum(axis=1).astype(float)
    for t in range(steps):
        if t:
            least = (least[:, None] + away).min(axis=0)
        turned = currents[t] * np.exp(-2j * np.pi / 3 * states)
        least = least + np.abs(turned.sum(axis=1)) ** 2
    return least.min()


@pytest.mark.parametrize("seed", [1, 2])
def test_three_days_come_close_to_the_exact_optimum(seed):
    currents = street(5, 3, seed).reshape(-1, 5, 5).mean(axis=1) / 230 + 0j
    start = np.arange(5) % 3
    best = exact(currents, start, 400.0)
    assert best * (1 - 1e-9) <= hindsight(currents, start, 400.0, sweeps=25).cost < 1.01 * best


def test_more_homes_than_partners_still_have_pairs(monkeypatch):
    from pbal_controller.balancing import hindsight as module

    currents = street(12, 1, 4)[:700] / 230 + 0j
    start = np.arange(12) % 3
    free = np.arange(10)
    every = module._together(currents, free)
    assert every.sum() == 10 * 9
    monkeypatch.setattr(module, "PARTNERS", 3)
    some = module._together(currents, free)
    assert (some == some.T).all()
    assert not some[10:].any()
    assert (some[:10].sum(axis=1) >= 3).all()
    assert some.sum() < 10 * 9
    found = hindsight(currents, start, 500.0, sweeps=10)
    assert found.cost == pytest.approx(objective(currents, start, found.paths, 500.0))
    assert found.cost <= hindsight(currents, start, 500.0, sweeps=10, pairs=False).cost


@pytest.mark.parametrize("steps", [5, 8, 203])
def test_eight_pairs_at_once_find_what_four_do(steps):
    """Wherever 512-bit registers are not, both are the same; the last block of eight is a part."""
    rng = np.random.default_rng(steps)
    n = 15
    amps = rng.gamma(0.7, 8.0, (n, steps)) * np.exp(1j * rng.normal(0, 0.3, (n, steps)))
    start = rng.integers(0, 3, n).astype(np.int8)
    ways = []
    for wide in (False, True):
        paths = np.repeat(start[:, None], steps, axis=1)
        street = Paths(amps.real.copy(), amps.imag.copy(), paths, start, 1.0, 1, wide=wide)
        for h in range(n):
            street.pairs(h, np.arange(h), 60.0, 1e-6)
        ways.append((paths.copy(), street.total(60.0)))
        assert (paths != start[:, None]).any()
    assert (ways[0][0] == ways[1][0]).all()
    assert ways[0][1] == ways[1][1]


@pytest.mark.parametrize("seed", range(3))
def test_two_homes_in_wide_registers_take_the_same_ways_in_a_tie(seed):
    """Loads of whole amperes, with pauses, cost the same on many ways: the same one is to be
    taken on every machine."""
    rng = np.random.default_rng(seed)
    n, steps = 6, 90
    amps = np.repeat(rng.integers(0, 4, (n, steps // 3)), 3, axis=1) * 4.0
    start = rng.integers(0, 3, n).astype(np.int8)
    ways = []
    for wide in (False, True):
        paths = np.repeat(start[:, None], steps, axis=1)
        street = Paths(amps, np.zeros((n, steps)), paths, start, 1.0, 1, wide=wide)
        for h, g in itertools.permutations(range(n), 2):
            street.two(h, g, 48.0)
        ways.append(paths)
    assert (ways[0] != start[:, None]).any()
    assert (ways[0] == ways[1]).all()
