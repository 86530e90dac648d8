"""First days against the simple rule (bench/cold_start.py)."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from rigs.needs import require_shared

from bench import _data, cold_start
from bench.cold_start import (
    KINDS,
    Conditions,
    Draw,
    compare,
    cut_at,
    play,
    report,
    run,
    summary,
    table,
)
from bench.control import Trial, drive, measure, relays
from pbal_controller.balancing import PlannerConfig


def _run(switchings: float, cut: float) -> dict[str, float]:
    return {"switchings": switchings, "neutral_cut": cut}


def _line(switchings: float) -> float:
    return float(0.3 + 0.1 * np.log(switchings))


def test_a_line_is_read_off_over_the_logarithm() -> None:
    runs = [_run(s, _line(s)) for s in (0.5, 1.1, 2.7)]
    assert cut_at(runs, 1.7) == pytest.approx(_line(1.7))
    # Least squares: what lies off the line in the middle lifts it by a third.
    off = [_run(s, c) for s, c in ((1.0, 0.2), (2.0, 0.23), (4.0, 0.2))]
    assert cut_at(off, 2.0) == pytest.approx(0.21)
    assert cut_at([_run(0.0, 0.9), *runs], 1.7) == pytest.approx(_line(1.7))


@pytest.mark.parametrize(
    ("runs", "at"), [([_run(1.0, 0.2), _run(1.0, 0.3)], 1.0), ([_run(0.0, 0.0)], 1.0),
                     ([_run(1.0, 0.2), _run(2.0, 0.3)], 0.0)]
)  # fmt: skip
def test_no_line_without_two_runs(runs: list[dict[str, float]], at: float) -> None:
    with pytest.raises(ValueError, match="a line needs"):
        cut_at(runs, at)


def test_pbal_is_judged_at_its_own_switchings() -> None:
    rule = {b: _run(0.9 * b, _line(0.9 * b)) for b in (0.5, 1.0, 2.0)}
    pbal = {b: _run(s, _line(s) + g) for b, s, g in ((1.0, 0.7, 0.05), (2.0, 2.6, -0.02))}
    gains, over = compare(pbal, rule, _run(1.4, 0.3))
    assert gains[1.0] == pytest.approx({"gain": 0.05, "beyond": 0.0, "bend": 0.0}, abs=1e-9)
    assert gains[2.0] == pytest.approx({"gain": -0.02, "beyond": 1.0, "bend": 0.0}, abs=1e-9)
    assert over == pytest.approx(cut_at(pbal.values(), 1.4) - 0.3)


def test_the_rules_own_bend_is_told() -> None:
    rule = {1.0: _run(1.0, 0.2), 2.0: _run(2.0, 0.23), 4.0: _run(4.0, 0.2)}
    gains, over = compare({2.0: _run(2.0, 0.23)}, rule, None)
    assert gains[2.0]["bend"] == pytest.approx(0.02)
    assert gains[2.0]["gain"] == pytest.approx(0.02)
    assert over is None


def test_nothing_is_said_of_what_has_no_line() -> None:
    still = {1.0: _run(0.0, 0.0)}
    assert compare(still, {1.0: _run(1.0, 0.2), 2.0: _run(2.0, 0.3)}, _run(1.0, 0.2)) == ({}, None)
    assert compare({1.0: _run(1.0, 0.2)}, {}, None) == ({}, None)


def _row(spent: float, gain: float | None) -> dict[str, object]:
    gains = {} if gain is None else {1.0: {"gain": gain, "beyond": 1.0}}
    return {"pbal": {1.0: _run(spent, 0.4)}, "spent": {1.0: spent}, "gains": gains,
            "rule_300": _run(2.0, 0.3), "gain_300": gain}  # fmt: skip


def test_the_summary_is_over_streets_in_points() -> None:
    of = summary([_row(0.8, 0.01), _row(1.2, 0.03), _row(1.0, None)], [1.0])
    one = of["budgets"]["1"]
    assert of["streets"] == 3
    assert one["gain"] == {"mean": 2.0, "se": 1.0, "most": 3.0, "n": 2}
    assert (one["spent"]["mean"], one["spent"]["most"], one["spent"]["too_much"]) == (1.0, 1.2, 1)
    assert one["beyond"] == 2
    assert one["cut"]["mean"] == 40.0
    assert of["gain_300"]["mean"] == 2.0
    assert "bend" not in one


def test_where_all_have_a_relay_nobody_else_is_asked_for() -> None:
    c = Conditions(relays=(1.0, 0.5), others=("metered", "remainder"))
    assert c.trials() == [(1.0, "all have one"), (0.5, "metered"), (0.5, "remainder")]


def test_a_street_is_played_and_its_first_day_counted() -> None:
    rng = np.random.default_rng(4)
    case = _data.by_lot(_data.synthetic(9, 2, 4), rng)
    c = Conditions(every=15, delay=1, relays=(1.0, 0.4), others=("none",), budgets=(1.0, 3.0),
                   rule=(1.0, 3.0))  # fmt: skip
    every, few = play(case, c, seed=1)
    assert (every["relays"], few["relays"], few["others"]) == (1.0, 0.4, "none")
    movable = relays(9, 0.4, 1)
    assert movable is not None
    for budget in c.budgets:
        for row, trial in ((every, Trial(1, 15)), (few, Trial(1, 15, movable, "none"))):
            x = drive(case, PlannerConfig(wear_budget_per_day=budget), trial)
            homes = 9 if row is every else movable.sum()
            first = (x[0] != case.start).sum() + (np.diff(x[:1440], axis=0) != 0).sum()
            assert first > 0
            assert row["spent"][budget] == pytest.approx(first / homes / budget, abs=1e-4)
            assert row["pbal"][budget] == measure(case, x, trial.movable)
    # There is a second day.
    assert every["spent"][3.0] * 3.0 < 2 * every["pbal"][3.0]["switchings"] - 0.1
    assert set(every["gains"]) == {1.0, 3.0}
    assert every["gain_300"] is not None
    # The rule is another controller than pbal.
    assert every["rule"][3.0] != every["pbal"][3.0]


def test_a_draw_is_the_same_every_time_and_no_other() -> None:
    cases = [Draw("made-up", k, 5, 1, (4, 9)).case() for k in (0, 0, 1)]
    household = Draw("made-up households", 0, 5, 1, (4, 9)).case()
    first, again, other = cases
    assert first
    assert again
    assert other
    assert household
    assert (first.currents == again.currents).all()
    assert (first.start == again.start).all()
    assert other.name != first.name
    assert all(4 <= len(c.start) <= 9 for c in (first, other, household))


@pytest.mark.shared
def test_no_development_day_comes_twice() -> None:
    require_shared("data", "persistent_60homes_15days_1min_w.csv.gz")
    whole = _data.development(15)
    assert whole
    days = []
    for k in range(7):
        case = Draw("30 development homes", k, 5, 2, (1, 1)).case()
        assert case
        days += [d for d in range(0, 14) if (whole.currents[d * 1440 : d * 1440 + 2880]
                                             == case.currents).all()]  # fmt: skip
    assert sorted(days) == list(range(0, 14, 2))
    assert Draw("30 development homes", 7, 5, 2, (1, 1)).case() is None


def test_two_processes_find_what_one_does() -> None:
    c = Conditions(every=60, budgets=(1.0,), rule=())
    draws = [Draw("made-up", k, 5, 1, (4, 5)) for k in range(3)]
    assert list(run(draws, c, 2)) == list(run(draws, c, 1))


def test_every_kind_and_all_of_them_are_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["cold_start", "--streets", "1", "--homes", "5", "6", "--every", "30", "--only",
             "made-up", "--budgets", "1", "3", "--rule", "1", "3", "--json", "--rows"]  # fmt: skip
    monkeypatch.setattr(sys, "argv", asked)
    cold_start.main()
    told = json.loads(capsys.readouterr().out)
    kinds = [kind for kind in KINDS if "made-up" in kind]
    assert list(told["rows"]) == kinds
    assert [g["kind"] for g in told["trials"][0]["groups"]] == [*kinds, "all"]
    assert told["trials"][0]["groups"][-1]["streets"] == 2
    assert told["missing"] == []
    text = table(told)
    assert "made-up households, 1 streets" in text
    assert "over the rule at 300 A^2" in text


def test_rows_are_told_by_trial() -> None:
    c = Conditions(relays=(1.0, 0.5), budgets=(1.0,))
    rows = [_row(0.5, 0.01) | {"relays": 1.0, "others": "all have one"},
            _row(1.5, 0.02) | {"relays": 0.5, "others": "metered"}]  # fmt: skip
    first, second = report({"made-up": rows}, c)
    assert (first["relays"], second["relays"]) == (1.0, 0.5)
    assert first["groups"][0]["budgets"]["1"]["spent"]["mean"] == 0.5
    assert second["groups"][0]["budgets"]["1"]["spent"]["mean"] == 1.5
    assert [g["kind"] for g in first["groups"]] == ["made-up"]
