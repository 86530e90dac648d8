"""Areas by month, with the figures of reports, from the lake.

The lake's rows are summed up as the store does it (hours, days; means weighted by sampled seconds),
and the figures are those of pbal_hq.reports, by the same SQL: so a month here has the numbers of
its report. The store keeps raw summaries for some months; the lake for as long as there is room.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from pbal_hq.database import Connection
from pbal_hq.lake import SUMMARY, Lake, scan
from pbal_hq.reports import TREND_COLUMNS, Place
from pbal_hq.store import WEIGHT, terms_of

COLUMNS = TREND_COLUMNS


@dataclass(frozen=True)
class Month:
    """One area's month. `values`: of COLUMNS; None where not known."""

    area: str
    month: datetime.date
    transformers: int
    values: tuple[float | None, ...]


async def placed(db: Connection, level: str) -> list[Place]:
    """All transformers, by the area of `level`, named by its path as in "KL/ERN"."""
    cursor = await db.execute(
        "SELECT t.id, string_agg(a.code, '/' ORDER BY area_level(a.level)) FROM transformer t "
        "JOIN area_within w ON w.area_id = t.feeder_id JOIN area a ON a.id = w.ancestor_id "
        "WHERE area_level(a.level) <= area_level(%s) GROUP BY t.id",
        (level,),
    )
    return [Place(*row) for row in await cursor.fetchall()]


def periods(since: datetime.date, until: datetime.date, now: datetime.datetime) -> pa.Table:
    """The months that have begun, from that of `since` to that before `until`."""
    rows = []
    month = since.replace(day=1)
    while month < until:
        after = (month + datetime.timedelta(days=32)).replace(day=1)
        start, end = (
            datetime.datetime.combine(day, datetime.time(), datetime.UTC) for day in (month, after)
        )
        if start < now:
            rows.append({"slot": month, "seconds": (min(end, now) - start).total_seconds()})
        month = after
    schema = pa.schema([("slot", pa.date32()), ("seconds", pa.float64())])
    return pa.Table.from_pylist(rows, schema=schema)


def _select(source: str, start: str, weight: str, *, same: bool) -> str:
    terms = ", ".join(f"{term} AS {name}" for name, term in terms_of(weight, same=same).items())
    return (
        f"SELECT r.transformer_id, {start} AS start_at, sum({weight}) AS sampled_s, {terms} "
        f"FROM {source} r GROUP BY 1, 2"
    )


MONTHS = "CAST(date_trunc('month', to_timestamp(start_at)) AS DATE)"


def dated(slot: str = MONTHS, source: str = "days") -> str:
    """SQL of `dated`, from the lake's rows of `placed`; to follow a WITH.

    Hours or days (`source`) of transformers, each with the `slot` that it is a part of.
    """
    # Small whole numbers of the files would overflow when they are multiplied.
    wide = ", ".join(
        f"CAST({field.name} AS {'DOUBLE' if field.is_float else 'BIGINT'}) AS {field.name}"
        for field in SUMMARY.message.DECLARED
    )
    hours = _select("wide", "r.start_s - r.start_s % 3600", WEIGHT, same=False)
    whole = _select("hours", "r.start_at - r.start_at % 86400", "r.sampled_s", same=True)
    return (
        f"wide AS (SELECT transformer_id, {wide} FROM summary WHERE transformer_id IN "
        f"(SELECT transformer FROM placed)), hours AS ({hours}), "
        f"days AS ({whole}), dated AS (SELECT *, {slot} AS slot FROM {source})"
    )


def figures(then: str = "SELECT * FROM totals ORDER BY 1, 2") -> str:
    """SQL of the figures, over `dated`, `placed` and `periods`; to follow a WITH.

    `then`: what follows `totals`: area, slot, how many transformers, the columns.
    """
    each = ", ".join(
        f"CAST({c.sql.replace('%(seconds)s', 'any_value(m.seconds)')} AS DOUBLE) AS c{n}"
        for n, c in enumerate(COLUMNS)
    )
    totals = ", ".join(c.totalled(f"c{n}") for n, c in enumerate(COLUMNS))
    return (
        f"each AS (SELECT p.transformer, any_value(p.area) AS area, m.slot, {each} "
        "FROM placed p CROSS JOIN periods m LEFT JOIN dated d "
        "ON d.transformer_id = p.transformer AND d.slot = m.slot GROUP BY p.transformer, m.slot)"
        f", totals AS (SELECT area, slot, count(*) AS n, {totals} FROM each GROUP BY area, slot) "
        f"{then}"
    )


def months(
    lake: Lake,
    areas: Sequence[Place],
    since: datetime.date,
    until: datetime.date,
    now: datetime.datetime,
) -> list[Month]:
    """Each area's months, those of `since` up to that before `until`. Raises LakeError."""
    first = since.replace(day=1)
    rows = scan(
        lake, SUMMARY, first, until, f"WITH {dated()}, {figures()}",
        placed=table_of(areas), periods=periods(first, until, now),
    )  # fmt: skip
    return [Month(row[0], row[1], row[2], row[3:]) for row in rows]


def table_of(areas: Sequence[Place]) -> pa.Table:
    """`placed` for SQL."""
    return pa.table({
        "transformer": pa.array([each.transformer for each in areas], pa.int32()),
        "area": pa.array([each.area for each in areas], pa.string()),
    })  # fmt: skip
