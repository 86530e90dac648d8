"""The summaries' table: one row for each window of a transformer, however often it comes.

Of two summaries of the same window (a reading of the running one, a controller that was restarted
within it) the one with more sampled seconds stays; of equal ones the later.
"""

from __future__ import annotations

import datetime
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import sql

from pbal_hq.database import Connection
from pbal_uplink import Summary

_TYPES = {"B": "int2", "H": "int4", "h": "int2", "i": "int4", "I": "int8"}
_KEPT = [field for field in Summary.DECLARED if field.name not in ("site", "start_s")]
_NAMES = [field.name for field in _KEPT]
_HEAD = {
    "transformer_id": "int4", "start_at": "timestamptz", "site_id": "int8",
    "historical": "bool", "received_at": "timestamptz",
}  # fmt: skip
_COLUMNS = _HEAD | {
    field.name: "float4" if field.is_float else _TYPES[field.code] for field in _KEPT
}


_STAGE = "summary_stage"


def _insert(source: str) -> str:
    names = ", ".join(_COLUMNS)
    sets = ", ".join(
        f"{name} = EXCLUDED.{name}"
        for name in _COLUMNS
        if name not in ("transformer_id", "start_at")
    )
    return (
        f"INSERT INTO summary ({names}) SELECT {names} FROM {source} "
        f"ON CONFLICT (transformer_id, start_at) DO UPDATE SET {sets} "
        "WHERE EXCLUDED.length_s * EXCLUDED.complete_percent "
        ">= summary.length_s * summary.complete_percent"
    )


# By binary COPY into a temporary table, from there in one statement.
_MAKE_STAGE = (
    f"CREATE TEMP TABLE IF NOT EXISTS {_STAGE} "
    f"({', '.join(f'{name} {kind}' for name, kind in _COLUMNS.items())}) ON COMMIT DELETE ROWS"
)
_COPY = f"COPY {_STAGE} ({', '.join(_COLUMNS)}) FROM STDIN (FORMAT BINARY)"
_FROM_STAGE = _insert(_STAGE)
# By arrays as parameters, for servers that take no COPY.
_FROM_ARRAYS = _insert(
    f"unnest({', '.join(f'%s::{kind}[]' for kind in _COLUMNS.values())}) "
    f"AS x ({', '.join(_COLUMNS)})"
)


@dataclass(frozen=True)
class Row:
    """One summary on its way into the table. `fields`: pbal_uplink's as_dict."""

    transformer: int
    start: datetime.datetime
    site: int
    historical: bool
    received: datetime.datetime
    fields: dict[str, Any]

    @property
    def sampled(self) -> int:
        """How much of it was sampled, in seconds * percent."""
        return int(self.fields["length_s"] * self.fields["complete_percent"])


def once(rows: Iterable[Row]) -> list[Row]:
    """One row for each window, as the table would keep it."""
    best: dict[tuple[int, datetime.datetime], Row] = {}
    for row in rows:
        key = (row.transformer, row.start)
        if key not in best or row.sampled >= best[key].sampled:
            best[key] = row
    return list(best.values())


async def insert(db: Connection, rows: Sequence[Row], *, copy: bool = True) -> None:
    """Insert or replace, and note the hours that changed. Within the caller's transaction.

    `copy`: by COPY, at a third of the processor time; without it by arrays as parameters.
    """
    if not rows:
        return
    kept = once(rows)
    await make_partitions(db, {row.start.date() for row in kept})
    await (_by_copy if copy else _by_arrays)(db, [_cells(row) for row in kept])
    # In order, so that no two writers wait for each other. One that is noted already is written
    # once more: so it is locked, and nobody sums the hour up, and forgets it, without these rows.
    hours = sorted({(row.transformer, row.start.replace(minute=0, second=0)) for row in kept})
    await db.execute(
        "INSERT INTO summary_due SELECT * FROM unnest(%s::int[], %s::timestamptz[]) "
        "ON CONFLICT (transformer_id, start_at) DO UPDATE SET start_at = EXCLUDED.start_at",
        ([hour[0] for hour in hours], [hour[1] for hour in hours]),
    )


_pick = operator.itemgetter(*_NAMES)


def _cells(row: Row) -> tuple[Any, ...]:
    return (row.transformer, row.start, row.site, row.historical, row.received, *_pick(row.fields))


async def _by_copy(db: Connection, rows: list[tuple[Any, ...]]) -> None:
    await db.execute(_MAKE_STAGE.encode())
    async with db.cursor() as cursor, cursor.copy(_COPY.encode()) as copy:
        copy.set_types(list(_COLUMNS.values()))
        for row in rows:
            await copy.write_row(row)
    await db.execute(_FROM_STAGE.encode())


async def _by_arrays(db: Connection, rows: list[tuple[Any, ...]]) -> None:
    await db.execute(_FROM_ARRAYS.encode(), [list(column) for column in zip(*rows, strict=True)])


async def partitioned(db: Connection) -> bool:
    """Whether the table is PostgreSQL's own partitioning, and not TimescaleDB's."""
    cursor = await db.execute("SELECT relkind = 'p' FROM pg_class WHERE oid = 'summary'::regclass")
    row = await cursor.fetchone()
    return bool(row and row[0])


def _partition(day: datetime.date) -> str:
    return f"summary_p{day:%Y%m%d}"


async def make_partitions(db: Connection, days: set[datetime.date]) -> None:
    """Those of these days that are missing; nothing on TimescaleDB, which makes its own."""
    cursor = await db.execute(
        "SELECT name FROM unnest(%s::text[]) name WHERE to_regclass(name) IS NULL",
        ([_partition(day) for day in days],),
    )
    missing = {name for (name,) in await cursor.fetchall()}
    if not missing or not await partitioned(db):
        return
    # Two writers must not make the same one.
    await db.execute("SELECT pg_advisory_xact_lock(hashtext('pbal summary partitions'))")
    for day in sorted(days):
        if _partition(day) in missing:
            await db.execute(
                sql.SQL(
                    "CREATE TABLE IF NOT EXISTS {} PARTITION OF summary "
                    "FOR VALUES FROM ({}) TO ({})"
                ).format(
                    sql.Identifier(_partition(day)),
                    sql.Literal(f"{day} 00:00+00"),
                    sql.Literal(f"{day + datetime.timedelta(days=1)} 00:00+00"),
                )
            )


async def drop_before(db: Connection, day: datetime.date) -> int:
    """Drop the days before `day`; returns how many partitions or chunks."""
    if not await partitioned(db):
        cursor = await db.execute(
            "SELECT count(*) FROM drop_chunks('summary', %s::timestamptz)",
            (datetime.datetime.combine(day, datetime.time(), datetime.UTC),),
        )
        row = await cursor.fetchone()
        return int(row[0]) if row else 0
    cursor = await db.execute(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'summary'::regclass AND c.relname < %s ORDER BY 1",
        (_partition(day),),
    )
    names = [name for (name,) in await cursor.fetchall()]
    for name in names:
        await db.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
    return len(names)
