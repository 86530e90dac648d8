"""Areas by month from Druid, with the same figures as from the lake, by the same SQL.

Druid sums up each site's months; what is a figure of them and of an area is said in one place.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from pbal_hq.database import Connection
from pbal_hq.reports import Place
from pbal_hq.trends.druid import Druid, by_month
from pbal_hq.trends.months import Month, figures, periods, table_of

# The columns of the store's sums that the figures use -> Druid's; of phases one has the sum.
_COLUMNS = {
    "sampled_s": "sampled_s", "ea_import_kwh": "import_kwh", "ea_export_kwh": "export_kwh",
    "in_mean_a": "neutral", "in_max_a": "neutral_max_a", "load_max_percent": "load_max_percent",
    "hotspot_max_c": "hotspot_max_c", "losses_avoided_wh": "saved_wh", "confirmed": "moved",
    "refused": "not_moved", "pvur_mean_percent": "pvur",
    **{f"v{p}_min_v": "min_v" for p in "abc"}, **{f"v{p}_max_v": "max_v" for p in "abc"},
}  # fmt: skip
_ZERO = ("eb_import_kwh", "ec_import_kwh", "eb_export_kwh", "ec_export_kwh", "failed", "expired",
         "disagreed")  # fmt: skip


async def transformers(db: Connection) -> dict[int, int]:
    """The transformer of each site."""
    return dict(await (await db.execute("SELECT id, transformer_id FROM site")).fetchall())


def months_by_druid(
    druid: Druid,
    source: str,
    areas: Sequence[Place],
    sites: Mapping[int, int],
    since: datetime.date,
    until: datetime.date,
    now: datetime.datetime,
) -> list[Month]:
    """As `months` of the lake. Raises TrendsError."""
    first = since.replace(day=1)
    rows = [row for row in druid.sql(by_month(source, first, until)) if row["site"] in sites]
    slots = pa.array([datetime.date.fromisoformat(row["month"]) for row in rows], pa.date32())
    found = summed(rows, sites, slots, placed=table_of(areas), periods=periods(first, until, now))
    return [Month(row[0], row[1], row[2], row[3:]) for row in found]


def summed(
    rows: Sequence[Mapping[str, Any]],
    sites: Mapping[int, int],
    slots: pa.Array,
    **tables: pa.Table,
) -> list[tuple[Any, ...]]:
    """The figures of Druid's rows, each with its slot. `tables`: `placed` and `periods`."""
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        for name, table in (tables | {"dated": _dated(rows, sites, slots)}).items():
            db.register(name, table)
        return db.execute(f"WITH {figures()}").fetchall()


def _dated(
    rows: Sequence[Mapping[str, Any]], sites: Mapping[int, int], slots: pa.Array
) -> pa.Table:
    columns: dict[str, Any] = {
        "transformer_id": pa.array([sites[row["site"]] for row in rows], pa.int32()),
        "slot": slots,
    }
    for name, own in _COLUMNS.items():
        columns[name] = pa.array([row[own] for row in rows], pa.float64())
    for name in _ZERO:
        columns[name] = pa.array([0.0] * len(rows), pa.float64())
    return pa.table(columns)
