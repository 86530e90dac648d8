"""The best of at most three moves, against every one of them tried, with no Gram array.

What is tried is the definition: sum_s w_s |I_N,s|^2 plus prices, over all moves, pairs and
triples of moves that keep the phase limits.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pbal_controller.balancing import _core, neutral_current, phase_currents, reference

TURN = np.exp(-2j * np.pi / 3 * np.arange(3))


class Street:
    """currents complex[S, n] A, weights [S], phases [n], price [n, 3], limits [3] A or None."""

    def __init__(self, currents, weights=(1.0,), phases=None, price=0.0, fixed=(), limits=None):
        self.currents = np.atleast_2d(np.asarray(currents, complex))
        self.weights = np.asarray(weights, float)
        n = self.n = self.currents.shape[1]
        self.phases = np.asarray(np.zeros(n) if phases is None else phases, np.int8)
        self.price = np.full((n, 3), 0.0) + np.reshape(price, (-1, 1))
        self.price[list(fixed)] = np.inf
        self.price[np.arange(n), self.phases] = 0.0
        self.limits = limits

    def cost(self, x):
        square = np.abs(neutral_current(self.currents, x)) ** 2
        return float(self.weights @ square) + float(self.price[np.arange(self.n), x].sum())

    def excess(self, x):
        over = np.abs(phase_currents(self.currents[0], x)) ** 2 - np.square(self.limits)
        return float(np.maximum(over, 0.0).sum())

    def exact(self, k):
        gram = _core.build_gram(self.currents, self.weights)
        args = {}
        if self.limits is not None:
            args = {"limit_currents": self.currents[:1], "limits_a": self.limits}
        x, _, after = _core.best_of(gram, self.phases, self.price, k, **args)
        assert (x != self.phases).sum() <= k
        assert after == pytest.approx(self.cost(x), rel=1e-9, abs=1e-9 * self.cost(self.phases))
        return x

    def best(self, k):
        """The least cost that at most k <= 3 moves can reach."""
        home, to = np.nonzero(np.isfinite(self.price))
        here = to == self.phases[home]
        # "Stay" is a move like any other: it fills up the sets of fewer than k.
        home, to = np.append(home[~here], -1), np.append(to[~here], 0)
        m = len(home)
        amps, x = self.currents[:, home], self.phases[home]
        step = np.where(home < 0, 0.0, amps * (TURN[to] - TURN[x]))  # [S, m]
        price = np.where(home < 0, 0.0, self.price[home, to])
        neutral = neutral_current(self.currents, self.phases)
        sums = phase_currents(self.currents[0], self.phases)
        part = np.zeros((3, m), complex)  # what a move does to the phase sums
        part[to, np.arange(m)] += np.where(home < 0, 0.0, amps[0])
        part[x, np.arange(m)] -= np.where(home < 0, 0.0, amps[0])
        two = step[:, :, None] + step[:, None, :]
        cost2 = price[:, None] + price[None]
        clash2 = (home[:, None] == home[None]) & (home[:, None] >= 0)
        firsts = range(m) if k == 3 else [m - 1]
        if k < 2:
            clash2 = clash2 | (home[None] >= 0)
        least = np.inf
        for a in firsts:
            # The first of a triple is the one with the lowest number.
            rest = slice(a if k == 3 else 0, None)
            square = np.abs((neutral + step[:, a])[:, None, None] + two[:, rest, rest]) ** 2
            total = np.tensordot(self.weights, square, 1) + cost2[rest, rest] + price[a]
            own = ((home == home[a]) & (home >= 0))[rest]
            bad = clash2[rest, rest] | own[None] | own[:, None]
            if self.limits is not None:
                after = (sums + part[:, a])[:, None, None] + (
                    part[:, rest, None] + part[:, None, rest]
                )
                over = np.abs(after) ** 2 - np.square(self.limits)[:, None, None]
                excess = np.maximum(over, 0.0).sum(axis=0)
                bad = bad | (excess > self.excess(self.phases) * (1 + 1e-12))
            least = min(least, total[~bad].min(initial=np.inf))
        return least


def assert_optimal(street, k):
    x = street.exact(k)
    best = street.best(k)
    assert street.cost(x) == pytest.approx(best, rel=1e-7, abs=1e-9 * street.cost(street.phases))
    if street.limits is not None:
        assert street.excess(x) <= street.excess(street.phases) * (1 + 1e-9) + 1e-9


@given(
    st.integers(0, 10**6), st.integers(1, 24), st.integers(1, 3), st.integers(1, 4),
    st.sampled_from([0.0, 5.0, 60.0]), st.booleans(), st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_best_of_k_on_any_street(seed, n, k, scenarios, price, limited, solar):
    rng = np.random.default_rng(seed)
    amps = rng.gamma(0.6, 8.0, (scenarios, n)) * np.exp(1j * rng.normal(-0.2, 0.4, (scenarios, n)))
    if solar:
        amps *= rng.choice([-1.0, 1.0], (scenarios, n))
    phases = rng.integers(0, 3, n)
    limits = None
    if limited:
        # About what flows: some phases are over their limit, some just under.
        limits = np.abs(phase_currents(amps[0], phases)) * rng.uniform(0.8, 1.3, 3) + 0.1
    street = Street(amps, rng.random(scenarios), phases, price * rng.random(n),
                    np.flatnonzero(rng.random(n) < 0.2), limits)  # fmt: skip
    assert_optimal(street, k)


def _hidden(rng, n):
    """Three homes among n put the neutral at nothing; no one move or pair comes near."""
    x = rng.integers(0, 3, n)
    amps = rng.gamma(0.6, 6.0, n) + 0j
    moved = rng.choice(n, 3, replace=False)
    y = x.copy()
    y[moved] = (y[moved] + rng.integers(1, 3, 3)) % 3
    balance = np.setdiff1d(np.arange(n), moved)[0]
    amps[balance] -= neutral_current(amps, y) / TURN[y[balance]]
    return amps, x


def _adversary(name, n, rng):
    one = np.ones(n)
    if name == "random":
        return Street(rng.gamma(0.6, 6.0, n) * np.exp(-1j * rng.uniform(0, 0.5, n)),
                      phases=rng.integers(0, 3, n))  # fmt: skip
    if name == "a triple that ends at nothing":
        return Street(*(lambda a, x: (a, (1.0,), x))(*_hidden(rng, n)))
    if name == "all alike":
        return Street(7.0 * one, phases=rng.integers(0, 3, n))
    if name == "all alike on one phase":
        return Street(7.0 * one)
    if name == "doubling":
        return Street(2.0 ** (np.arange(n) % 24 - 12), phases=rng.integers(0, 3, n))
    if name == "one giant among dust":
        amps = 1e-3 * rng.random(n)
        amps[n // 2] = 400.0
        return Street(amps, phases=rng.integers(0, 3, n))
    if name == "feeding in and drawing":
        return Street(np.where(np.arange(n) % 2, -1, 1) * rng.uniform(9, 11, n),
                      phases=rng.integers(0, 3, n))  # fmt: skip
    if name == "no power factor alike":
        return Street(10.0 * np.exp(2j * np.pi * rng.random(n)), phases=rng.integers(0, 3, n))
    if name == "prices at what moves gain":
        amps = rng.gamma(0.6, 6.0, n) + 0j
        x = rng.integers(0, 3, n)
        gram = _core.build_gram(amps[None], [1.0])
        field = _core.fields(gram, x.astype(np.int8))
        gain = 2 * (field[np.arange(n), x] - field.min(axis=1))
        return Street(amps, phases=x, price=np.maximum(gain, 0.1) * rng.uniform(0.9, 1.1, n))
    if name == "noon against evening":
        day = rng.gamma(0.6, 6.0, n)
        return Street([day, -day[::-1]], (0.5, 0.5), rng.integers(0, 3, n), 3.0)
    if name == "limits, prices, fixed homes, three scenarios":
        amps = rng.gamma(0.6, 6.0, (3, n)) * np.exp(-1j * rng.uniform(0, 0.5, (3, n)))
        x = rng.integers(0, 3, n)
        limits = np.abs(phase_currents(amps[0], x)) * [0.97, 1.005, 1.02]
        return Street(amps, (0.5, 0.3, 0.2), x, 20.0 * rng.random(n), range(0, n, 9), limits)
    raise AssertionError(name)


ADVERSARIES = [
    "random", "a triple that ends at nothing", "all alike", "all alike on one phase", "doubling",
    "one giant among dust", "feeding in and drawing", "no power factor alike",
    "prices at what moves gain", "noon against evening",
    "limits, prices, fixed homes, three scenarios",
]  # fmt: skip


@pytest.mark.parametrize("name", ADVERSARIES)
@pytest.mark.parametrize("n", [30, 75])
def test_best_of_three_on_awkward_streets(name, n):
    for seed in range(3):
        assert_optimal(_adversary(name, n, np.random.default_rng((seed, n))), 3)


@pytest.mark.parametrize("name", [ADVERSARIES[k] for k in (0, 1, 8, 10)])
def test_best_of_three_at_200_homes(name):
    assert_optimal(_adversary(name, 200, np.random.default_rng(7)), 3)


@given(st.integers(0, 10**6), st.integers(3, 9), st.integers(1, 3))
@settings(max_examples=25, deadline=None)
def test_with_a_feeder_the_reference_agrees(seed, n, k):
    rng = np.random.default_rng(seed)
    amps = rng.gamma(0.6, 8.0, (2, n)) * np.exp(-1j * rng.uniform(0, 0.5, (2, n)))
    where = np.sort(rng.random(n))
    own = np.minimum.outer(where, where)
    ohm = np.stack((own, 0.2 * own, 0.2 * own), axis=2)
    phases = rng.integers(0, 3, n).astype(np.int8)
    price = np.repeat(rng.uniform(0, 4, (n, 1)), 3, axis=1)
    price[np.arange(n), phases] = 0.0
    limits = np.abs(phase_currents(amps[0], phases)) * rng.uniform(0.9, 1.2, 3) + 0.1
    args = {"limit_currents": amps[:1], "limits_a": limits}
    gram = _core.build_gram(amps, [0.7, 0.3], 0.07, ohm)
    ours = _core.best_of(gram, phases, price, k, **args)
    theirs = reference.best_of(gram, phases, price, k, **args)
    assert ours[2] == pytest.approx(theirs[2], rel=1e-9, abs=1e-9)
