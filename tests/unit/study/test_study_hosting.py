"""Hosting capacity: the share at which a limit is passed, found by bisection."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pbal_study.errors import InputError
from pbal_study.feeder.model import LoadPoint, ideal_feeder
from pbal_study.run.controllers import as_built
from pbal_study.run.hosting import hosted, passed_limit
from pbal_study.run.street import Street
from pbal_tools.study.cli import app


@pytest.mark.parametrize(
    ("limit_a", "share"), [(1000.0, 1.0), (50.5, 0.4), (5.0, -1.0), (10.5, 0.0)]
)
def test_the_share_is_the_last_that_passes(limit_a: float, share: float) -> None:
    """10 homes on one phase, 230 W each and 10 A more with a car: 10 A + 10 A a car."""
    points = [LoadPoint(f"h{k}", "", 0, power_factor=1.0) for k in range(10)]
    feeder = ideal_feeder(points)

    def street_at(part: float) -> Street:
        watts = np.full((60, 10), 230.0, np.float32)
        watts[:, : round(part * 10)] += 2300.0
        return Street(feeder, watts, 60, "power")

    found = hosted("ev", "as_built", street_at, as_built, limit_a)
    assert found.share == pytest.approx(share)
    assert bool(found.first) == (share < 1.0)


def test_each_limit_has_its_words() -> None:
    good = {"peak_10min": {"phase_a": 50.0}, "voltage": {"en50160_passed": True},
            "vuf": {"en50160_passed": True}}  # fmt: skip
    assert passed_limit(good, 60.0) == ""
    assert passed_limit(good, 0.0) == ""
    assert "above 40 A" in passed_limit(good, 40.0)
    assert "voltages" in passed_limit({**good, "voltage": {"en50160_passed": False}}, 60.0)
    assert "unbalance" in passed_limit({**good, "vuf": {"en50160_passed": False}}, 60.0)


def test_the_command_tells_it_as_built_and_with_pbal(tmp_path: Path) -> None:
    rows = "".join(f"{900 * k},{300 + k % 5 * 90},{500 + k % 3 * 90},150\n" for k in range(96))
    (tmp_path / "p.csv").write_text("time,a,b,c\n" + rows)
    (tmp_path / "h.csv").write_text("home,phase\na,A\nb,A\nc,B\n")
    args = ["--homes", str(tmp_path / "h.csv"), "--profiles", str(tmp_path / "p.csv"), "--json"]
    args += ["--phase-limit", "60", "--controllers", "pbal", "--rank-days", "1"]
    done = CliRunner().invoke(app, [*args, "--hosting", "ev"])
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert [h["controller"] for h in data["hosting"]] == ["as_built", "pbal"]
    assert all(-1 <= h["share"] <= 1 for h in data["hosting"])
    assert data["controllers"]["pbal"]["money"]["room_kw"] > 0
    shown = CliRunner().invoke(
        app, [*(a for a in args if a != "--json"), "--hosting", "ev", "--phase-limit", "30"]
    )
    text = " ".join(shown.output.split())
    assert re.search(
        r"As built \d+ % of the homes may have a car, .*phase current above 30 A", text
    )
    assert re.search(r"relays in 1 of 3 homes \(\w\) .* by (0|[+-]\d+) % where the other", text)
    wrong = CliRunner().invoke(app, [*args, "--hosting", "heat"])
    assert isinstance(wrong.exception, InputError)
