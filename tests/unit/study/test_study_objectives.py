"""What pbal weighs in a study: losses where they are known, and the current a phase may carry."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pbal_study.feeder.model import LoadPoint, ideal_feeder
from pbal_study.run.controllers import Loop, pbal
from pbal_study.run.metrics import judge
from pbal_study.run.objectives import LOSSES_BETA, both_objectives
from pbal_study.run.street import Street
from pbal_tools.study.cli import app
from pbal_tools.study.demo import home_watts

HOMES = 12
ALL = np.ones(HOMES, bool)


def street(ohm: float = 0.05) -> Street:
    points = [LoadPoint(f"h{k}", "", "ABC".index("AAAAAABBBBCC"[k])) for k in range(HOMES)]
    watts = home_watts(2, 3, HOMES)[960:1680]
    return Street(ideal_feeder(points, phase_ohm=ohm, neutral_ohm=ohm), watts, 60, "power")


def test_either_objective_is_told_and_each_is_best_at_its_own() -> None:
    loop = Loop(use_feeder=True, beta=LOSSES_BETA, price=4.0, budget_per_day=None)
    both = {w.objective: w for w in both_objectives(street(), ALL, loop, days=0.5)}
    assert list(both) == ["losses", "neutral"]
    assert both["losses"].loss_cut > 0.0
    assert both["neutral"].neutral_cut > 0.0
    assert all(w.peak_phase_a > 10.0 for w in both.values())
    assert both_objectives(street(0.0), ALL, loop, days=0.5) == []


def highest_phase_a(on: Street, loop: Loop) -> float:
    """Of all minutes but the first hour's, in which the first readings come."""
    return float(judge(on, pbal(on, ALL, loop), 20.0).phase_a[60:].max())


def test_a_phase_limit_brings_a_phase_down_at_any_price() -> None:
    points = [LoadPoint(f"h{k}", "", 0) for k in range(HOMES)]
    steady = np.full((240, HOMES), 1000.0, np.float32)
    on = Street(ideal_feeder(points), steady, 60, "power")
    loop = Loop(price=1e9, budget_per_day=None)
    alone = highest_phase_a(on, loop)
    assert alone > 45.0
    assert highest_phase_a(on, replace(loop, phase_limit_a=30.0)) <= 30.0
    # A limit that is kept anyway moves nothing.
    assert highest_phase_a(on, replace(loop, phase_limit_a=alone + 1.0)) == pytest.approx(alone)


def write_inputs(folder: Path) -> list[str]:
    watts = home_watts(2, 3, 6)[960:1320]
    rows = "".join(
        f"2026-01-12T{k // 60:02d}:{k % 60:02d},{','.join(f'{w:.0f}' for w in row)}\n"
        for k, row in enumerate(watts)
    )
    (folder / "p.csv").write_text("time," + ",".join(f"h{k}" for k in range(6)) + "\n" + rows)
    (folder / "h.csv").write_text("home,phase\n" + "".join(f"h{k},A\n" for k in range(6)))
    return ["--homes", str(folder / "h.csv"), "--profiles", str(folder / "p.csv")]


def test_losses_are_weighed_where_they_are_known_and_the_rating_is_the_limit(
    tmp_path: Path,
) -> None:
    args = [*write_inputs(tmp_path), "--json", "--rank-days", "0.2", "--kva", "20"]
    told = {}
    for name, more in (
        ("lines", ["--main-ohm", "0.1"]),
        ("none", []),
        ("asked", ["--main-ohm", "0.1", "--phase-limit", "25", "--objective", "neutral"]),
    ):
        done = CliRunner().invoke(app, [*args, *more])
        assert done.exit_code == 0, done.output
        told[name] = json.loads(done.stdout)
    loops = {name: data["options"]["loop"] for name, data in told.items()}
    assert [loops[k]["use_feeder"] for k in told] == [True, False, False]
    rated_a = 20_000 / (3**0.5 * 400)
    assert loops["lines"]["phase_limit_a"] == pytest.approx(rated_a, rel=0.01)
    assert loops["asked"]["phase_limit_a"] == 25.0
    assert [w["objective"] for w in told["lines"]["objectives"]] == ["losses", "neutral"]
    assert told["none"]["objectives"] == []
    assert all("phase_a" in c["peak_10min"] for c in told["lines"]["controllers"].values())


def test_money_room_and_homes_come_first_on_the_screen(tmp_path: Path) -> None:
    args = [*write_inputs(tmp_path), "--main-ohm", "0.1", "--kva", "20", "--rank-days", "0.2"]
    done = CliRunner().invoke(app, [*args, "--relay-cost", "120", "--controller-cost", "900"])
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    words = (
        "On this street pbal would",
        "does not pay",
        "costs 1,620 EUR",
        "kW more fit with pbal",
        "Which homes first: relays in 2 of 6 homes",
        "neutral current, mean A",
    )
    places = [text.index(word) for word in words]
    assert places == sorted(places)
    # A quarter of a day is no year, and both figures of a year say so.
    assert text.count("0.2 days taken for a year of 365") == 2
