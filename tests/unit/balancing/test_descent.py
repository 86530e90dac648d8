"""What a search ends at: nothing within a pair of moves is better, and no rule was broken."""

import itertools

import numpy as np
import pytest

from pbal_controller.balancing import _core, phase_currents

HOMES = 9


def any_resistance(rng, n):
    """As asked for, R[h, g, d] = R[g, h, -d], but of no real feeder: neighbours share far more
    than each has, so that nothing a feeder's own form would bound is bounded."""
    ohm = rng.uniform(0, 2, (n, n, 3))
    turned = ohm.transpose(1, 0, 2)[:, :, [0, 2, 1]]
    ohm = np.where(np.tri(n, dtype=bool)[:, :, None], ohm, turned)
    ohm[np.arange(n), np.arange(n)] = 0.05
    return ohm


def one_or_two_moves(n):
    """By how many phases each home turns, int[m, n], for every way to turn one home or two."""
    turns = [t for t in itertools.product(range(3), repeat=2) if any(t)]
    found = {
        tuple(np.bincount(pair, turn, n).astype(int))
        for pair in itertools.combinations(range(n), 2)
        for turn in turns
    }
    return np.array(sorted(found))


def costs(gram, price, many):
    """The definition, for each row of many[m, n]: the Gram sum plus the prices."""
    home = np.arange(len(gram))
    apart = (many[:, :, None] - many[:, None, :]) % 3
    return gram[home[:, None], home, apart].sum(axis=(1, 2)) + price[home, many].sum(axis=1)


@pytest.mark.parametrize("restarts", [0, 40])
@pytest.mark.parametrize("kind", ["free", "priced", "few", "limited", "feeder", "all of it"])
def test_no_move_and_no_pair_is_better_than_where_it_ends(kind, restarts):
    home, moves = np.arange(HOMES), one_or_two_moves(HOMES)
    for seed in range(25):
        rng = np.random.default_rng(seed)
        amps = rng.gamma(0.6, 8.0, (2, HOMES)) * np.exp(1j * rng.normal(-0.2, 0.4, (2, HOMES)))
        start = rng.integers(0, 3, HOMES).astype(np.int8)
        price = np.zeros((HOMES, 3))
        if kind in ("priced", "all of it"):
            price += rng.uniform(0, 60, (HOMES, 1))
            price[rng.random(HOMES) < 0.2] = np.inf
            price[home, start] = 0.0
        most = int(rng.integers(1, 5)) if kind in ("few", "all of it") else HOMES
        limits = np.full(3, np.inf)
        if kind in ("limited", "all of it"):
            limits = np.abs(phase_currents(amps[0], start)) * rng.uniform(1.0, 1.2, 3) + 0.5
        ohm = any_resistance(rng, HOMES) if kind in ("feeder", "all of it") else None
        gram = _core.build_gram(amps, [0.7, 0.3], 0.1 if ohm is not None else 1.0, ohm)
        x, before, after, _ = _core.solve(
            gram, start, price, max_moves=most, limit_currents=amps[:1], limits_a=limits,
            restarts=restarts, seed=seed,
        )  # fmt: skip
        assert after == pytest.approx(costs(gram, price, x[None])[0], rel=1e-9, abs=1e-9)
        near = (x + moves) % 3
        sums = np.stack([(amps[0] * (near == q)).sum(axis=1) for q in range(3)], axis=1)
        open_ = ((near != start).sum(axis=1) <= most) & np.isfinite(price[home, near]).all(axis=1)
        open_ &= (np.abs(sums) <= limits * (1 - 1e-9)).all(axis=1)
        least = costs(gram, price, near[open_]).min(initial=np.inf)
        assert least >= after - 2e-9 * max(abs(before), 1.0)


@pytest.mark.parametrize("under", [1e-8, 1e-5])
@pytest.mark.parametrize("how", ["search", "exact"])
def test_a_gain_below_rounding_moves_nothing(how, under):
    # |10 + 4|^2 is 196, |10 + 4 a|^2 is 76; 1e-9 of the cost at the start counts as rounding.
    gram = _core.build_gram([[10.0, 4.0]], [1.0])
    price = np.array([[0.0, np.inf, np.inf], [0.0, 120.0 - under, 120.0 - under]])
    start = np.zeros(2, np.int8)
    if how == "search":
        x = _core.solve(gram, start, price, restarts=0)[0]
    else:
        x = _core.best_of(gram, start, price, 1)[0]
    assert (x[1] != 0) == (under > 1e-6)


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [1, 0, 3, 2]])
def test_the_move_that_takes_most_excess_away_comes_first(order):
    """One move is left, and one home alone can end the overload, at whatever price."""
    amps = np.array([[9.0, 2.0, 2.5, 3.0]])[:, order]
    price = np.array([[0.0, 1e4, 1e4], [0, 0, 0], [0, 0, 0], [0, 0, 0]])[order]
    x, *_ = _core.solve(
        _core.build_gram(amps, [1.0]), np.zeros(4, np.int8), price, max_moves=1,
        limit_currents=amps, limits_a=10.0, restarts=5,
    )  # fmt: skip
    assert np.flatnonzero(x).tolist() == [order.index(0)]


def test_a_kick_keeps_the_limits():
    """Balance is one kick away, and would break the limit of the third phase."""
    amps = np.full((1, 3), 10.0)
    gram = _core.build_gram(amps, [1.0])
    start = np.array([0, 0, 1], np.int8)
    for seed in range(5):
        x, *_ = _core.solve(gram, start, np.zeros((3, 3)), limit_currents=amps,
                            limits_a=[30.0, 30.0, 5.0], restarts=50, seed=seed)  # fmt: skip
        assert (x < 2).all()


def test_it_counts_anew_what_has_moved_whenever_it_goes_back():
    """Three homes gain much, but only together; a fourth always gains a little. At most three may
    move, so the three do. Many kicks end with the fourth alone, from where it goes back."""
    apart = [[1, -1, 0, 0], [1, 0, -1, 0], [0, 1, -1, 0]]  # costs 40 for each pair that parts
    gram = _core.build_gram(apart, [40 / 3] * 3)
    price = np.array([[0, -30, np.inf]] * 3 + [[0, -5, np.inf]])
    for seed in range(5):
        x, _, after, _ = _core.solve(
            gram, np.zeros(4, np.int8), price, max_moves=3, restarts=100, seed=seed
        )
        assert x.tolist() == [1, 1, 1, 0]
        assert after == pytest.approx(-90.0)
