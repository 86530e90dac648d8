"""Joining feeder, homes list and profiles; choosing who gets a relay, a car, a roof."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from pbal_study.errors import InputError
from pbal_study.feeder.model import LoadPoint, ideal_feeder
from pbal_study.input.additions import (
    EvOptions,
    PvOptions,
    add_cars,
    add_roofs,
    clear_sky,
    pick,
)
from pbal_study.input.homes import (
    Listed,
    apply_list,
    assign_columns,
    choose_relays,
    points_of,
    read_homes,
)
from pbal_study.input.profiles import Profiles
from pbal_study.run.controllers import Loop
from pbal_study.run.ranking import RUNS, measured_benefit, rank_homes
from pbal_study.run.street import Street
from pbal_tools.study.demo import home_watts

START = np.datetime64("2026-06-21T00:00", "s")


def profiles(days: int = 2, homes: int = 3, start: np.datetime64 = START) -> Profiles:
    watts = np.tile(np.arange(1, homes + 1, dtype=np.float32) * 100, (days * 1440, 1))
    watts[:1440] += 7
    return Profiles(start, 60, tuple(f"home_{k}" for k in range(1, homes + 1)), watts)


def listing(tmp_path: Path, text: str) -> list[Listed]:
    path = tmp_path / "homes.csv"
    path.write_text(text)
    return read_homes(path)


def test_a_list_of_homes(tmp_path: Path) -> None:
    rows = listing(tmp_path, "home,phase,pf,relay,profile\nNo 1,a,0.9,yes,home_2\nNo 2,L3,,no,\n")
    assert rows[0] == Listed("No 1", 0, "home_2", 0.9, True)
    assert rows[1] == Listed("No 2", 2, relay=False)
    points = points_of(rows, 0.95, 230.0)
    assert [p.power_factor for p in points] == [0.9, 0.95]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("house,phase\n1,A\n", "no column 'home'"),
        ("home,phase,colour\n1,A,red\n", "unknown column 'colour'"),
        ("home,phase\n1,D\n", "row 2: phase is 'd'"),
        ("home,phase\n1,A\n,B\n", "row 3: the home has no name"),
        ("home,phase\n1,A\n1,B\n", "'1' is listed twice"),
        ("home,phase,pf\n1,A,95\n", "row 2: pf is '95'"),
        ("home,phase,relay\n1,A,maybe\n", "row 2: relay is 'maybe'"),
        ("home,phase\n", "lists no homes"),
        ("home,phase\nA,A\n\n\n1,D\n", "row 5: phase is 'd'"),
        ("home,phase,pf\n1,A,0,95\n", "row 2: 4 cells, but the first line names 3 columns"),
        ("home,phase,phase\n1,A,B\n", "column 'phase' appears twice"),
        ("home;phase\n1;A\n", "no column 'home'"),
    ],
)
def test_what_is_wrong_with_a_list_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        listing(tmp_path, text)
    assert says in caught.value.message
    assert caught.value.remedy


def test_what_spreadsheets_do_to_a_list(tmp_path: Path) -> None:
    assert len(listing(tmp_path, "home,phase\n1,A\n\n,,\n2,B\n , \n")) == 2
    with pytest.raises(InputError) as caught:
        listing(tmp_path, "home;phase\n1;A\n")
    assert "not semicolons" in caught.value.remedy
    with pytest.raises(InputError, match="is a folder"):
        read_homes(tmp_path)


@pytest.mark.parametrize("factor", [0.0, 1.5])
def test_a_power_factor_that_tells_nothing_is_refused(factor: float) -> None:
    """The engine says 0 for a load of vars alone; the power flow ran on without an end."""
    points = [LoadPoint("h0", "", 0), LoadPoint("h1", "", 1, power_factor=factor)]
    with pytest.raises(InputError, match="'h1' has a power factor of") as caught:
        apply_list(ideal_feeder(points), [], None)
    assert "Capacitor" in caught.value.remedy
    changed, _ = apply_list(ideal_feeder(points), [Listed("h1", power_factor=0.9)], None)
    assert changed.homes[1].power_factor == 0.9


def feeder(n: int = 3):  # type: ignore[no-untyped-def]
    return ideal_feeder([LoadPoint(f"h{k}", "", k % 3) for k in range(n)])


def test_a_home_without_a_phase_needs_a_feeder() -> None:
    with pytest.raises(InputError, match="'x' has no phase"):
        points_of([Listed("x")], 0.95, 230.0)


def test_the_list_overrides_the_feeder_and_must_know_its_names() -> None:
    changed, rows = apply_list(feeder(), [Listed("H1", phase=2, power_factor=0.8)], None)
    assert list(changed.phases) == [0, 2, 2]
    assert changed.homes[1].power_factor == 0.8
    assert [r.name for r in rows] == ["h0", "H1", "h2"]
    with pytest.raises(InputError, match="'zz' of the homes list is not a load"):
        apply_list(feeder(), [Listed("zz")], None)


def test_columns_by_profile_then_by_name_then_by_order() -> None:
    p = profiles()
    rows = [
        Listed("h0", profile="HOME_3"),
        Listed("h1", profile="home_1"),
        Listed("h2", profile="home_1"),
    ]
    watts, _ = assign_columns(feeder(), rows, p, False)
    assert watts[0].tolist() == [307, 107, 100]  # the second use of home_1 is a day later
    named = ideal_feeder([LoadPoint(n, "", 0) for n in ("home_2", "Home_1", "home_3")])
    watts, _ = assign_columns(named, [Listed(h.name) for h in named.homes], p, False)
    assert watts[0].tolist() == [207, 107, 307]
    watts, notes = assign_columns(feeder(2), [Listed("h0"), Listed("h1")], p, False)
    assert watts[0].tolist() == [107, 207]
    assert "first 2 of 3" in notes[0]


def test_too_few_columns_and_unknown_columns_are_refused() -> None:
    rows = [Listed(f"h{k}") for k in range(5)]
    with pytest.raises(InputError, match="5 homes, but the profiles have only 3"):
        assign_columns(feeder(5), rows, profiles(), False)
    watts, _ = assign_columns(feeder(5), rows, profiles(), True)
    assert watts[0].tolist() == [107, 207, 307, 100, 200]
    with pytest.raises(InputError, match="no column 'nope'"):
        assign_columns(feeder(1), [Listed("h0", profile="nope")], profiles(), False)


def with_fixed(homes: int = 2):  # type: ignore[no-untyped-def]
    """Homes h0.. and a workshop that stands between them in the file."""
    points = [LoadPoint(f"h{k}", "", k % 3, place=2 * k) for k in range(homes)]
    shop = LoadPoint("shop", "", -1, kw=3.0, place=1)
    return replace(ideal_feeder(points), fixed=(shop,))


def test_as_many_columns_as_loads_go_by_the_order_of_the_file() -> None:
    rows = [Listed("h0"), Listed("h1")]
    watts, notes = assign_columns(with_fixed(), rows, profiles(), False)
    assert watts[0].tolist() == [107, 307, 207]  # the workshop is second in the file
    assert "all loads in file order" in notes[0]
    watts, notes = assign_columns(with_fixed(), rows, profiles(homes=2), False)
    assert watts[0].tolist() == [107, 207, 3000]
    assert "1 fixed loads have no profile" in notes[-1]
    assert "shop 3 kW" in notes[-1]
    named = Profiles(START, 60, ("Shop", "x", "y"), profiles().watts)
    watts, _ = assign_columns(with_fixed(3), [Listed(f"h{k}") for k in range(3)], named, True)
    assert watts[0].tolist() == [207, 307, 200, 107]


def test_names_that_fit_only_in_part_are_refused() -> None:
    """One misspelt column must not shift all others to the wrong homes."""
    p = Profiles(START, 60, ("h0", "h1", "h_2", "more"), profiles(homes=4).watts)
    with pytest.raises(InputError, match="no column for 1 of 3 homes, first 'h2'"):
        assign_columns(feeder(), [Listed(f"h{k}") for k in range(3)], p, False)
    rows = [Listed("h0"), Listed("h1"), Listed("h2", profile="h_2")]
    watts, notes = assign_columns(feeder(), rows, p, False)
    assert watts[0].tolist() == [107, 207, 307]
    assert "1 profile columns are of no load and unused: more" in notes[0]
    only_one = [Listed("a", profile="h_2"), Listed("b"), Listed("c")]
    unnamed = ideal_feeder([LoadPoint(n, "", 0) for n in "abc"])
    with pytest.raises(InputError, match="no column for 2 of 3 homes"):
        assign_columns(unnamed, only_one, p, False)


def test_the_list_speaks_of_fixed_loads_too() -> None:
    changed, rows = apply_list(with_fixed(), [Listed("SHOP", None, "home_3", 0.8)], None)
    assert changed.fixed[0].power_factor == 0.8
    watts, _ = assign_columns(
        changed, [Listed("h0", profile="home_1"), Listed("h1", profile="home_2"), rows[2]],
        profiles(), False,
    )  # fmt: skip
    assert watts[0].tolist() == [107, 207, 307]
    with pytest.raises(InputError, match="'shop' of the homes list cannot be moved"):
        apply_list(with_fixed(), [Listed("shop", relay=True)], None)


def test_relays_follow_list_share_and_weight() -> None:
    rows = [Listed(str(k)) for k in range(8)]
    mean = np.array([5, 9, 1, 7, 3, 8, 2, 6.0])
    assert np.flatnonzero(choose_relays(rows, mean, 0.5, "heaviest", 1)).tolist() == [1, 3, 5, 7]
    drawn = choose_relays(rows, mean, 0.5, "random", 1)
    assert drawn.sum() == 4
    assert (drawn == choose_relays(rows, mean, 0.5, "random", 1)).all()
    rows[1] = Listed("1", relay=False)
    rows[2] = Listed("2", relay=True)
    assert np.flatnonzero(choose_relays(rows, mean, 0.5, "heaviest", 1)).tolist() == [2, 3, 5, 7]


def test_cars_charge_what_they_should_when_they_should() -> None:
    p = replace(profiles(days=6, homes=4), step_s=3600)
    options = EvOptions(energy_kwh=8.0, sessions_per_day=0.5, charger_kw=7.0)
    watts = add_cars(p, [0, 2, 3], options, seed=5)
    assert watts.max() == pytest.approx(7000)
    assert watts.min() >= 0
    per_day = watts.sum(dtype=float) / 1000 / 360 / 3
    assert per_day == pytest.approx(0.5 * 8.0, rel=0.1)
    by_hour = watts.reshape(-1, 24, 3).sum(axis=(0, 2))
    assert 17 <= np.argmax(by_hour) <= 20
    assert by_hour[4] < 0.02 * by_hour.max()
    # A home keeps its car's habits whoever else has one.
    assert (add_cars(p, [2], options, seed=5)[:, 0] == watts[:, 1]).all()
    assert (add_cars(p, [2], options, seed=6)[:, 0] != watts[:, 1]).any()


def test_the_sun() -> None:
    noon, midnight = np.array([43200]), np.array([0])
    summer, winter = np.array([172]), np.array([355])
    assert clear_sky(midnight, summer, 51, 30)[0] == 0
    high, low = clear_sky(noon, summer, 51, 30)[0], clear_sky(noon, winter, 51, 30)[0]
    assert 850 < high < 1150
    assert 0.3 < low / high < 0.8
    # South of the equator the seasons are turned round.
    assert clear_sky(noon, winter, -51, 30)[0] == pytest.approx(high, rel=0.02)
    # Overhead sun on a flat module: 1353 * 0.7 * 1.1.
    assert clear_sky(noon, np.array([81]), 0, 0)[0] == pytest.approx(1041.8, rel=0.001)


def test_roofs_share_a_sky_and_sleep_at_night() -> None:
    p = profiles(days=20)
    watts = add_roofs(p, [0, 1], PvOptions(peak_kw=4.0), seed=1)
    assert watts[p.seconds_of_day < 3 * 3600].max() == 0
    assert 1500 < watts.max() < 5500
    assert np.corrcoef(watts[:, 0], watts[:, 1])[0, 1] == pytest.approx(1.0)


def test_pick_gives_the_share_of_those_allowed() -> None:
    rng = np.random.default_rng(1)
    among = np.array([True] * 6 + [False] * 4)
    chosen = pick(10, 0.3, rng, among)
    assert len(chosen) == 3
    assert max(chosen) < 6
    assert pick(10, 1.0, rng, among) == list(range(6))


def test_the_home_that_unbalances_the_street_is_ranked_first() -> None:
    watts = np.full((600, 6), 200, dtype=np.float32)
    watts[:, 4] = 5000
    watts[:, 1] = 3000
    points = [LoadPoint(f"h{k}", "", 0) for k in range(6)]
    on = Street(ideal_feeder(points), watts, 60, "power")
    order, curve = rank_homes(on)
    assert order[0] in (1, 4)
    assert set(order[:2]) == {1, 4}
    assert sorted(order) == list(range(6))
    assert all(a >= b - 1e-9 for a, b in pairwise(curve))


def test_measured_benefit_ends_at_all_homes() -> None:
    points = [LoadPoint(f"h{k}", "", k % 2) for k in range(9)]
    on = Street(ideal_feeder(points), home_watts(1, 2, 9)[1020:], 60, "power")
    order, _ = rank_homes(on)
    orders = {"ranked": order, "heaviest": order[::-1]}
    told: list[int] = []
    best, found, known = measured_benefit(
        on, orders, Loop(price=5.0), days=0.2, progress=told.append
    )
    assert sum(told) == RUNS * 288
    assert [(b.choice, b.relays, b.others) for b in known] == [
        (best, 3, "remainder"),
        (best, 3, "unseen"),
    ]
    metered = next(b.cut for b in found if b.choice == best and b.relays == 3)
    assert known[1].cut < metered  # who is not seen cannot be balanced against
    thirds = {b.choice: b.cut for b in found if b.relays == 3}
    assert thirds.keys() == orders.keys()
    assert thirds[best] == max(thirds.values())
    assert [b.relays for b in found if b.choice == best] == [2, 3, 4, 6, 9]
    assert found[-1].share_of_all == 1
    assert found[-1].cut > 0


def test_an_order_can_be_evaluated_as_it_is() -> None:
    points = [LoadPoint(f"h{k}", "", k % 2) for k in range(9)]
    on = Street(ideal_feeder(points), home_watts(1, 2, 9)[1020:], 60, "power")
    greedy, curve = rank_homes(on)
    backwards, worse = rank_homes(on, order=greedy[::-1])
    assert backwards == greedy[::-1]
    assert sum(worse) > sum(curve)
