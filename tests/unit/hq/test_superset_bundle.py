"""Superset's dashboards as files: what they ask for is there, and a chart says its unit."""

import json

import pytest

from pbal_hq.superset import BOARDS, DATASETS
from pbal_hq.superset.bundle import bundle, documents, rows

UNITS = (" A", " %", " °C", " kWh")
DATA = {data.name: data for data in DATASETS}
CHARTS = [(board, chart) for board in BOARDS for chart in board.charts]
EACH = pytest.mark.parametrize(
    ("board", "chart"), CHARTS, ids=[f"{board.name}: {chart.title}" for board, chart in CHARTS]
)


@EACH
def test_what_a_chart_asks_for_is_there(board, chart):
    data = DATA[chart.data]
    assert set(chart.metrics) <= set(data.metrics)
    assert set(chart.by) <= set(data.columns)
    if chart.above:
        assert chart.above[0] in data.columns


@EACH
def test_an_axis_has_its_unit_in_the_title(board, chart):
    if chart.kind not in ("line", "bar"):
        return
    # "V A" is the voltage of phase A.
    metrics = [metric for metric in chart.metrics if not metric.startswith("V ")]
    units = {unit for unit in UNITS for metric in metrics if metric.endswith(unit)}
    assert len(units) <= 1, "two units on one axis"
    for unit in units:
        assert chart.title.endswith(f",{unit}")


def test_the_page_and_the_api_ask_for_the_same_rows():
    made = documents()
    seen = 0
    for name, told in made.items():
        if name.startswith("charts/"):
            (query,) = json.loads(told["query_context"])["queries"]
            asked = [(each["col"], each["op"], each["val"]) for each in query["filters"]]
            shown = [(each["subject"], each["operator"], each["comparator"])
                     for each in told["params"]["adhoc_filters"]]  # fmt: skip
            assert asked == shown, name
            seen += len(asked)
    assert seen
    silent = [told for told in made.values() if "silent" in str(told.get("slice_name"))]
    assert [each["params"]["adhoc_filters"][0]["comparator"] for each in silent] == [1]


def test_titles_of_a_board_are_different_and_rows_are_full():
    for board in BOARDS:
        titles = [chart.title for chart in board.charts]
        assert len(set(titles)) == len(titles)
        for row in rows(board.charts):
            assert sum(chart.width for chart in row) <= 12
    assert bundle() == bundle()
