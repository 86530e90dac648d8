"""The scheduler: urgent first, round robin, and dead homes never slow the living."""

from __future__ import annotations

import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from pbal_controller.homes.polling import PollScheduler
from pbal_controller.loops import Backoff


def scheduler(n: int, **options: float) -> PollScheduler:
    """A scheduler of units 1..n, deterministic."""
    made = PollScheduler(
        make_backoff=lambda a, b: Backoff(a, b, random.Random(1)),
        **{"min_interval_s": 0.0, **options},  # type: ignore[arg-type]
    )
    for unit in range(1, n + 1):
        made.add(unit)
    return made


def run(
    made: PollScheduler, dead: set[int], seconds: float, good_s: float = 0.011, bad_s: float = 0.06
) -> list[tuple[float, int]]:
    """Serve the scheduler on a simulated line: (time, unit) of every poll."""
    now, polls = 0.0, []
    while now < seconds:
        unit = made.next(now)
        if not isinstance(unit, int):
            now = max(min(unit, now + 1.0), now + 1e-6)
            continue
        polls.append((now, unit))
        if unit in dead:
            now += bad_s
            made.missed(unit, now, bad_s)
        else:
            now += good_s
            made.answered(unit)
    return polls


def gaps(polls: list[tuple[float, int]], unit: int) -> list[float]:
    """Times between two polls of a unit."""
    at = [t for t, u in polls if u == unit]
    return [b - a for a, b in itertools.pairwise(at)]


def test_round_robin_is_in_order() -> None:
    polls = run(scheduler(5), set(), 0.2)
    assert [u for _, u in polls][:10] == [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]


def test_min_interval_keeps_the_line_idle() -> None:
    polls = run(scheduler(2, min_interval_s=0.5), set(), 5.0)
    assert min(gaps(polls, 1)) >= 0.5
    assert len(polls) <= 22


def test_dead_homes_do_not_slow_the_living() -> None:
    polls = run(scheduler(63), {61, 62, 63}, 60.0)
    settled = [(t, u) for t, u in polls if t > 5]
    worst = max(max(gaps(settled, unit)) for unit in range(1, 61))
    # 60 homes at 11 ms are 0.66 s; silent ones may add their share and one timeout.
    assert worst < 0.66 * 1.06 + 0.07
    assert any(u == 61 for _, u in settled), "a dead home is still asked now and then"


def test_many_dead_homes_take_only_their_share() -> None:
    polls = run(scheduler(60), set(range(11, 61)), 60.0)
    spent = sum(0.06 for t, u in polls if t > 10 and u > 10)
    assert spent <= 50 * 0.05 * 1.1


def test_a_home_that_comes_back_joins_the_round() -> None:
    made = scheduler(3)
    dead = {3}
    run(made, dead, 5.0)
    assert made.is_dead(3)
    dead.clear()
    polls = run(made, dead, 40.0)
    assert not made.is_dead(3)
    assert max(gaps([p for p in polls if p[0] > 35], 3)) < 0.1


def test_all_dead_are_tried_without_a_share() -> None:
    polls = run(scheduler(3), {1, 2, 3}, 60.0)
    assert len([1 for t, _ in polls if t > 30]) >= 3


def test_an_urgent_home_goes_first() -> None:
    made = scheduler(10)
    made.next(0.0)
    made.request(7)
    first, second = made.next(0.1), made.next(0.2)
    assert 7 in (first, second)


def test_a_home_that_always_flags_cannot_starve_the_others() -> None:
    made = scheduler(10)
    polls, now = [], 0.0
    for _ in range(400):
        unit = made.next(now)
        assert isinstance(unit, int)
        polls.append((now, unit))
        now += 0.01
        made.answered(unit, more=unit == 4)
    assert max(gaps(polls, 9)) <= 10 * 2 * 0.01 + 1e-9


def test_a_request_does_not_shorten_a_back_off() -> None:
    made = scheduler(2, dead_backoff_s=10.0, dead_backoff_max_s=10.0)
    for k in range(3):
        made.missed(2, 0.1 * k, 0.06)
    assert made.is_dead(2)
    made.request(2)
    assert all(made.next(1.0 + 0.01 * k) == 1 for k in range(20))


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(1, 40),
    seed=st.integers(0, 2**32 - 1),
    flagging=st.floats(0, 1),
    failing=st.floats(0, 0.3),
)
def test_every_living_home_is_polled_in_bounded_time(
    n: int, seed: int, flagging: float, failing: float
) -> None:
    """Whatever is flagged and whatever gets lost, no living home waits longer than two rounds
    and the share of the dead."""
    rng = random.Random(seed)
    dead = {u for u in range(1, n + 1) if rng.random() < 0.2}
    made = scheduler(n, dead_after=3)
    last: dict[int, float] = {}
    now = 0.0
    for _ in range(1500):
        unit = made.next(now)
        if not isinstance(unit, int):
            assert unit > now, "a wait must end in the future"
            now = min(unit, now + 1.0)
            continue
        if not made.is_dead(unit):
            waited = now - last.get(unit, now)
            assert waited <= n * 2 * 0.06 + 3 * 0.06 + 1e-6
            last[unit] = now
        if unit in dead or rng.random() < failing:
            now += 0.06
            made.missed(unit, now, 0.06)
            if made.is_dead(unit):
                last.pop(unit, None)
        else:
            now += 0.011
            made.answered(unit, more=rng.random() < flagging)
            last.setdefault(unit, now)


def test_a_disturbance_in_the_rounds_own_rhythm_kills_nobody() -> None:
    """A burst every 125 ms while the home is polled every 250 ms: each regular poll meets it."""
    made = scheduler(2, min_interval_s=0.25, dead_after=3)
    now, lost, polls, worst, fresh = 0.0, 0, 0, 0.0, 0.0
    while now < 60.0:
        unit = made.next(now)
        if not isinstance(unit, int):
            now = unit
            continue
        hit = now % 0.125 < 0.015
        now += 0.06 if hit else 0.011
        if unit == 1:
            polls += 1
            lost += hit
            worst = max(worst, now - fresh)
            if not hit:
                fresh = now
        if hit:
            made.missed(unit, now, 0.06)
        else:
            made.answered(unit)
        assert not made.is_dead(unit)
    assert 0 < lost < polls / 2
    assert worst < 0.5


def test_a_lost_answer_is_asked_for_once_more_at_once() -> None:
    made = scheduler(20)
    for expected in (1, 2):
        assert made.next(0.0) == expected
        made.answered(expected)
    assert made.next(0.0) == 3
    made.missed(3, 0.06, 0.06)
    assert made.next(0.06) == 3
    made.missed(3, 0.12, 0.06)
    following = []
    for _ in range(19):
        unit = made.next(0.2)
        assert isinstance(unit, int)
        made.answered(unit)
        following.append(unit)
    assert 3 not in following, "a second miss waits for its turn"


@given(
    st.lists(st.sampled_from(["next", "miss", "kill", "request", "remove"]), max_size=60), st.data()
)
def test_a_unit_that_was_removed_is_never_asked_again(
    steps: list[str], data: st.DataObject
) -> None:
    polling = scheduler(5)
    left = set(range(1, 6))
    now = 0.0
    for step in steps:
        now += 3.0
        unit = data.draw(st.integers(1, 5))
        if step == "remove" and unit in left:
            polling.remove(unit)
            left.discard(unit)
        elif step == "request" and unit in left:
            polling.request(unit)
        elif step == "kill" and unit in left and not polling.is_dead(unit):
            for _ in range(polling.dead_after):
                polling.missed(unit, now, 0.06)
        elif step in ("next", "miss"):
            turn = polling.next(now)
            if isinstance(turn, int):
                assert turn in left
                if step == "miss":
                    polling.missed(turn, now, 0.06)
                else:
                    polling.answered(turn)
    assert polling.healthy <= len(left)
