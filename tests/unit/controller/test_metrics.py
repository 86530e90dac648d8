"""Metrics, alert rules and the dashboard: Prometheus' conventions, and that they fit together."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from types import SimpleNamespace as N

from rigs.needs import require_tool

from pbal_controller.documents import read_json
from pbal_controller.meters import RESIDUAL_KINDS, TransformerReading
from pbal_controller.view.metrics import render

from .test_view import view

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "pi_controller" / "monitoring"
NAME = re.compile(r"\bpbal_[a-z0-9_]+")
SAMPLE = re.compile(r'([a-z_0-9]+)(?:\{([a-z_]+="[^"]*",?)+\})? (\S+)')
UNITS = ("_seconds", "_bytes", "_amperes", "_volts", "_watts")


def metrics() -> str:
    """Everything that can be shown, with a meter and an alarm."""
    three = (230.0, 231.0, 229.0)
    reading = TransformerReading(three, (10.0, 11.0, 12.0), (2e3, 2e3, 2e3), (0.0,) * 3)
    alarm = {"kind": "unmetered", "phases": "A", "home": None, "why": "x"}
    residual = N(as_dict=lambda: {"residual_a": [1.0, 2.0, None], "alarms": [alarm]})
    return render(view(transformer=lambda: reading, residual=residual))


def test_the_exposition_follows_the_conventions() -> None:
    families: dict[str, str] = {}
    last = ""
    for line in metrics().splitlines():
        if line.startswith("# HELP "):
            name, text = line[7:].split(" ", 1)
            assert text.endswith("."), name
            assert name not in families, f"{name} stands twice"
        elif line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            families[name] = kind
            last = name
            assert name.startswith("pbal_")
            assert (kind == "counter") == name.endswith("_total"), name
            # Units are base units, and stand at the end.
            assert not re.search(r"_(ms|kw|ma|celsius|percent|minutes)(_|$)", name), name
            bare = name.removesuffix("_total")
            for unit in UNITS:
                assert unit not in bare.removesuffix(unit), name
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            assert match[1] == last, "the samples of a family stand together"
            float(match[3])
    assert families["pbal_transformer_residual_amperes"] == "gauge"
    for kind in RESIDUAL_KINDS:
        assert f'pbal_transformer_residual_alarms{{kind="{kind}"}} {int(kind == "unmetered")}' in (
            metrics()
        )


def test_rules_and_dashboard_use_metrics_that_exist() -> None:
    there = set(NAME.findall(metrics()))
    for path in (FOLDER / "alerts.yml", FOLDER / "grafana-dashboard.json"):
        used = set(NAME.findall(path.read_text()))
        assert used, path
        assert used <= there, f"{path.name}: {sorted(used - there)}"


def test_every_alert_says_what_to_do() -> None:
    text = (FOLDER / "alerts.yml").read_text()
    alerts = text.split("- alert: ")[1:]
    assert len(alerts) == len({alert.split("\n")[0] for alert in alerts}) > 8
    for alert in alerts:
        for key in ("expr:", "severity:", "summary:", "description:"):
            assert alert.count(key) == 1, alert


def test_the_dashboard_is_whole() -> None:
    """What Grafana needs of a dashboard: ids once, panels that do not overlap, queries."""
    board = read_json(FOLDER / "grafana-dashboard.json")
    assert board["uid"]
    assert board["schemaVersion"] >= 36
    variables = {item["name"] for item in board["templating"]["list"]}
    ids: set[int] = set()
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["id"] not in ids
        ids.add(panel["id"])
        assert panel["type"] in ("timeseries", "stat")
        assert panel["title"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
        names = [target["refId"] for target in panel["targets"]]
        assert names
        assert len(names) == len(set(names))
        for target in panel["targets"]:
            assert set(re.findall(r"\$(\w+)", target["expr"])) <= variables
            assert target["datasource"]["uid"] == "${datasource}"


def test_promtool_agrees() -> None:
    promtool = require_tool("promtool", "prometheus")
    done = subprocess.run(
        [promtool, "check", "metrics"], input=metrics(), text=True, capture_output=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    done = subprocess.run(
        [promtool, "check", "rules", str(FOLDER / "alerts.yml")], text=True,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
