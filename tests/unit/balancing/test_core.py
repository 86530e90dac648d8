"""The core and its NumPy reference: the same tests on both, against plain enumeration."""

import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pbal_controller.balancing import _core, neutral_current, phase_currents, reference


class Instance:
    """A small random street, with everything a solve may be asked to respect."""

    def __init__(self, seed, n, scenarios=3, resistance=False, fixed=0.2, stale=0.1):
        rng = np.random.default_rng(seed)
        self.n = n
        self.currents = rng.gamma(0.6, 8.0, (scenarios, n)) * np.exp(
            1j * rng.normal(-0.2, 0.4, (scenarios, n))
        )
        self.currents[:, rng.random(n) < stale] = 0.0
        self.weights = rng.random(scenarios)
        self.phases = rng.integers(0, 3, n).astype(np.int8)
        self.price = np.repeat(rng.uniform(0, 60, (n, 1)), 3, axis=1)
        self.price[rng.random(n) < fixed] = np.inf
        self.price[np.arange(n), self.phases] = 0.0
        self.beta = 1.0
        self.resistance = None
        if resistance:
            self.beta = 0.07
            where = np.sort(rng.random(n))
            own = np.minimum.outer(where, where)  # shared length of a radial feeder
            self.resistance = np.stack((own, 0.2 * own, 0.2 * own), axis=2)

    def objective(self, x):
        """The definition, with no Gram: sum_s w i^H R i + beta |I_N|^2, plus prices."""
        total = self.price[np.arange(self.n), x].sum()
        for w, amps in zip(self.weights, self.currents, strict=True):
            total += w * self.beta * abs(neutral_current(amps, x)) ** 2
            if self.resistance is not None:
                turned = amps * np.exp(-2j * np.pi / 3 * x)
                for h, g in itertools.product(range(self.n), repeat=2):
                    ohm = self.resistance[h, g, (x[h] - x[g]) % 3]
                    total += w * ohm * (turned[h].conj() * turned[g]).real
        return total

    def assignments(self, max_moves=None):
        for x in itertools.product(range(3), repeat=self.n):
            y = np.array(x, np.int8)
            if not np.isfinite(self.price[np.arange(self.n), y]).all():
                continue
            if max_moves is None or (y != self.phases).sum() <= max_moves:
                yield y


seeds = st.integers(0, 10**6)


def quick(examples):
    # Two classes run each mixin test on purpose: one per implementation.
    allowed = [HealthCheck.differing_executors, HealthCheck.too_slow]
    return settings(max_examples=examples, deadline=None, suppress_health_check=allowed)


class CoreTests:
    """Runs on whatever module `core` is."""

    core = None

    def gram(self, i):
        return self.core.build_gram(i.currents, i.weights, i.beta, i.resistance)

    @given(seeds, st.integers(1, 6), st.booleans())
    @quick(25)
    def test_cost_is_the_definition(self, seed, n, resistance):
        i = Instance(seed, n, resistance=resistance)
        x = np.random.default_rng(seed + 1).integers(0, 3, n)
        i.price[:] = np.where(np.isfinite(i.price), i.price, 7.0)
        assert self.core.cost(self.gram(i), x.astype(np.int8), i.price) == pytest.approx(
            i.objective(x), rel=1e-9, abs=1e-9
        )

    @given(seeds, st.integers(1, 6), st.booleans())
    @quick(25)
    def test_field_differences_are_move_gains(self, seed, n, resistance):
        i = Instance(seed, n, resistance=resistance, fixed=0)
        gram = self.gram(i)
        field = self.core.fields(gram, i.phases)
        for h, q in itertools.product(range(n), range(3)):
            y = i.phases.copy()
            y[h] = q
            delta = 2 * (field[h, q] - field[h, i.phases[h]])
            delta += i.price[h, q] - i.price[h, i.phases[h]]
            assert delta == pytest.approx(
                i.objective(y) - i.objective(i.phases), rel=1e-8, abs=1e-8
            )

    def test_fields_of_some_homes_are_those_of_all(self):
        i = Instance(3, 9, resistance=True)
        gram = self.gram(i)
        some = [7, 0, 7, 3]
        assert (
            self.core.fields(gram, i.phases, some) == self.core.fields(gram, i.phases)[some]
        ).all()
        assert self.core.fields(gram, i.phases, []).shape == (0, 3)

    @given(seeds, st.integers(1, 5), st.booleans())
    @quick(20)
    def test_search_with_restarts_finds_the_optimum(self, seed, n, resistance):
        i = Instance(seed, n, resistance=resistance)
        x, before, after, _ = self.core.solve(self.gram(i), i.phases, i.price, restarts=30, seed=3)
        best = min(i.objective(y) for y in i.assignments())
        assert before == pytest.approx(i.objective(i.phases), rel=1e-9, abs=1e-9)
        assert after == pytest.approx(i.objective(x), rel=1e-9, abs=1e-9)
        assert after == pytest.approx(best, rel=1e-6, abs=1e-6)

    @given(seeds, st.integers(1, 5), st.integers(1, 3), st.booleans())
    @quick(25)
    def test_best_of_k_is_the_optimum(self, seed, n, k, resistance):
        i = Instance(seed, n, resistance=resistance)
        x, before, after = self.core.best_of(self.gram(i), i.phases, i.price, k)
        best = min(i.objective(y) for y in i.assignments(max_moves=k))
        assert (x != i.phases).sum() <= k
        assert before == pytest.approx(i.objective(i.phases), rel=1e-9, abs=1e-9)
        assert after == pytest.approx(i.objective(x), rel=1e-9, abs=1e-9)
        assert after == pytest.approx(best, rel=1e-7, abs=1e-7)

    @pytest.mark.parametrize("block", range(4))
    def test_no_constraint_is_ever_broken(self, block):
        for seed in range(60 * block, 60 * block + 60):
            rng = np.random.default_rng(seed)
            n, max_moves = int(rng.integers(3, 8)), int(rng.integers(0, 5))
            i = Instance(seed, n, fixed=0.3)
            # One phase is weak: balance alone would load it like the others.
            limits = np.roll([rng.uniform(2, 30), 1e3, 1e3], seed)
            args = {"limit_currents": i.currents[:1], "limits_a": limits}
            gram = self.gram(i)
            results = [
                self.core.solve(gram, i.phases, i.price, max_moves=max_moves, restarts=1, **args)[0]
            ]
            if 1 <= max_moves <= 3:
                results.append(self.core.best_of(gram, i.phases, i.price, max_moves, **args)[0])
            before = self.excess(i, i.phases, limits)
            for x in results:
                assert (x != i.phases).sum() <= max_moves
                assert np.isfinite(i.price[np.arange(n), x]).all()
                assert self.excess(i, x, limits) <= before * (1 + 1e-9) + 1e-9

    def test_limits_hold_in_every_row_of_currents(self):
        """Two sets of currents, as of now and of later: what helps one may not harm the other."""
        for seed in range(25):
            i = Instance(seed, 4, fixed=0)
            limits = np.random.default_rng(seed).uniform(2, 25, 3)
            args = {"limit_currents": i.currents[:2], "limits_a": limits}
            gram = self.core.build_gram(i.currents[2:], [1.0])
            price = np.zeros((4, 3))
            found = [
                self.core.solve(gram, i.phases, price, restarts=1, **args)[0],
                self.core.best_of(gram, i.phases, price, 2, **args)[0],
            ]
            for x in found:
                over = [
                    (
                        np.maximum(np.abs(phase_currents(i.currents[:2], y)) ** 2 - limits**2, 0)
                    ).sum()
                    for y in (i.phases, x)
                ]
                assert over[1] <= over[0] * (1 + 1e-9) + 1e-9

    @staticmethod
    def excess(i, x, limits):
        sums = [abs(i.currents[0, x == q].sum()) ** 2 - limits[q] ** 2 for q in range(3)]
        return sum(max(s, 0.0) for s in sums)

    def test_overload_is_relieved_at_any_price(self):
        currents = np.full((1, 6), 10.0 + 0j)
        price = np.full((6, 3), 1e6)
        price[:, 0] = 0.0
        x, *_ = self.core.solve(
            self.core.build_gram(currents, [1.0]), np.zeros(6, np.int8), price,
            limit_currents=currents, limits_a=25.0, restarts=2,
        )  # fmt: skip
        assert max(np.bincount(x, minlength=3)) == 2

    def test_empty_street(self):
        gram = self.core.build_gram(np.zeros((2, 0)), [1, 1])
        x, before, after, kicks = self.core.solve(gram, np.zeros(0, np.int8), np.zeros((0, 3)))
        assert (len(x), before, after, kicks) == (0, 0.0, 0.0, 0)

    @pytest.mark.parametrize("weights", [[1.0], [1.0, 2.0], [[1.0, 2.0, 3.0]]])
    def test_one_weight_a_scenario(self, weights):
        with pytest.raises(ValueError, match="weights"):
            self.core.build_gram(np.ones((3, 2)), weights)

    def test_same_seed_same_answer(self):
        i = Instance(5, 7)
        runs = [self.core.solve(self.gram(i), i.phases, i.price, restarts=4, seed=9) for _ in "ab"]
        assert (runs[0][0] == runs[1][0]).all()

    @pytest.mark.parametrize(
        ("phases", "price", "message"),
        [
            (np.array([0, 3]), np.zeros((2, 3)), "0, 1 or 2"),
            (np.array([0, 1]), np.zeros((2, 2)), "price"),
            (np.array([0, 1]), np.full((2, 3), np.inf), "staying"),
        ],
    )
    def test_bad_input_is_refused(self, phases, price, message):
        gram = self.core.build_gram(np.ones((1, 2)), [1.0])
        with pytest.raises(ValueError, match=message):
            self.core.solve(gram, phases.astype(np.int8), price)


class TestCython(CoreTests):
    core = _core

    @given(seeds, st.integers(10, 60), st.booleans())
    @quick(30)
    def test_agrees_with_the_reference_on_larger_streets(self, seed, n, resistance):
        i = Instance(seed, n, resistance=resistance)
        gram = self.gram(i)
        assert np.allclose(
            gram, reference.build_gram(i.currents, i.weights, i.beta, i.resistance), atol=1e-9
        )
        x, _, after, _ = _core.solve(gram, i.phases, i.price, restarts=5, seed=seed)
        assert after == pytest.approx(reference.cost(gram, x, i.price), rel=1e-9)
        assert np.allclose(_core.fields(gram, x), reference.fields(gram, x))

    @given(seeds, st.integers(2, 40), st.sampled_from([-1, 2, 6]), st.booleans())
    @quick(25)
    def test_what_it_goes_back_to_is_what_it_kept(self, seed, n, max_moves, resistance):
        """After many kicks the cost it reports is that of the phases it returns."""
        i = Instance(seed, n, resistance=resistance)
        gram = self.gram(i)
        limits = 0.9 * np.abs(phase_currents(i.currents[0], i.phases)) + 1.0
        x, _, after, kicks = _core.solve(
            gram, i.phases, i.price, restarts=200, max_moves=max_moves, seed=seed,
            limit_currents=i.currents[:1], limits_a=limits,
        )  # fmt: skip
        assert kicks == 200
        assert after == pytest.approx(_core.cost(gram, x, i.price), rel=1e-9, abs=1e-7)
        assert max_moves < 0 or (x != i.phases).sum() <= max_moves
        assert self.excess(i, x, limits) <= self.excess(i, i.phases, limits) * (1 + 1e-9) + 1e-9

    def test_three_at_once_reach_what_descent_cannot(self):
        # Where the tables of the design were measured: at most three moves, no price.
        worse = 0
        for seed in range(20):
            rng = np.random.default_rng(seed)
            amps = rng.gamma(0.6, 6.0, (1, 40)) + 0j
            phases = rng.integers(0, 3, 40).astype(np.int8)
            gram = _core.build_gram(amps, [1.0])
            exact = _core.best_of(gram, phases, np.zeros((40, 3)), 3)[2]
            local = _core.solve(gram, phases, np.zeros((40, 3)), max_moves=3, restarts=0)[2]
            assert exact <= local + 1e-6
            worse += local > 1.5 * exact
        assert worse >= 5


class TestReference(CoreTests):
    core = reference
