"""What is compiled of the outlook and of the hindsight optimum, beside the same in plain words."""

import numpy as np
import pytest

from bench._homes import street
from pbal_controller.balancing import _outlook, _paths, reference_outlook
from pbal_controller.balancing import persistence as p

AHEAD = np.array([0.0, 1.5, 5.0, 11.5, 47.5, 400.0])


def amps_of(seed, n, steps):
    """Readings of a street in which some are lost and some homes feed in."""
    rng = np.random.default_rng(seed)
    amps = street(n, 1, seed)[:steps] / 230.0
    amps[:, 0] -= 6.0
    amps = np.repeat(amps, 1 + seed % 2, axis=0)[:steps]
    amps[rng.random(amps.shape) < 0.05] = np.nan
    amps[400:430, 1] = np.nan
    return amps


@pytest.mark.parametrize("seed", range(4))
def test_steps_are_followed_and_forecast_alike(seed):
    n, every_s = 9, (60.0, 20.0, 300.0, 900.0)[seed]
    trackers = [p.Persistence(n), p.Persistence(n)]
    plain = trackers[1]
    plain._steps = reference_outlook.Steps(
        (plain.size, plain.born_s, plain.level, plain.lowest, plain.seen_s),
        (plain.ends, plain.watched),
        (plain._cumulative, plain._made, *plain._then, plain._street),
        (p.SIZES, p.AGES, p.BINS, p.WIDTHS),
        0.6,
    )
    for k, amps in enumerate(amps_of(seed, n, 900)):
        for tracker in trackers:
            tracker.observe(k * every_s, amps)
        if k == 700:
            for tracker in trackers:
                tracker.not_after(650 * every_s)
        for name in ("size", "born_s", "level", "lowest", "seen_s", "watched", "ends"):
            ours, theirs = (getattr(tracker, name) for tracker in trackers)
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, err_msg=f"{name} at {k}")
        if k % 50 == 0:
            ours, theirs = (tracker.forecast(k * every_s + 30.0, AHEAD) for tracker in trackers)
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
            ours, theirs = (
                tracker.chances(k * every_s, 8.0, AHEAD, np.random.default_rng(k))
                for tracker in trackers
            )
            for one, other in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)
    assert plain.ends.sum() > 10
    assert (plain.size > 0).any()


def test_readings_lasting_means_and_currents_are_alike():
    rng = np.random.default_rng(5)
    n, kept = 7, []
    readings = [np.exp(1j * rng.normal(0, 0.6, n)) * rng.gamma(0.7, 8.0, n) for _ in range(60)]
    for amps in readings:
        amps[rng.random(n) < 0.1] = np.nan
        amps[rng.random(n) < 0.05] = 2e4
        amps[rng.random(n) < 0.05] *= -1.0
    for room in (_outlook, reference_outlook):
        last, recent, seen_s = np.zeros(n, complex), np.zeros(n, complex), np.full(n, -np.inf)
        total, weight = np.zeros(n, complex), np.zeros(n)
        told = []
        for k, amps in enumerate(readings):
            known = room.take(60.0 * k, amps, 1e4, 900.0, last, recent, seen_s)
            room.lasting(0.999, 1 / 60, 1.3, amps, known, total, weight)
            levels = last.real - np.linspace(0.0, 3.0, 4)[:, None]
            of = (last.real.copy(), last, recent, known, np.linspace(0.0, 0.4, 4), 0.7)
            ahead, beyond = np.empty((4, n), complex), np.arange(5.0 * (n + 3)) + 1j
            room.currents(levels, *of, ahead)
            ways = room.ways(np.stack((levels, levels - 1)), *of, beyond.reshape(5, n + 3))
            told.append((known, ahead, ways))
        kept.append((last, recent, seen_s, total, weight, *map(np.array, zip(*told, strict=True))))
    for one, other in zip(*kept, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("seed", range(6))
def test_what_a_decision_begins_with_is_alike(seed):
    rng = np.random.default_rng(seed)
    n = (1, 4, 9, 30, 0, 12)[seed]
    phases = rng.integers(-1, 3, n).astype(np.int8)
    seen_s = np.where(rng.random(n) < 0.2, -np.inf, rng.uniform(0.0, 400.0, n))
    last = rng.normal(0, 9, n) + 1j * rng.normal(0, 3, n)
    loose, free = rng.random(n) < 0.8, rng.random(n) < 0.7
    still = np.flatnonzero(rng.random(n) < 0.2).astype(np.int64)
    weight = np.where(rng.random(n) < 0.3, 0.0, rng.uniform(0.0, 40.0, n)) * (seed != 3)
    of = np.sort(rng.integers(0, max(n, 1), 2 * n)).astype(np.int64)
    size, stays = rng.uniform(0.5, 9.0, 2 * n), rng.random((5, 2 * n)) < 0.6
    then = rng.random((2 * n, 3)).T
    level = np.where(rng.random(n) < 0.2, np.nan, last.real)
    today = rng.integers(0, 6, n).astype(np.int64)
    kept = []
    for room in (_outlook, reference_outlook):
        told = []
        for since_s in (np.inf, 150.0, -1e300):
            known, able, *more = room.drawn(since_s, phases, seen_s, last, loose, still)
            known_s, able_s = seen_s.copy(), np.where(loose, seen_s, -np.inf)
            counts = room.counted(400.0, 180.0, known, able, known_s, able_s)
            mean = np.empty(n, complex)
            room.lasting_mean(last * weight, weight, 2.0, known, mean)
            price = room.priced(room.shared(today, 70.0, 0.3, 6), able, free, more[1])
            told += [known, able, *more, *counts, known_s, able_s, mean, price]
        told += [room.most_carried(last), room.drawn_levels(level, of, size, stays, then)]
        kept.append(told)
    for one, other in zip(*kept, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12, atol=1e-12)


def test_phases_are_told_from_what_is_none():
    assert all(_outlook.on_phases(np.array(x, np.int8)) for x in ([], [0, 1, 2, -1]))
    assert not any(_outlook.on_phases(np.array(x, np.int8)) for x in ([3], [0, -2], [127], [-128]))
    assert _outlook.on_phases(np.array([0, 9, 2], np.int8)[::2])


@pytest.mark.parametrize("beta", [1.0, 0.07])
def test_many_partners_at_once_find_what_two_find_one_after_the_other(beta):
    n, price = 11, 900.0 * beta
    amps = street(n, 1, 4)[:700] / 230.0 * np.exp(-0.3j)
    re, im = np.ascontiguousarray(amps.real.T), np.ascontiguousarray(amps.imag.T)
    start = (np.arange(n) % 3).astype(np.int8)
    ends = []
    for together in (True, False):
        paths = np.repeat(start[:, None], len(amps), axis=1)
        found = _paths.Street(re, im, paths, start, beta, 1)
        for h in range(n):
            found.one(h, price)
        before = found.total(price)
        for h in range(n):
            partners = np.arange(h)
            if together:
                found.pairs(h, partners, price, 1e-9 * before)
            else:
                for g in partners:
                    found.two(h, int(g), price)
        assert found.total(price) < 0.999 * before
        ends.append(found.total(price))
        # What is summed up on the way is what the paths say.
        anew = _paths.Street(re, im, paths.copy(), start, beta, 1)
        assert anew.total(price) == pytest.approx(ends[-1], rel=1e-9)
    assert ends[0] == pytest.approx(ends[1], rel=1e-6)
