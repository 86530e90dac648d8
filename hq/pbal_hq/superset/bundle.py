"""The dashboards as the zip that `superset import-dashboards` takes: its export's form, version 1.

Its files are YAML to Superset; ours hold JSON, which is YAML, too. Everything is known by a UUID
made of its name, so that a second import changes what the first one made.
"""

from __future__ import annotations

import io
import json
import uuid
import zipfile
from collections.abc import Iterator, Sequence
from typing import Any

from pbal_hq.superset.boards import BOARDS, Board, Chart
from pbal_hq.superset.data import DATASETS, SCHEMA, TIME, USER, Dataset

DATABASE = "pbal HQ"
VERSION = "1.0.0"
# Over PostgreSQL's own socket; a password is libpq's matter (PGPASSFILE), not Superset's.
URI = f"postgresql+psycopg2://{USER}@/pbal_hq?host=/run/postgresql"
_SPACE = uuid.UUID("7d0f3d1c-58f3-4f5e-9d0e-6a1f0c9b2a41")
_ROWS = 1000
_VIZ = {"number": "big_number_total", "line": "echarts_timeseries_line",
        "bar": "echarts_timeseries_bar", "table": "table"}  # fmt: skip
_HEIGHT = {"number": 20, "line": 50, "bar": 50, "table": 50}
_ACROSS = 12


def _id(*words: str) -> str:
    return str(uuid.uuid5(_SPACE, "/".join(words)))


def _database(uri: str) -> dict[str, Any]:
    return {
        "database_name": DATABASE, "sqlalchemy_uri": uri, "cache_timeout": None,
        "expose_in_sqllab": False, "allow_run_async": False, "allow_ctas": False,
        "allow_cvas": False, "allow_dml": False, "allow_file_upload": False, "extra": {},
        "uuid": _id("database"), "version": VERSION,
    }  # fmt: skip


def _dataset(data: Dataset) -> dict[str, Any]:
    columns = [
        {"column_name": name, "type": kind, "is_dttm": kind.startswith("TIMESTAMP"),
         "filterable": True, "groupby": True}
        for name, kind in data.columns.items()
    ]  # fmt: skip
    metrics = [
        {"metric_name": name, "verbose_name": name, "expression": sql, "metric_type": None}
        for name, sql in data.metrics.items()
    ]
    return {
        "table_name": data.name, "main_dttm_col": TIME, "schema": SCHEMA, "uuid":
        _id("dataset", data.name), "database_uuid": _id("database"), "version": VERSION,
        "columns": columns, "metrics": metrics, "filter_select_enabled": True,
    }  # fmt: skip


def _params(chart: Chart) -> dict[str, Any]:
    """What Superset's pages make the chart's query and look of."""
    told: dict[str, Any] = {"viz_type": _VIZ[chart.kind], "row_limit": _ROWS, "adhoc_filters": []}
    told["adhoc_filters"] = [
        {"clause": "WHERE", "expressionType": "SIMPLE", "subject": each["col"],
         "operator": each["op"], "comparator": each["val"]}
        for each in _filters(chart)
    ]  # fmt: skip
    if chart.kind == "number":
        (told["metric"],) = chart.metrics
        return told | {"y_axis_format": ",.2~f"}
    told |= {"metrics": list(chart.metrics), "groupby": list(chart.by)}
    if chart.kind == "table":
        # Bars in cells would set degrees beside per cent.
        return told | {"query_mode": "aggregate", "order_desc": True, "show_cell_bars": False,
                       "table_timestamp_format": "smart_date", "server_page_length": 10,
                       "column_config": {name: {"d3NumberFormat": ",.2~f"}
                                         for name in chart.metrics}}  # fmt: skip
    # A lonely window is a line without length: markers show it.
    return told | {"x_axis": TIME, "time_grain_sqla": chart.grain, "show_legend": True,
                   "rich_tooltip": True, "markerEnabled": True, "markerSize": 3,
                   "truncateYAxis": not chart.from_zero, "y_axis_bounds": [None, None],
                   "x_axis_time_format": chart.clock,
                   "tooltipTimeFormat": "%Y-%m-%d %H:%M"}  # fmt: skip


def _filters(chart: Chart) -> list[dict[str, Any]]:
    """Which rows it is of, as a query says it."""
    found: list[dict[str, Any]] = []
    if chart.since:
        found.append({"col": TIME, "op": "TEMPORAL_RANGE", "val": chart.since})
    if chart.above:
        found.append({"col": chart.above[0], "op": ">", "val": chart.above[1]})
    return found


def _query(chart: Chart) -> dict[str, Any]:
    """The query, for who asks the chart's data through the API."""
    columns: list[Any] = list(chart.by)
    if chart.kind in ("line", "bar"):
        columns.insert(0, {"columnType": "BASE_AXIS", "expressionType": "SQL", "label": TIME,
                           "sqlExpression": TIME, "timeGrain": chart.grain})  # fmt: skip
    query = {"columns": columns, "metrics": list(chart.metrics), "filters": _filters(chart),
             "orderby": [], "row_limit": _ROWS}  # fmt: skip
    return {
        "datasource": {"id": 0, "type": "table"}, "force": False, "queries": [query],
        "form_data": _params(chart), "result_format": "json", "result_type": "full",
    }  # fmt: skip


def _chart(board: Board, chart: Chart) -> dict[str, Any]:
    return {
        "slice_name": chart.title, "description": chart.note or None, "viz_type": _VIZ[chart.kind],
        "params": _params(chart), "query_context": json.dumps(_query(chart)), "cache_timeout": None,
        "uuid": _id("chart", board.name, chart.title), "version": VERSION,
        "dataset_uuid": _id("dataset", chart.data),
    }  # fmt: skip


def rows(charts: Sequence[Chart]) -> Iterator[list[Chart]]:
    """Charts side by side, as many as there is room for."""
    row: list[Chart] = []
    for chart in charts:
        if sum(each.width for each in row) + chart.width > _ACROSS:
            yield row
            row = []
        row.append(chart)
    if row:
        yield row


def _position(board: Board) -> dict[str, Any]:
    placed: dict[str, Any] = {
        "DASHBOARD_VERSION_KEY": "v2",
        "ROOT_ID": {"type": "ROOT", "id": "ROOT_ID", "children": ["GRID_ID"]},
        "GRID_ID": {"type": "GRID", "id": "GRID_ID", "children": [], "parents": ["ROOT_ID"]},
        "HEADER_ID": {"type": "HEADER", "id": "HEADER_ID", "meta": {"text": board.title}},
    }
    number = 0
    for at, row in enumerate(rows(board.charts), 1):
        name, parents = f"ROW-{at}", ["ROOT_ID", "GRID_ID"]
        children = []
        for chart in row:
            number += 1
            children.append(f"CHART-{number}")
            meta = {"width": chart.width, "height": _HEIGHT[chart.kind], "chartId": number,
                    "sliceName": chart.title,
                    "uuid": _id("chart", board.name, chart.title)}  # fmt: skip
            placed[children[-1]] = {"type": "CHART", "id": children[-1], "children": [],
                                    "parents": [*parents, name], "meta": meta}  # fmt: skip
        placed[name] = {"type": "ROW", "id": name, "children": children, "parents": parents,
                        "meta": {"background": "BACKGROUND_TRANSPARENT"}}  # fmt: skip
        placed["GRID_ID"]["children"].append(name)
    return placed


def _choice(board: Board) -> list[dict[str, Any]]:
    """The filter by which people choose one of something; the first is chosen at the beginning."""
    if not board.one_of:
        return []
    return [{
        "id": "NATIVE_FILTER-1", "name": board.one_of, "type": "NATIVE_FILTER",
        "filterType": "filter_select", "description": "", "cascadeParentIds": [],
        "targets": [{"datasetUuid": _id("dataset", "sites"), "column": {"name": board.one_of}}],
        "defaultDataMask": {"extraFormData": {}, "filterState": {}},
        "controlValues": {"defaultToFirstItem": True, "enableEmptyFilter": True,
                          "multiSelect": False, "searchAllOptions": True,
                          "inverseSelection": False},
        "scope": {"rootPath": ["ROOT_ID"], "excluded": []},
    }]  # fmt: skip


def _dashboard(board: Board) -> dict[str, Any]:
    metadata = {"refresh_frequency": 300, "cross_filters_enabled": False,
                "native_filter_configuration": _choice(board)}  # fmt: skip
    return {
        "dashboard_title": board.title, "slug": f"pbal-{board.name}", "css": "", "published": True,
        "uuid": _id("dashboard", board.name), "version": VERSION, "metadata": metadata,
        "position": _position(board),
    }  # fmt: skip


def documents(uri: str = URI) -> dict[str, dict[str, Any]]:
    """Path within the zip -> what it says. `uri`: of the database, as SQLAlchemy has it."""
    out: dict[str, dict[str, Any]] = {
        "metadata.yaml": {"version": VERSION, "type": "Dashboard",
                          "timestamp": "2026-01-01T00:00:00+00:00"},
        "databases/pbal.yaml": _database(uri),
    }  # fmt: skip
    for data in DATASETS:
        out[f"datasets/pbal/{data.name}.yaml"] = _dataset(data)
    for board in BOARDS:
        out[f"dashboards/{board.name}.yaml"] = _dashboard(board)
        for number, chart in enumerate(board.charts, 1):
            out[f"charts/{board.name}_{number}.yaml"] = _chart(board, chart)
    return out


def bundle(uri: str = URI) -> bytes:
    """The zip; the same bytes each time."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
        for name, told in documents(uri).items():
            entry = zipfile.ZipInfo(f"pbal/{name}")
            file.writestr(entry, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
    return made.getvalue()
