"""Figures of areas over hours or days, from Druid or from the lake, with quantiles over windows.

Sums are made as the store makes them, by the SQL of trends. Druid's quantiles come from sketches
and are near; the lake's are exact.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from pbal_hq.lake import SUMMARY, Lake, scan
from pbal_hq.reports import QUANTILES, STEPS, TREND_COLUMNS, Point, Question
from pbal_hq.trends.druid import SKETCHES, Druid, by_slot, quantiles
from pbal_hq.trends.months import dated, figures, table_of
from pbal_hq.trends.rollup import summed

_WIDTH = 2 + 1 + len(TREND_COLUMNS)  # area, slot, count, the columns
_NONE = (None,) * len(QUANTILES)
# Beyond that an area's quantiles are not asked for: each query names its sites.
_MOST_SITES = 5000


def _tables(question: Question) -> dict[str, pa.Table]:
    slots = question.slots()
    return {
        "placed": table_of(question.places),
        "periods": pa.table({
            "slot": pa.array([at for at, _ in slots], pa.int64()),
            "seconds": pa.array([seconds for _, seconds in slots], pa.float64()),
        }),
    }  # fmt: skip


def _point(row: Sequence[Any], spread: Sequence[float | None]) -> Point:
    at = datetime.datetime.fromtimestamp(row[1], datetime.UTC)
    return Point(row[0], at, row[2], (*row[3:_WIDTH], *spread))


def course_by_lake(lake: Lake, question: Question) -> list[Point]:
    """Raises LakeError."""
    length = STEPS[question.step]
    spread = ", ".join(
        f"quantile_cont(w.{q.field}, {q.share}) AS q{n}" for n, q in enumerate(QUANTILES)
    )
    found = figures(
        f", spread AS (SELECT p.area, w.start_s - w.start_s % {length} AS slot, {spread}"
        " FROM wide w JOIN placed p ON p.transformer = w.transformer_id GROUP BY 1, 2) "
        f"SELECT t.*, {', '.join(f'q.q{n}' for n in range(len(QUANTILES)))} FROM totals t"
        " LEFT JOIN spread q ON q.area = t.area AND q.slot = t.slot ORDER BY 1, 2"
    )
    sql = f"WITH {dated('start_at', question.step)}, {found}"
    rows = scan(
        lake, SUMMARY, question.since.date(), question.until.date(), sql, **_tables(question)
    )
    return [_point(row, row[_WIDTH:]) for row in rows]


def course_by_druid(
    server: Druid, source: str, sites: Mapping[int, int], question: Question
) -> tuple[list[Point], bool]:
    """The points, and whether with quantiles. `sites`: their transformers. Raises TrendsError."""
    area_of = {place.transformer: place.area for place in question.places}
    wanted = {site: one for site, one in sites.items() if one in area_of}
    named = sorted(wanted) if len(wanted) <= _MOST_SITES else None
    span = (question.since.date(), question.until.date(), question.step)
    rows = [row for row in server.sql(by_slot(source, *span, named)) if row["site"] in wanted]
    slots = pa.array([row["slot"] for row in rows], pa.int64())
    found = summed(rows, wanted, slots, **_tables(question))
    spread: dict[tuple[str, int], list[float | None]] = {}
    lines: dict[str, list[int]] = {}
    for site, one in wanted.items():
        lines.setdefault(area_of[one], []).append(site)
    if named:
        of_field = {field: sketch for sketch, field in SKETCHES.items()}
        asked = [(of_field[q.field], q.share) for q in QUANTILES]
        areas = sorted(lines)
        for row in server.sql(quantiles(source, *span, [lines[each] for each in areas], asked)):
            values = [_known(row[f"q{n}"]) for n in range(len(QUANTILES))]
            spread[areas[row["line"]], row["slot"]] = values
    points = [_point(row, spread.get((row[0], row[1]), _NONE)) for row in found]
    return points, named is not None


def _known(value: object) -> float | None:
    """Druid says NaN, as a text, of a sketch with nothing in it."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
