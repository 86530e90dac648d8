"""The lake's figures beside the store's: of each day and region the rows and each column's sum.

Sums are of whole numbers, as they were on the wire, so that equal rows have equal sums.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from pbal_hq.database import Connection
from pbal_hq.lake.columns import EVENT, SUMMARY, Kind
from pbal_hq.lake.files import Lake
from pbal_hq.lake.scan import scan
from pbal_hq.lake.writer import in_thread
from pbal_uplink import Field

_SITES = "(SELECT id, split_part(site_key(s), '/', 1) AS region FROM site s)"
# The time, in the store's tables.
_AT = {SUMMARY: "start_at", EVENT: "at"}
_Figures = dict[tuple[datetime.date, str], tuple[int, ...]]


@dataclass(frozen=True)
class Difference:
    """Of one day and region: what differs, in the store and in the lake."""

    kind: str
    day: datetime.date
    region: str
    what: str
    store: int
    lake: int

    def __str__(self) -> str:
        return (
            f"{self.day} {self.region}: {self.kind}: {self.what}: {self.store} in the store, "
            f"{self.lake} in the lake"
        )


def _summed(kind: Kind) -> list[Field]:
    """The columns with whole numbers on the wire that fit a bigint."""
    return [
        f
        for f in kind.message.DECLARED
        if not (f.is_text or f.is_bytes or f.code == "Q" or f.name == kind.at)
    ]


def _sums(kind: Kind) -> str:
    # The same words for PostgreSQL and DuckDB. The store calls the site site_id.
    return "".join(
        f", sum(CAST(round(CAST(r.{field.name} AS double precision) * {field.divisor}) AS bigint))"
        for field in _summed(kind)
        if field.name != "site"
    )


def _names(kind: Kind) -> list[str]:
    return ["rows", kind.at, *(f.name for f in _summed(kind) if f.name != "site")]


async def _store(
    db: Connection, kind: Kind, since: datetime.date, until: datetime.date
) -> _Figures:
    at = f"r.{_AT[kind]}"
    cursor = await db.execute(
        f"SELECT ({at} AT TIME ZONE 'UTC')::date, s.region, count(*), "
        f"sum(extract(epoch FROM {at})::bigint){_sums(kind)} "
        f"FROM {kind.name} r JOIN {_SITES} s ON s.id = r.site_id "
        f"WHERE {at} >= %s::date AND {at} < %s::date GROUP BY 1, 2".encode(),
        (since, until),
    )
    return {(row[0], row[1]): _whole(row[2:]) for row in await cursor.fetchall()}


def _lake(lake: Lake, kind: Kind, since: datetime.date, until: datetime.date) -> _Figures:
    rows = scan(
        lake, kind, since, until,
        f"SELECT r.day, r.region, count(*), sum(CAST(r.{kind.at} AS bigint)){_sums(kind)} "
        f"FROM {kind.name} r GROUP BY 1, 2",
    )  # fmt: skip
    return {(row[0], row[1]): _whole(row[2:]) for row in rows}


def _whole(values: tuple[object, ...]) -> tuple[int, ...]:
    return tuple(int(str(value)) if value is not None else 0 for value in values)


async def differences(
    db: Connection, lake: Lake, since: datetime.date, until: datetime.date
) -> tuple[int, list[Difference]]:
    """How many rows of the store were compared, and the first difference of each day and region.

    `until` is not included. Raises LakeError, psycopg.Error.
    """
    rows, found = 0, []
    for kind in (SUMMARY, EVENT):
        store = await _store(db, kind, since, until)
        files = await in_thread(_lake, lake, kind, since, until)
        names = _names(kind)
        nothing = (0,) * len(names)
        for day, region in sorted(store.keys() | files.keys()):
            here, there = store.get((day, region), nothing), files.get((day, region), nothing)
            rows += here[0]
            for name, a, b in zip(names, here, there, strict=True):
                if a != b:
                    found.append(Difference(kind.name, day, region, name, a, b))
                    break
    return rows, found
