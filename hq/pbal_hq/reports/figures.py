"""The numbers of a report: one table of columns, with unit, definition and SQL.

All are over the days (UTC) of the period, from `summary_daily`, which sums up what sites reported:
means there are weighted by the seconds that were sampled. Data that no site reported is in no
figure; `complete` says how much is missing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from psycopg.rows import dict_row

from pbal_hq.auth import IN_SCOPE, Permission, Who
from pbal_hq.database import Connection
from pbal_hq.errors import BadInput, NothingToDo


@dataclass(frozen=True)
class Column:
    """One figure. `total`: how a whole area's is made of its transformers'; "" for none."""

    name: str
    unit: str
    meaning: str
    sql: str
    total: str
    digits: int = 0

    def totalled(self, value: str) -> str:
        """SQL: an area's, of its transformers' `value`."""
        return f"{_TOTALS[self.total]}({value})"


_TOTALS = {"mean": "avg", "sum": "sum", "max": "max", "min": "min"}

_MEAN = "sum({0} * d.sampled_s) / nullif(sum(d.sampled_s) FILTER (WHERE {0} IS NOT NULL), 0)"
COLUMNS: tuple[Column, ...] = (
    Column("complete", "%", "seconds with a sample, of all seconds of the period that are over",
           "100 * coalesce(sum(d.sampled_s), 0) / %(seconds)s", "mean"),
    Column("energy", "kWh", "energy to homes, the three phases together",
           "sum(d.ea_import_kwh + d.eb_import_kwh + d.ec_import_kwh)", "sum"),
    Column("fed in", "kWh", "energy from homes, the three phases together",
           "sum(d.ea_export_kwh + d.eb_export_kwh + d.ec_export_kwh)", "sum"),
    Column("neutral", "A", "mean current of the neutral, weighted by sampled seconds",
           _MEAN.format("d.in_mean_a"), "", 1),
    Column("neutral max", "A", "largest current of the neutral", "max(d.in_max_a)", "max", 1),
    Column("load max", "%", "largest phase current, of the rated current",
           "max(d.load_max_percent)", "max"),
    Column("hot spot", "°C", "hottest spot of the winding, estimated (IEC 60076-7)",
           "max(d.hotspot_max_c)", "max"),
    Column("V min", "V", "lowest voltage at any home",
           "min(least(d.va_min_v, d.vb_min_v, d.vc_min_v))", "min", 1),
    Column("V max", "V", "highest voltage at any home",
           "max(greatest(d.va_max_v, d.vb_max_v, d.vc_max_v))", "max", 1),
    Column("saved", "kWh", "losses avoided in transformer and main line, against the phases that "
           "the homes had first; empty where the resistance is not known",
           "sum(d.losses_avoided_wh) / 1000", "sum", 1),
    Column("moved", "", "switchings confirmed by measurement", "sum(d.confirmed)", "sum"),
    Column("not moved", "", "switchings refused, failed, expired or contradicted",
           "sum(d.refused + d.failed + d.expired + d.disagreed)", "sum"),
)  # fmt: skip


# A transformer's id -> its values of COLUMNS.
Values = Mapping[int, Sequence[float | None]]


class Source(Protocol):
    """Who may answer a report in the place of the store, with the same numbers."""

    async def __call__(
        self, db: Connection, wanted: Sequence[int], since: datetime, until: datetime, now: datetime
    ) -> tuple[Values, str] | None:
        """The values of these transformers, and who answered; None where the store has to."""


@dataclass(frozen=True)
class Report:
    """One area's. `rows`: (code, name, the columns' values); unknown values are None."""

    area: str
    period: str
    since: datetime
    until: datetime
    made_at: datetime
    made_by: str
    rows: list[tuple[str, str, list[float | None]]]
    totals: list[float | None]
    alarms: int
    answered_by: str = "the store"

    @property
    def definitions(self) -> list[str]:
        """What each column says, in words."""
        ways = {"sum": "Total: the sum.", "max": "Total: the largest.", "min": "Total: the least.",
                "mean": "Total: the mean over transformers.", "": "No total."}  # fmt: skip
        return [
            f"{c.name}{f', {c.unit}' if c.unit else ''}: {c.meaning}. {ways[c.total]}"
            for c in COLUMNS
        ]


def period(text: str) -> tuple[datetime, datetime]:
    """Beginning and end of "2026-11" or "2026-11-28", UTC. Raises BadInput."""
    found = re.fullmatch(r"(\d{4})-(\d{2})(?:-(\d{2}))?", text)
    try:
        if found is None:
            raise ValueError
        year, month, day = int(found[1]), int(found[2]), int(found[3] or 1)
        since = datetime(year, month, day, tzinfo=UTC)
        if found[3]:
            return since, since + timedelta(days=1)
        return since, datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    except ValueError:
        raise BadInput("A period is a month, as 2026-11, or a day, as 2026-11-28.") from None


async def make(
    conn: Connection, who: Who, area_id: int, text: str, now: datetime, source: Source | None = None
) -> Report:
    """The report of what the user may see in an area. Raises NotAllowed, NothingToDo, BadInput.

    `source`: is asked before the store.
    """
    since, until = period(text)
    if since >= now:
        raise BadInput("This period has not begun.")
    values: dict[str, Any] = who.scope(Permission.REPORT_READ).parameters() | {
        "area": area_id, "since": since, "until": until,
        "seconds": (min(until, now) - since).total_seconds(),
    }  # fmt: skip
    mine = (
        f"{IN_SCOPE} AND t.feeder_id IN"
        " (SELECT area_id FROM area_within WHERE ancestor_id = %(area)s)"
    )
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            f"SELECT t.id, t.code, t.name FROM transformer t WHERE {mine} ORDER BY t.code", values
        )
        found = await cursor.fetchall()
        if not found:
            raise NothingToDo("There is no such area with transformers that you may see.")
        wanted = [row["id"] for row in found]
        answer = None if source is None else await source(conn, wanted, since, until, now)
        known, by = answer or (await _stored(conn, wanted, values), "the store")
        await cursor.execute(
            "SELECT string_agg(a.name, ' / ' ORDER BY area_level(a.level)) AS path FROM area a"
            " JOIN area_within w ON w.ancestor_id = a.id WHERE w.area_id = %(area)s",
            values,
        )
        place = await cursor.fetchone()
        await cursor.execute(
            "SELECT count(*) AS n FROM alarm a JOIN transformer t ON t.id = a.transformer_id"
            f" WHERE {mine} AND a.raised_at >= %(since)s AND a.raised_at < %(until)s",
            values,
        )
        alarms = await cursor.fetchone()
    assert place is not None
    assert alarms is not None
    rows = [(r["code"], r["name"], list(known[r["id"]])) for r in found]
    totals = [_total_of(c, [row[2][n] for row in rows]) for n, c in enumerate(COLUMNS)]
    return Report(place["path"], text, since, until, now, who.name, rows, totals, alarms["n"],
                  by)  # fmt: skip


async def _stored(conn: Connection, wanted: Sequence[int], values: dict[str, Any]) -> Values:
    """From the store's days."""
    picked = ", ".join(f"({c.sql})::float8" for c in COLUMNS)
    cursor = await conn.execute(
        f"SELECT t.id, {picked} FROM transformer t LEFT JOIN summary_daily d"
        " ON d.transformer_id = t.id AND d.start_at >= %(since)s AND d.start_at < %(until)s"
        " WHERE t.id = ANY(%(wanted)s) GROUP BY t.id",
        values | {"wanted": list(wanted)},
    )
    return {row[0]: list(row[1:]) for row in await cursor.fetchall()}


def _total_of(column: Column, values: list[float | None]) -> float | None:
    """An area's figure of its transformers'; None where none is known, or there is no total."""
    known = [v for v in values if v is not None]
    if not known or not column.total:
        return None
    if column.total == "mean":
        return sum(known) / len(known)
    if column.total == "sum":
        return sum(known)
    return max(known) if column.total == "max" else min(known)
