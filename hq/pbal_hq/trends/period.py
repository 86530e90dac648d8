"""A report's day or month, or a course of hours or days, from Druid, where it is there, else from
the lake by DuckDB.

The figures of transformers are those of trends, by the same SQL: an area of one transformer each.
What neither answers, the store does: its own days have the same numbers.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import pyarrow as pa

from pbal_hq.config import DruidConfig
from pbal_hq.database import Connection
from pbal_hq.errors import LakeError, TrendsError
from pbal_hq.lake import SUMMARY, Lake, scan
from pbal_hq.reports import COLUMNS, Place, Point, Question, Values
from pbal_hq.trends.course import course_by_druid, course_by_lake
from pbal_hq.trends.druid import Druid, by_month
from pbal_hq.trends.months import dated, figures, table_of
from pbal_hq.trends.rollup import summed, transformers

T = TypeVar("T")

log = logging.getLogger(__name__)

# The lake has an hour some hours later.
_LAKE_BEHIND = datetime.timedelta(days=1)


class Elsewhere:
    """Who answers in the place of the store.

    Parameters
    ----------
    lake : opens it, where Druid does not answer; None where there is none.
    """

    def __init__(self, druid: DruidConfig, lake: Callable[[], Lake] | None) -> None:
        self._druid, self._lake = druid, lake

    async def __call__(
        self,
        db: Connection,
        wanted: Sequence[int],
        since: datetime.datetime,
        until: datetime.datetime,
        now: datetime.datetime,
    ) -> tuple[Values, str] | None:
        """The figures of these transformers, and who answered; None where the store has to."""

        def by_druid(server: Druid, sites: Mapping[int, int]) -> Values:
            return period_by_druid(server, self._druid.source, sites, wanted, since, until, now)

        def by_lake(lake: Lake) -> Values:
            return period_by_lake(lake, wanted, since, until, now)

        return await self._first(db, since, until, now, by_druid, by_lake)

    async def course(
        self, db: Connection, question: Question
    ) -> tuple[list[Point], str, bool] | None:
        """Hours or days of areas, who answered, and whether with quantiles; None where the store
        has to."""

        def by_druid(server: Druid, sites: Mapping[int, int]) -> tuple[list[Point], bool]:
            return course_by_druid(server, self._druid.source, sites, question)

        def by_lake(lake: Lake) -> tuple[list[Point], bool]:
            return course_by_lake(lake, question), True

        q = question
        answer = await self._first(db, q.since, q.until, q.now, by_druid, by_lake)
        if answer is None:
            return None
        (points, with_quantiles), by = answer
        return points, by, with_quantiles

    async def _first(
        self,
        db: Connection,
        since: datetime.datetime,
        until: datetime.datetime,
        now: datetime.datetime,
        by_druid: Callable[[Druid, Mapping[int, int]], T],
        by_lake: Callable[[Lake], T],
    ) -> tuple[T, str] | None:
        """What the first that knows this time answers, and who that was."""
        kept = now - datetime.timedelta(days=self._druid.keep_days)
        if self._druid.broker and since >= kept:
            sites = await transformers(db)
            server = Druid(self._druid.broker, self._druid.coordinator)
            try:
                return await asyncio.to_thread(by_druid, server, sites), "Druid"
            except TrendsError as error:
                log.warning("Druid does not answer", extra={"why": str(error)})
        if self._lake is not None and until + _LAKE_BEHIND <= now:
            try:
                lake = await asyncio.to_thread(self._lake)
                return await asyncio.to_thread(by_lake, lake), "the lake"
            except LakeError as error:
                log.warning("the lake does not answer", extra={"why": str(error)})
        return None


def _tables(
    wanted: Sequence[int],
    since: datetime.datetime,
    until: datetime.datetime,
    now: datetime.datetime,
) -> dict[str, pa.Table]:
    # A day is all of its month that there is.
    seconds = (min(until, now) - since).total_seconds()
    month = {"slot": since.date().replace(day=1), "seconds": seconds}
    schema = pa.schema([("slot", pa.date32()), ("seconds", pa.float64())])
    return {
        "placed": table_of([Place(each, str(each)) for each in wanted]),
        "periods": pa.Table.from_pylist([month], schema=schema),
    }


def _values(rows: Sequence[Sequence[object]]) -> Values:
    # area, slot, count, then the columns of reports before those that trends add.
    return {int(str(row[0])): list(row[3 : 3 + len(COLUMNS)]) for row in rows}  # type: ignore[arg-type]


def period_by_druid(
    server: Druid,
    source: str,
    sites: Mapping[int, int],
    wanted: Sequence[int],
    since: datetime.datetime,
    until: datetime.datetime,
    now: datetime.datetime,
) -> Values:
    """Raises TrendsError."""
    rows = server.sql(by_month(source, since.date(), until.date()))
    known = [row for row in rows if row["site"] in sites]
    slots = pa.array([datetime.date.fromisoformat(row["month"]) for row in known], pa.date32())
    return _values(summed(known, sites, slots, **_tables(wanted, since, until, now)))


def period_by_lake(
    lake: Lake,
    wanted: Sequence[int],
    since: datetime.datetime,
    until: datetime.datetime,
    now: datetime.datetime,
) -> Values:
    """Raises LakeError."""
    tables = _tables(wanted, since, until, now)
    sql = f"WITH {dated()}, {figures()}"
    return _values(scan(lake, SUMMARY, since.date(), until.date(), sql, **tables))
