"""The lake's rows as one table for DuckDB, whatever they are kept on and encrypted with."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import pyarrow as pa

from pbal_hq.errors import LakeError
from pbal_hq.lake.columns import Kind
from pbal_hq.lake.files import Lake

_PATH = pa.schema([pa.field("day", pa.date32()), pa.field("region", pa.string())])
_TRIES = 3


def _dataset(lake: Lake, kind: Kind, since: datetime.date, until: datetime.date) -> Any:
    import pyarrow.dataset as ds  # loads pandas where it is installed, which takes seconds

    schema = pa.schema([*kind.schema, *_PATH])
    paths = [
        lake.place.full(path)
        for part in lake.parts(kind, since, until)
        for path in lake.files(kind, part)
    ]
    if not paths:
        return ds.dataset(schema.empty_table())
    return ds.dataset(
        paths, schema=schema, format=lake.sealing.to_scan(), filesystem=lake.place.fs,
        partitioning=ds.partitioning(_PATH, flavor="hive"),
        partition_base_dir=lake.place.full(kind.name),
    )  # fmt: skip


@contextmanager
def _session(dataset: Any, kind: Kind) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.register(kind.name, dataset)
        yield db


def scan(
    lake: Lake,
    kind: Kind,
    since: datetime.date,
    until: datetime.date,
    sql: str,
    **tables: pa.Table,
) -> list[tuple[Any, ...]]:
    """Rows of a query over the days from `since` up to `until`, not included.

    The lake's table has the kind's name, its columns, `day` and `region`; `tables` are there, too.
    What was replaced while it was read is read again. Raises LakeError.
    """
    for left in reversed(range(_TRIES)):
        try:
            with _session(_dataset(lake, kind, since, until), kind) as db:
                for name, table in tables.items():
                    db.register(name, table)
                return db.execute(sql).fetchall()
        except (OSError, duckdb.Error) as error:
            if not left:
                raise LakeError(f"{lake.place.url}: cannot be read: {error}") from error
    raise AssertionError("the last try returns or raises")
