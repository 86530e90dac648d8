"""The controllers: causal, within their limits, and in the right order of merit."""

from dataclasses import replace

import numpy as np
import pytest

from pbal_study.feeder.model import LoadPoint, ideal_feeder
from pbal_study.run.controllers import (
    Loop,
    _Run,
    as_built,
    best_static,
    known_future,
    pbal,
)
from pbal_study.run.metrics import judge
from pbal_study.run.street import Street
from pbal_tools.study.demo import home_watts

HOMES = 12
PHASES = "AAAAAABBBBCC"
LOOP = Loop(price=20.0, budget_per_day=None)


def street(days: float = 0.4) -> Street:
    points = [LoadPoint(f"h{k}", "", "ABC".index(p)) for k, p in enumerate(PHASES)]
    feeder = ideal_feeder(points, phase_ohm=0.05, neutral_ohm=0.05)
    # From four in the afternoon on: an evening has something to balance.
    watts = home_watts(days + 1, 3, HOMES)[960 : 960 + round(days * 1440)]
    return Street(feeder, watts, 60, "power")


def mean_neutral(on: Street, trajectory) -> float:  # type: ignore[no-untyped-def]
    return float(judge(on, trajectory, 20.0).neutral_a.mean())


ALL = np.ones(HOMES, dtype=bool)


def test_the_order_of_merit() -> None:
    on = street(1.0)
    built = mean_neutral(on, as_built(on))
    static = mean_neutral(on, best_static(on, LOOP))
    run = pbal(on, ALL, LOOP)
    causal = mean_neutral(on, run)
    future = mean_neutral(on, known_future(on, ALL, run, LOOP))
    assert future < causal < built
    assert static < built


def test_pbal_does_not_see_the_future() -> None:
    on = street()
    other = street()
    other.watts[300:] = other.watts[300:, ::-1] * 3
    one, two = pbal(on, ALL, LOOP).phases, pbal(other, ALL, LOOP).phases
    # Step 300 is decided before its own reading exists.
    assert (one[:301] == two[:301]).all()
    assert (one != two).any()


@pytest.mark.parametrize("delay", [60, 300])
def test_delay_is_kept(delay: int) -> None:
    on, other = street(), street()
    other.watts[300:] = other.watts[300:, ::-1] * 3
    loop = replace(LOOP, delay_s=delay)
    one, two = pbal(on, ALL, loop).phases, pbal(other, ALL, loop).phases
    assert (one[: 301 + delay // 60] == two[: 301 + delay // 60]).all()
    assert (one != two).any()


def test_dwell_cap_and_period_are_kept() -> None:
    on = street(1.0)
    loop = replace(LOOP, dwell_s=3600, daily_cap=3, period_s=300, price=1.0)
    phases = pbal(on, ALL, loop).phases
    changed = np.vstack([phases[:1] != on.start, phases[1:] != phases[:-1]])
    assert changed.any()
    for home in range(HOMES):
        at = np.flatnonzero(changed[:, home])
        assert (np.diff(at) >= 60).all()
        assert len(at) <= 3
    assert (np.flatnonzero(changed.any(axis=1)) % 5 == 0).all()


def test_homes_without_a_relay_stay() -> None:
    relays = ALL.copy()
    relays[::2] = False
    on = street()
    for others in ("unseen", "metered", "remainder"):
        run = pbal(on, relays, replace(LOOP, others=others))
        assert (run.phases[:, ~relays] == on.start[~relays]).all()
        assert run.switchings()[relays].any()
    best = known_future(on, relays, run, LOOP)
    assert (best.phases[:, ~relays] == on.start[~relays]).all()


def test_without_any_relay_nothing_moves() -> None:
    on = street(0.1)
    assert not pbal(on, ~ALL, LOOP).switchings().any()
    assert not known_future(on, ~ALL, None, LOOP).switchings().any()


def test_knowing_the_others_helps() -> None:
    """With few relays, a planner that sees the whole street does better than a blind one."""
    on = street(1.0)
    relays = np.zeros(HOMES, dtype=bool)
    relays[[0, 1, 2, 6]] = True
    blind = mean_neutral(on, pbal(on, relays, replace(LOOP, others="unseen")))
    metered = mean_neutral(on, pbal(on, relays, replace(LOOP, others="metered")))
    remainder = mean_neutral(on, pbal(on, relays, replace(LOOP, others="remainder")))
    assert metered < blind
    assert remainder < blind


def test_failures_are_counted_and_hurt() -> None:
    on = street()
    sure = pbal(on, ALL, LOOP)
    shaky = pbal(on, ALL, replace(LOOP, failure_rate=0.3))
    never = pbal(on, ALL, replace(LOOP, failure_rate=1.0))
    assert sure.facts["commands_failed"] == 0
    assert 0 < shaky.facts["commands_failed"] < shaky.facts["commands"]
    assert shaky.switchings().sum() == shaky.facts["commands"] - shaky.facts["commands_failed"]
    assert not never.switchings().any()


def test_the_same_seed_gives_the_same_run() -> None:
    on, loop = street(0.3), replace(LOOP, failure_rate=0.1)
    assert (pbal(on, ALL, loop).phases == pbal(on, ALL, loop).phases).all()
    assert (pbal(on, ALL, loop).phases != pbal(on, ALL, replace(loop, seed=2)).phases).any()


def test_switchings_count_the_first_step_and_block_borders() -> None:
    on = street(1.2)
    phases = np.tile(on.start, (len(on), 1))
    phases[:, 0] = 1
    phases[1440:, 1] = 2
    phases[1441:, 1] = 1
    run = replace(as_built(on), phases=phases)
    assert run.switchings().tolist() == [1, 2] + [0] * (HOMES - 2)


def test_best_static_beats_every_small_change() -> None:
    """No single home can be moved to lower the mean squared neutral current."""
    on = street()
    best = best_static(on, LOOP).phases[0].astype(int)
    current = on.currents(0, len(on))
    turn = np.exp(-2j * np.pi / 3 * np.arange(3))

    def cost(x: np.ndarray) -> float:
        return float((np.abs((current * turn[x]).sum(axis=1)) ** 2).mean())

    reached = cost(best)
    for home in range(HOMES):
        for phase in range(3):
            trial = best.copy()
            trial[home] = phase
            assert cost(trial) >= reached - 1e-6


def test_the_hindsight_optimum_switches_as_often_as_its_peer_in_every_season() -> None:
    """Load that falls to six tenths from one week to the next, at half-hour steps, and a peer that
    switches as often in both: one price for both weeks would miss by far."""
    points = [LoadPoint(f"h{k}", "", k % 2) for k in range(8)]
    rng = np.random.default_rng(4)
    watts = np.repeat(rng.gamma(0.7, 2000, (112, 8)), 6, axis=0).astype(np.float32)
    watts[336:] *= 0.6
    on = Street(ideal_feeder(points), watts, 1800, "power")
    peer = as_built(on).phases.copy()
    for step in range(20, 672, 7):
        peer[step:, step % 8] = (peer[step, step % 8] + 1) % 3
    built = replace(as_built(on), phases=peer)
    best = known_future(on, np.ones(8, bool), built, LOOP)
    for a in (0, 336):
        wanted, used = (
            np.count_nonzero(np.diff(t.phases[a : a + 336], axis=0)) for t in (built, best)
        )
        assert used == pytest.approx(wanted, rel=0.15), f"week from step {a}"


@pytest.mark.parametrize("days", [1, pytest.param(4, marks=pytest.mark.long)])
def test_the_hindsight_optimum_switches_as_often_as_its_peer_in_a_short_study(days: int) -> None:
    """Homes with a charger each: many switchings, which a quick search would overdo."""
    rng = np.random.default_rng(2)
    watts = home_watts(days, 3, 24)
    for home in range(24):
        for day in range(days):
            at = 1440 * day + int(rng.normal(1080, 90))
            watts[at : at + int(rng.integers(40, 240)), home] += 7400
    on = Street(
        ideal_feeder([LoadPoint(f"h{k}", "", k % 2) for k in range(24)]), watts, 60, "power"
    )
    run = pbal(on, np.ones(24, bool), Loop())
    best = known_future(on, np.ones(24, bool), run, Loop())
    assert best.switchings().sum() == pytest.approx(run.switchings().sum(), rel=0.12)


def test_a_delay_between_two_steps_lies_between_them() -> None:
    """90 s on a grid of 60 s: half of what a delay of 60 s sees, half of 120 s. Not rounded."""
    on = street(0.02)
    seen = {}
    for delay in (60, 90, 120):
        run = _Run(on, ALL, replace(LOOP, delay_s=delay), np.empty((20, HOMES), np.int8))
        seen[delay] = []
        run.planner.decide = lambda *_: []  # type: ignore[method-assign]
        run.planner.observe = lambda t, own, rest, to=seen[delay]: to.append((t, own))  # type: ignore[method-assign]
        run.run(None)
    for (t, own), (_, new), (_, old) in zip(seen[90], seen[60][1:], seen[120], strict=False):
        assert own == pytest.approx((new + old) / 2)
        assert (t + 90) % 60 == 0
    assert seen[90][0][0] == 90  # the mean of 30 s to 90 s, known at 180 s


@pytest.mark.parametrize(("period", "times"), [(60, 20), (7, 20), (90, 13), (120, 10), (600, 2)])
def test_decisions_keep_their_period(period: int, times: int) -> None:
    run = _Run(street(0.02), ALL, replace(LOOP, period_s=period), np.empty((21, HOMES), np.int8))
    assert sum(run._due(k) for k in range(1, 21)) == times
