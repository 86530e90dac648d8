"""What no one should feed a planner, and what it makes of it."""

import numpy as np
import pytest

from pbal_controller.balancing import Planner, PlannerConfig, neutral_current

EAGER = {"wear_budget_per_day": None, "price": 1.0}


def eager(n, **more):
    return Planner(n, PlannerConfig(**{**EAGER, **more}))


def crowd(n=9, amps=10.0):
    return np.full(n, amps + 0j), np.zeros(n, int)


def keep_rules(planner, currents, phases, times, immovable=()):
    """Feed it all; returns the moves, having checked each against the state of the street."""
    x = np.array(phases)
    made = []
    for time_s, amps in zip(times, currents, strict=True):
        planner.observe(time_s, amps)
        for move in planner.decide(time_s, x, immovable=immovable):
            assert 0 <= move.home < planner.n
            assert move.from_phase == x[move.home] != move.to_phase
            assert move.to_phase in (0, 1, 2)
            assert np.isfinite(move.saving)
            assert move.home not in immovable
            assert move.home not in planner.config.fixed
            x[move.home] = move.to_phase
            made.append(move)
    return made, x


def test_no_homes_and_one_home():
    none = Planner(0)
    none.observe(0.0, [])
    assert none.decide(0.0, []) == []
    assert not none.urgent(0.0, [])
    one = eager(1)
    one.observe(0.0, [30 + 0j])
    assert one.decide(0.0, [1]) == []  # alone, one phase is as good as another
    with pytest.raises(ValueError, match="n_homes"):
        Planner(-1)


def test_nothing_but_nan_for_a_day_then_life():
    nothing = np.full((200, 9), complex(np.nan, np.nan))
    planner = eager(9)
    made, x = keep_rules(planner, nothing, np.zeros(9, int), 432.0 * np.arange(200))
    assert made == []
    assert np.isfinite(planner.wear.price)
    made, _ = keep_rules(planner, crowd()[0][None], x, [86400.0])
    assert len(made) >= 4


def test_half_a_nan_and_what_no_home_draws_are_unknown():
    amps, phases = crowd()
    amps[0] = complex(10.0, np.nan)
    amps[1] = complex(np.inf, 0.0)
    amps[2] = 1e300
    amps[3] = complex(1e308, 1e308)
    planner = eager(9)
    made, x = keep_rules(planner, [amps] * 3, phases, [0.0, 60.0, 120.0])
    assert {m.home for m in made}.isdisjoint({0, 1, 2, 3})
    assert np.bincount(x[4:], minlength=3).max() == 2
    assert planner.wear.load < 1000.0


@pytest.mark.parametrize("back_s", [30.0, 3600.0, 40 * 86400.0])
def test_a_clock_set_back_neither_stops_nor_hurries_it(back_s):
    amps, phases = crowd()
    planner = eager(9, dwell_s=1800.0)
    start = 50 * 86400.0
    first, x = keep_rules(planner, [amps], phases, [start])
    assert first
    moved = [m.home for m in first]
    planner.decide(start, x)  # it counts what was carried out, not what it asked for
    # The other way round: what has just moved would best move again, and has to rest.
    lopsided = np.zeros(9, complex)
    lopsided[moved] = 10.0
    x[moved] = 0
    times = start - back_s + 60.0 * np.arange(1, 40)
    again, _ = keep_rules(planner, [lopsided] * 20, x, times[:20])
    assert {m.home for m in again}.isdisjoint(moved)
    late, _ = keep_rules(planner, [lopsided] * 19, x, times[20:])
    assert late


def moved_and_lopsided(start):
    """A planner that has just moved some homes, and currents that ask for them to be moved back."""
    amps, phases = crowd()
    planner = eager(9, dwell_s=1800.0, predict=False, window_weight=0.0)
    planner.observe(start, amps)
    moved = [m.home for m in planner.decide(start, phases)]
    phases[moved] = 1
    planner.decide(start, phases)
    lopsided = np.zeros(9, complex)
    lopsided[moved] = 10.0
    planner.observe(start, lopsided)
    return planner, phases, lopsided


def first_move_s(planner, phases, lopsided, start):
    for minute in range(1, 200):
        time_s = start + 60.0 * minute
        planner.observe(time_s, lopsided)
        if planner.decide(time_s, phases):
            return time_s - start
    return np.inf


@pytest.mark.parametrize("when_s", [-7200.0, 7200.0, 86400.0 * 400])
@pytest.mark.parametrize("times", [1, 20])
def test_readings_of_another_time_hurry_no_dwell(when_s, times):
    """A backlog that comes late, or a meter whose clock is wrong."""
    start = 50 * 86400.0
    planner, phases, lopsided = moved_and_lopsided(start)
    for k in range(times):
        planner.observe(start + when_s + 60.0 * k, lopsided)
    assert first_move_s(planner, phases, lopsided, start) == 1800.0


def test_a_late_reading_is_not_taken_for_one_after_the_clock_was_set():
    start = 50 * 86400.0
    planner, phases, lopsided = moved_and_lopsided(start)
    others = np.where(phases == 0, 10 + 0j, 0)  # nothing keeps these from moving
    planner.observe(start - 900.0, others)  # late; then the clock is set back by an hour
    assert planner.decide(start - 3600.0, phases) == []
    assert first_move_s(planner, phases, lopsided, start - 3600.0) == 1800.0


def test_a_decision_a_little_before_the_last_one_sets_no_clock():
    start = 50 * 86400.0
    planner, phases, lopsided = moved_and_lopsided(start)
    assert planner.decide(start - 300.0, phases) == []
    assert first_move_s(planner, phases, lopsided, start) == 1800.0


def test_a_past_may_be_played_to_it_before_the_first_decision():
    amps, phases = crowd()
    planner = eager(9)
    for _ in range(3):
        for t in range(0, 7200, 60):
            planner.observe(float(t), amps + 5.0 * (t % 1800 < 600))
    assert planner.outlook.persistence.ends.sum() >= 9 * 9
    planner.observe(0.0, amps)
    assert planner.decide(0.0, phases)
    planner.observe(60.0, np.zeros(9, complex))
    moves = planner.decide(60.0, phases)
    assert all(move.reason.startswith("0.0 A") for move in moves)  # it has seen that they are off


def test_late_readings_are_left_out():
    amps, phases = crowd()
    planner = eager(9)
    planner.observe(1000.0, amps)
    planner.observe(900.0, np.zeros(9, complex))
    assert planner.decide(1000.0, phases)


def test_a_gap_of_hours_is_no_news():
    amps, phases = crowd()
    planner = eager(9)
    planner.observe(0.0, amps)
    assert planner.decide(5 * 3600.0, phases) == []
    planner.observe(5 * 3600.0 + 60, amps)
    assert planner.decide(5 * 3600.0 + 60, phases)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_no_time_at_all_is_refused(bad):
    planner = Planner(2)
    with pytest.raises(ValueError, match="time_s"):
        planner.observe(bad, np.zeros(2, complex))
    with pytest.raises(ValueError, match="time_s"):
        planner.decide(bad, [0, 1])


def test_all_fixed_all_immovable_all_open():
    amps, phases = crowd(6)
    limits = {"limits_a": 20.0}
    planner = eager(6, fixed=range(6), **limits)
    assert keep_rules(planner, [amps], phases, [0.0])[0] == []
    assert planner.urgent(0.0, phases)  # it is told, even though there is nothing it can do
    planner = eager(6, **limits)
    assert keep_rules(planner, [amps], phases, [0.0], immovable=range(6))[0] == []
    planner = eager(6)
    planner.observe(0.0, amps)
    assert planner.decide(0.0, np.full(6, -1)) == []


def test_data_five_minutes_late_is_used():
    amps, phases = crowd()
    planner = eager(9)
    planner.observe(0.0, amps)
    assert planner.decide(300.0, phases)


def test_one_home_silent_among_others_is_left_where_it_is():
    amps, phases = crowd()
    planner = eager(9, stale_s=100.0)
    planner.observe(0.0, amps)
    amps = amps.copy()
    amps[0] = np.nan
    planner.observe(200.0, amps)
    moves = planner.decide(500.0, phases)
    assert moves
    assert 0 not in {m.home for m in moves}


@pytest.mark.parametrize(
    ("field", "value"),
    [("fixed", [7]), ("fixed", [-1]), ("home_prices", [1.0, 2.0]), ("home_prices", [1.0, 1, -1]),
     ("resistance", np.zeros((3, 3))), ("resistance", np.full((3, 3, 3), np.nan))],
)  # fmt: skip
def test_configuration_that_does_not_fit_the_street_is_refused(field, value):
    with pytest.raises(ValueError, match=field):
        Planner(3, PlannerConfig(**{field: value}))


@pytest.mark.parametrize("limits", [0.0, -5.0, [10.0, 10.0], [1.0, np.nan, 1.0]])
def test_limits_that_are_none_are_refused(limits):
    with pytest.raises(ValueError, match="limits_a"):
        PlannerConfig(limits_a=limits)


@pytest.mark.parametrize("phases", [[0, 1, 0.5], [0, 1, 3], [0, 1, np.nan], [[0, 1, 2]]])
def test_phases_that_are_none_are_refused(phases):
    planner = Planner(3)
    planner.observe(0.0, np.ones(3, complex))
    with pytest.raises(ValueError, match="phases"):
        planner.decide(0.0, phases)


@pytest.mark.parametrize("home", [-1, 3])
def test_immovable_homes_that_are_not_there_are_refused(home):
    planner = Planner(3)
    with pytest.raises(ValueError, match="immovable"):
        planner.decide(0.0, [0, 1, 2], immovable=[home])


@pytest.mark.parametrize("seed", range(4))
def test_any_mess_keeps_every_rule(seed):
    """Random readings, holes, clocks, open homes, limits: dwell, caps and limits all the same."""
    rng = np.random.default_rng(seed)
    n, steps = 14, 250
    fixed = rng.choice(n, 3, replace=False).tolist()
    limit = float(rng.uniform(40.0, 90.0))
    config = PlannerConfig(price=2.0, wear_budget_per_day=None, dwell_s=900.0, daily_cap=3,
                           fixed=fixed, limits_a=limit, max_moves=int(rng.choice([-1, 2, 5])),
                           stale_s=120.0)  # fmt: skip
    planner = Planner(n, config)
    x = rng.integers(0, 3, n)
    switched = [[] for _ in range(n)]
    time_s, set_back_s = 1e6, 0.0
    last = np.full(n, np.nan + 0j)
    for _ in range(steps):
        time_s += float(rng.choice([10.0, 60.0, 300.0]))
        if rng.random() < 0.005:
            back = float(rng.uniform(700.0, 5000.0))
            time_s, set_back_s = time_s - back, set_back_s + back
        amps = rng.gamma(0.5, 10.0, n) * np.exp(-1j * rng.uniform(-0.5, 0.5, n))
        amps[rng.random(n) < 0.1] = np.nan
        last = amps
        planner.observe(time_s, amps)
        seen = np.where(rng.random(n) < 0.05, -1, x)
        before = _phase_sums(last, np.where(np.isnan(amps), -1, seen))
        moves = planner.decide(time_s, seen)
        assert config.max_moves < 0 or len(moves) <= config.max_moves
        for move in moves:
            assert move.home not in fixed
            assert seen[move.home] == move.from_phase != move.to_phase
            switched[move.home].append(time_s + set_back_s)
            x[move.home] = move.to_phase
        if not np.isnan(amps).any() and (seen >= 0).all() and moves:
            after = _phase_sums(last, x)
            assert (after <= np.maximum(limit, before) + 1e-9).all()
    made = [t for home in switched for t in home]
    assert len(made) > 10
    for home in switched:
        assert (np.diff(home) >= 900.0 - 1e-6).all()
        for k in range(3, len(home)):
            assert home[k] - home[k - 3] >= 86400.0 - 1e-6


def _phase_sums(amps, phases):
    return np.array([abs(np.nansum(np.where(phases == q, amps, 0.0))) for q in range(3)])


def test_neutral_current_counts_unknown_as_nothing():
    assert neutral_current([np.nan, 1.0, 1.0, 1.0], [0, 0, 1, 2]) == pytest.approx(0.0, abs=1e-12)


def test_a_mask_is_no_list_of_homes():
    mask = np.array([True, False, True])
    with pytest.raises(ValueError, match="immovable"):
        Planner(3).decide(0.0, [0, 1, 2], immovable=mask)
    with pytest.raises(ValueError, match="fixed"):
        Planner(3, PlannerConfig(fixed=mask))
    assert Planner(3).decide(0.0, [0, 1, 2], immovable={0, 2}) == []
