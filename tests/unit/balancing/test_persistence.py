"""Does it learn how long things last?"""

import numpy as np
import pytest

from pbal_controller.balancing.persistence import Persistence


def day_of_kettles_and_chargers(days=6, seed=2):
    """Home 0 boils 9 A kettles for 3 minutes, home 1 charges at 9 A for 3 hours."""
    rng = np.random.default_rng(seed)
    amps = np.full((days * 1440, 2), 0.5)
    for d in range(days):
        for start in rng.integers(0, 1380, 12):
            amps[d * 1440 + start : d * 1440 + start + 3, 0] = 9.5
        start = rng.integers(0, 1200)
        amps[d * 1440 + start : d * 1440 + start + 180, 1] = 9.5
    return amps


def feed(amps, tracker=None):
    tracker = tracker or Persistence(amps.shape[1])
    for t, level in enumerate(amps):
        tracker.observe(60.0 * t, level)
    return tracker


def test_tells_a_kettle_from_a_charger_by_the_home_s_history():
    tracker = feed(day_of_kettles_and_chargers())
    t = 60.0 * 6 * 1440
    tracker.observe(t, np.array([9.5, 9.5]))
    tracker.observe(t + 60, np.array([9.5, 9.5]))
    kettle, charger = tracker.forecast(t + 60, [6.0])[0]
    assert kettle < 4.0
    assert charger > 7.0


def test_the_longer_it_has_lasted_the_longer_it_will():
    tracker = Persistence(1)
    tracker.observe(0.0, np.array([0.5]))
    stays = []
    for minute in range(1, 61):
        tracker.observe(60.0 * minute, np.array([12.5]))
        stays.append(tracker.forecast(60.0 * minute, [15.0])[0, 0])
    assert stays[59] > stays[0] + 2.0


def test_forecast_is_between_base_and_level_and_falls():
    tracker = Persistence(1)
    tracker.observe(0.0, np.array([1.0]))
    tracker.observe(60.0, np.array([11.0]))
    ahead = tracker.forecast(60.0, [0.0, 1.0, 5.0, 30.0, 500.0, 5000.0])[:, 0]
    assert ahead[0] == pytest.approx(11.0)
    assert (np.diff(ahead) <= 1e-12).all()
    assert ahead[-1] >= 1.0 - 1e-9


@pytest.mark.parametrize("fall", [9.0, 5.0, 14.0, 13.5])
def test_steps_never_exceed_the_level(fall):
    tracker = Persistence(1)
    for minute, level in enumerate([1.0, 10.0, 15.0, 15.0 - fall, 0.5, 6.0, 0.2]):
        tracker.observe(60.0 * minute, np.array([level]))
        assert tracker.size.sum() <= level + 0.7


def test_a_gap_in_the_readings_teaches_nothing():
    tracker = feed(np.array([[1.0], [10.0], [np.nan], [np.nan], [10.0]]))
    assert tracker.ends.sum() == 0
    assert tracker.watched.sum() <= 2.0


def test_sampled_every_ten_seconds_it_learns_the_same():
    amps = day_of_kettles_and_chargers(days=1)
    slow = feed(amps)
    fast = Persistence(2)
    for t, level in enumerate(np.repeat(amps, 6, axis=0)):
        fast.observe(10.0 * t, level)
    assert fast.ends.sum() == slow.ends.sum()
    assert fast.watched.sum() == pytest.approx(slow.watched.sum(), rel=0.1)


def test_state_round_trip_and_shape_check():
    tracker = feed(day_of_kettles_and_chargers(days=2))
    other = Persistence(2)
    other.load(tracker.state())
    assert (other.ends == tracker.ends).all()
    with pytest.raises(ValueError, match="shape"):
        Persistence(3).load(tracker.state())


def test_what_has_passed_since_a_late_reading_counts():
    tracker = Persistence(1)
    for minute, level in enumerate([0.5, 9.5, 9.5]):
        tracker.observe(60.0 * minute, np.array([level]))
    fresh = tracker.forecast(120.0, [0.0, 5.0])[:, 0]
    late = tracker.forecast(120.0 + 300.0, [0.0])[0, 0]
    assert fresh[0] == pytest.approx(9.5)
    assert late == pytest.approx(fresh[1])
    assert late < 8.0


@pytest.mark.parametrize("every_min", [5, 15])
def test_however_often_it_is_read_it_learns_the_same_duration(every_min):
    """Runs of 3 hours on average, at 10 A, between pauses of 3 hours: 1 in 180 ends a minute."""
    rng = np.random.default_rng(5)
    amps = np.full((8 * 1440, 12), 0.5)
    for home in amps.T:
        t = 0
        while t < len(home):
            t += int(rng.exponential(180)) + 1
            length = int(rng.exponential(180)) + 1
            home[t : t + length] = 10.5
            t += length
    tracker = Persistence(12)
    for t in range(0, len(amps), every_min):
        tracker.observe(60.0 * t, amps[t])
    per_minute = tracker.ends.sum() / tracker.watched.sum()
    assert per_minute == pytest.approx(1 / 180, rel=0.2)


@pytest.mark.parametrize(
    ("fall", "left", "ended"),
    [
        (9.4, [4.0], 1),  # one step, or near enough
        (4.3, [10.0], 1),
        (14.6, [], 2),  # two at once
        (6.5, [3.5, 4.0], 0),  # none fits: part of the one that was large enough
        (12.5, [2.5], 1),  # nor was any: the nearest has ended, and what does not fit went too
    ],
)
def test_which_step_a_fall_ends(fall, left, ended):
    tracker = Persistence(1)
    for minute, level in enumerate([1.0, 11.0, 15.0, 15.0 - fall]):
        tracker.observe(60.0 * minute, np.array([level]))
    assert sorted(tracker.size[tracker.size > 0]) == pytest.approx(left, abs=2e-3)
    assert tracker.ends.sum() == ended


@pytest.mark.parametrize("knows", ["the street", "the home"])
def test_it_learns_from_the_home_and_from_the_street(knows):
    tracker = Persistence(3)
    for minute, level in enumerate([0.5, 9.5, 9.5]):
        tracker.observe(60.0 * minute, np.array([0.5, level, 0.5]))
    untaught = tracker.forecast(120.0, [6.0])[0, 1]
    for chance in (0.0, 0.5):
        state = tracker.state()
        homes = [1] if knows == "the home" else [0, 2]
        state["watched"][homes] = 500.0
        state["ends"][homes] = 500.0 * chance
        if knows == "the home":  # the others say the contrary
            state["watched"][[0, 2]] = 500.0
            state["ends"][[0, 2]] = 500.0 * (0.5 - chance)
        tracker.load(state)
        taught = tracker.forecast(120.0, [6.0])[0, 1]
        assert taught > untaught + 1.0 if chance == 0.0 else taught < untaught - 1.0


def test_a_step_is_taken_to_have_ended_halfway_between_readings():
    tracker = Persistence(1)
    for minute in range(0, 200, 10):
        tracker.observe(60.0 * minute, np.array([0.5]))
    tracker.observe(60.0 * 200, np.array([9.5]))
    tracker.observe(60.0 * 210, np.array([0.5]))
    assert tracker.ends[0].sum(axis=0).nonzero()[0].tolist() == [5]  # 5 to 6 minutes old


def test_what_was_noted_in_times_to_come_was_noted_now():
    tracker = Persistence(2)
    tracker.observe(1e9, np.array([0.5, 0.5]))
    tracker.observe(1e9 + 60.0, np.array([9.5, 0.5]))
    tracker.not_after(6000.0)
    assert tracker.forecast(6000.0, [0.0])[0] == pytest.approx([9.5, 0.5])
    tracker.observe(6060.0, np.array([9.5, 0.5]))
    assert tracker.watched.sum() == pytest.approx(1.0)
    assert tracker.every_min == pytest.approx(1.0)


def test_what_fades_away_is_taken_from_the_oldest_step():
    tracker = Persistence(1)
    for minute, level in enumerate([1.0, 11.0, 15.0, *np.arange(14.5, 10.9, -0.5)]):
        tracker.observe(60.0 * minute, np.array([level]))
    assert tracker.ends.sum() == 0
    oldest_first = tracker.size[0][np.argsort(tracker.born_s[0])]
    assert oldest_first[oldest_first > 0] == pytest.approx([7.0, 4.0], abs=0.7)
