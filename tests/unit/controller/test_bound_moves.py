"""The bound on one word, move by move: what is let through, remembered and looked at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.virtual_street import VirtualStreet
from pbal_controller.balancing.phasors import TURN
from pbal_controller.config import PlausibilityConfig
from pbal_controller.moves import memory as planner_memory
from pbal_controller.plausibility import WordBound
from pbal_controller.plausibility import bound as bound_module
from pbal_controller.plausibility.bound import _ends, _farthest

from .test_bound import move


@pytest.mark.parametrize(("fuse", "taken"), [(25.0, 0), (32.0, 1)])
def test_a_move_that_hangs_on_one_word_may_unbalance_by_its_fuse(fuse, taken):
    """Home 0 says 40 A on A; the others are balanced, 26 A without each other's help."""
    bound = WordBound([fuse, 40.0, 40.0, 40.0])
    moves = bound.admit([move(1, 0, 1)], [0, 0, 1, 2], [40.0, 15.0, 15.0, 15.0])
    assert len(moves) == taken
    assert bound.held_back_total == 1 - taken


def test_balancing_without_the_word_is_free():
    """Homes that balance each other move however large a neutral current was before."""
    bound = WordBound(np.full(9, 25.0))
    moves = [move(h, 0, 1 + h % 2) for h in range(6)]
    assert len(bound.admit(moves, np.zeros(9, int), np.full(9, 10.0))) == 6


def test_what_is_unknown_or_open_counts_nothing():
    bound = WordBound(np.full(3, 10.0))
    amps = [complex(np.nan, np.nan), 300.0, 5.0]
    assert [m.home for m in bound.admit([move(2, 0, 1)], [0, -1, 0], amps)] == [2]


def test_a_claim_is_clamped_to_the_fuse_and_keeps_its_angle():
    amps = WordBound([10.0, 10.0, 10.0]).clamp([30 - 40j, 3 + 4j, complex(np.nan, np.nan)])
    assert amps[:2] == pytest.approx([6 - 8j, 3 + 4j])
    assert np.isnan(amps[2])


def test_the_memory_stays_small(monkeypatch):
    monkeypatch.setattr(bound_module, "KEEP", 50)
    bound = WordBound(np.full(3, 10.0))
    rng = np.random.default_rng(0)
    for _ in range(400):
        bound.admit([], rng.integers(-1, 3, 3), [1.0, 2.0, 3.0])
    assert len(bound._past) <= 50
    assert (bound._past >= -1).all()


@pytest.mark.parametrize(
    "past",
    [
        np.zeros((3, 9), np.int8),
        np.full((3, 4), 7, np.int8),
        np.zeros((3, 4)),
        np.zeros(4, np.int8),
    ],
    ids=["other homes", "no phases", "no numbers of phases", "one row"],
)
def test_a_memory_of_something_else_is_refused(past):
    with pytest.raises(ValueError, match="bound"):
        WordBound(np.full(4, 16.0)).load({"past": past})


def test_two_halves_of_an_unbalance_are_not_ordered_one_after_the_other():
    """Home 0 says 49 A on A; each move alone unbalances the others by 30 A, both by 60 A."""
    fuses, phases, amps = [49.0] * 5, [0, 0, 0, 1, 2], [49.0, 17.3, 17.3, 34.6, 34.6]
    assert len(WordBound(fuses).admit([move(1, 0, 1)], phases, amps)) == 1
    assert len(WordBound(fuses).admit([move(2, 0, 1)], phases, amps)) == 1
    assert WordBound(fuses).admit([move(2, 0, 1)], phases, amps, under_way={1: (0, 1)}) == []


def unbalanced_by_some(seed: int) -> float:
    """Most by which some, and not all, of the moves let through unbalance the others for a home,
    A above what may be."""
    rng = np.random.default_rng(seed)
    n = 12
    fuses = rng.choice([16.0, 25.0, 40.0], n)
    amps = rng.exponential(8, n).clip(0, fuses).astype(complex)
    x = rng.integers(0, 3, n).astype(np.int8)
    tries = [
        move(h, int(x[h]), int((x[h] + rng.integers(1, 3)) % 3)) for h in rng.permutation(n)[:8]
    ]
    taken = WordBound(fuses).admit(tries, x, amps)

    def others(y) -> np.ndarray:
        turned = amps * TURN[y]
        return np.abs(turned.sum() - turned)

    most = np.maximum(others(x), fuses)
    worst = -np.inf
    for bits in range(2 ** len(taken)):
        y = x.copy()
        for k, each in enumerate(taken):
            if bits >> k & 1:
                y[each.home] = each.to_phase
        worst = max(worst, (others(y) - most).max())
    return worst


def test_nor_when_nodes_refuse_some_moves_of_a_plan():
    assert max(unbalanced_by_some(seed) for seed in range(300)) <= 1e-5


def test_many_under_way_still_let_one_through():
    fuses, amps = np.full(30, 63.0), np.full(30, 3.0)
    x = np.zeros(30, np.int8)
    ways = dict.fromkeys(range(10), (0, 1))
    taken = WordBound(fuses).admit([move(h, 0, 2) for h in range(10, 20)], x, amps, under_way=ways)
    assert len(taken) >= 1
    assert len(WordBound(fuses).admit([move(h, 0, 2) for h in range(20)], x, amps)) == 6


@given(st.integers(0, 2**32 - 1), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_the_ends_looked_at_are_the_farthest(seed, k):
    """Of all 2^k ends none is farther from the origin, or from any point, than these."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 3, 9).astype(np.int8)
    current = rng.normal(0, 10, 9) + 1j * rng.normal(0, 10, 9)
    ways = {h: (int(x[h]), int((x[h] + rng.integers(1, 3)) % 3)) for h in range(k)}
    looked = _ends(x, current, ways)
    assert len(looked) == 2**k if k <= 5 else len(looked) <= 2 * k + 1
    corners = [x, *_farthest(x, current, ways)]
    point = complex(rng.normal(0, 50), rng.normal(0, 50))

    def far(y) -> float:
        return abs((current * TURN[y]).sum() - point)

    for bits in range(2**k):
        y = x.copy()
        y[:k] = [ways[h][bits >> h & 1] for h in range(k)]
        assert far(y) <= max(map(far, looked)) + 1e-9
        assert far(y) <= max(map(far, corners)) + 1e-9


def test_the_planner_s_loop_tells_what_is_under_way(monkeypatch):
    street = VirtualStreet(4, lambda i, t: 3000.0)
    monkeypatch.setattr(street, "under_way", lambda address: (1, 3) if address == 2 else None)
    told = []
    monkeypatch.setattr(
        street.loop.bound, "admit", lambda *args, **named: told.append(named["under_way"]) or []
    )
    street.play(120)
    assert {1: (0, 2)} in told


@pytest.mark.parametrize("strict", [False, True])
def test_the_setting_reaches_the_bound(strict):
    street = VirtualStreet(4, lambda i, t: 3000.0, plausibility=PlausibilityConfig(strict=strict))
    assert street.loop.bound._strict is strict


def test_the_planner_s_loop_keeps_what_the_bound_remembers():
    before, after = (VirtualStreet(6, lambda i, t: 500.0 + 900.0 * i) for _ in range(2))
    before.play(4 * 3600)  # it takes its time until what lasts is known
    assert len(before.loop.bound._past) > 1
    after.loop.remember(before.loop.memory())
    assert (after.loop.bound._past == before.loop.bound._past).all()
    # From a version that knew no such thing.
    older = planner_memory.pack(before.loop.planner.state(), [h.address for h in before.homes])
    fresh = VirtualStreet(6, lambda i, t: 500.0)
    fresh.loop.remember(older)
    assert len(fresh.loop.bound._past) == 0
