"""Figures of areas over hours or days: what is asked, within what somebody may see.

The columns are those of reports, for each hour or day; whoever answers (Druid, the lake, the store)
has the same numbers. Quantiles are over the windows of an area in an hour or a day; the store keeps
sums and has none.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from pbal_hq import registry
from pbal_hq.auth import IN_SCOPE, Permission, Who
from pbal_hq.database import Connection
from pbal_hq.errors import BadInput, NothingToDo
from pbal_hq.reports import areas
from pbal_hq.reports.figures import COLUMNS, Column
from pbal_hq.reports.sheet import cell

LEVELS = (*registry.LEVELS, "transformer")
STEPS = {"hours": 3600, "days": 86_400}
MOST_DAYS = {"hours": 31, "days": 366}
MOST_LINES = 200
MOST_VALUES = 1_000_000  # transformers times hours or days

# Reports give no total of the neutral's mean current; over time the mean of transformers tells.
TREND_COLUMNS: tuple[Column, ...] = (
    *(dataclasses.replace(c, total=c.total or "mean") for c in COLUMNS),
    Column("unbalance", "%", "phase voltage unbalance rate (IEEE 141), mean, weighted by sampled "
           "seconds", "sum(d.pvur_mean_percent * d.sampled_s) / nullif(sum(d.sampled_s) "
           "FILTER (WHERE d.pvur_mean_percent IS NOT NULL), 0)", "mean", 2),
)  # fmt: skip


@dataclass(frozen=True)
class Quantile:
    """A share of the windows has at most this. `field`: the summary's."""

    name: str
    unit: str
    meaning: str
    field: str
    share: float
    digits: int


QUANTILES = tuple(
    Quantile(f"{name} {said}", unit, f"{words} of a window: {100 * share:.0f} % of the area's "
             "windows have at most this", field, share, digits)
    for name, unit, words, field, digits in (
        ("neutral max", "A", "largest current of the neutral", "in_max_a", 1),
        ("load max", "%", "largest phase current", "load_max_percent", 0),
        ("unbalance", "%", "phase voltage unbalance rate", "pvur_percent", 2),
    )
    for said, share in (("median", 0.5), ("95 %", 0.95))
)  # fmt: skip
FIGURES: tuple[Column | Quantile, ...] = (*TREND_COLUMNS, *QUANTILES)


@dataclass(frozen=True)
class Place:
    """A transformer, and the area whose line it belongs to."""

    transformer: int
    area: str


@dataclass(frozen=True)
class Question:
    """Hours or days (`step`) from `since` up to `until`, at most `now`: all at midnight, UTC."""

    places: tuple[Place, ...]
    step: str
    since: datetime
    until: datetime
    now: datetime

    def slots(self) -> list[tuple[int, float]]:
        """(begin, s since 1970; seconds that are over) of the hours or days that have begun."""
        length = STEPS[self.step]
        begin, now = int(self.since.timestamp()), self.now.timestamp()
        end = min(self.until.timestamp(), now)
        return [
            (at, float(min(length, now - at))) for at in range(begin, int(-(-end // 1)), length)
        ]


@dataclass(frozen=True)
class Point:
    """One area's hour or day. `values`: of FIGURES; None where not known."""

    area: str
    at: datetime
    transformers: int
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Course:
    """The answer. `quantiles`: whether who answered has them."""

    level: str
    question: Question
    points: list[Point]
    answered_by: str
    quantiles: bool

    @property
    def days(self) -> tuple[date, date]:
        """The first and the last."""
        return self.question.since.date(), self.question.until.date() - timedelta(days=1)

    def by_area(self) -> dict[str, list[Point]]:
        """Each area's line, in the order of `points`: by name, then by time."""
        out: dict[str, list[Point]] = {}
        for point in self.points:
            out.setdefault(point.area, []).append(point)
        return out


class CourseSource(Protocol):
    """Who may answer in the place of the store, with the same numbers."""

    async def course(
        self, db: Connection, question: Question
    ) -> tuple[list[Point], str, bool] | None:
        """The points, who answered, and whether with quantiles; None where the store has to."""


def day(text: str, what: str) -> date:
    """A day as 2026-11-28. Raises BadInput."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadInput(f"{what}: {text!r} is no day, as 2026-11-28.") from None


async def make_course(
    conn: Connection,
    who: Who,
    area_id: int | None,
    level: str,
    step: str,
    since: date,
    last: date,
    now: datetime,
    source: CourseSource | None = None,
) -> Course:
    """The days `since` to `last`, of what the user may see in an area (None: in all).

    `source`: is asked before the store. Raises NotAllowed, NothingToDo, BadInput.
    """
    if level not in LEVELS:
        raise BadInput(f"By one of {', '.join(LEVELS)}.")
    if step not in STEPS:
        raise BadInput(f"In one of {', '.join(STEPS)}.")
    if last < since:
        raise BadInput("The last day is before the first.")
    if since > now.date():
        raise BadInput("This period has not begun.")
    days = (last - since).days + 1
    if days > MOST_DAYS[step]:
        raise BadInput(f"That is {days} days; in {step} at most {MOST_DAYS[step]}.")
    begin = datetime(since.year, since.month, since.day, tzinfo=UTC)
    asked = Question((), step, begin, begin + timedelta(days=days), now)
    lines = await areas.seen(conn, who, area_id, level if level in registry.LEVELS else "feeder")
    if not lines:
        raise NothingToDo("There is no such area with transformers that you may see.")
    transformers = sum(line.transformers for line in lines)
    many = transformers if level == "transformer" else len({line.area for line in lines})
    if many > MOST_LINES:
        raise BadInput(
            f"That is {many} lines, and at most {MOST_LINES} are shown: choose a smaller area, or "
            "a higher level."
        )
    values = transformers * len(asked.slots())
    by_feeder = step == "days" and level != "transformer"
    found = None
    # Others than the store add up transformers; so does it where it keeps nothing else.
    if values <= MOST_VALUES and (source is not None or not by_feeder):
        asked = dataclasses.replace(asked, places=await _places(conn, who, area_id, level))
        found = None if source is None else await source.course(conn, asked)
    elif not by_feeder:
        raise BadInput(_too_much(values, f"{step} of transformers"))
    if found is None:
        stored = _days(conn, lines, asked) if by_feeder else _stored(conn, asked)
        found = await stored, "the store", False
    points, by, quantiles = found
    # Databases order texts differently.
    points = sorted(points, key=lambda point: (point.area, point.at))
    return Course(level, asked, points, by, quantiles)


def _too_much(values: int, what: str) -> str:
    return (
        f"That is {values:,} {what}, and at most {MOST_VALUES:,} are added up for a page: choose a "
        "smaller area, fewer days, or days in the place of hours."
    )


async def _places(conn: Connection, who: Who, area_id: int | None, level: str) -> tuple[Place, ...]:
    names, name = ("", "t.code") if level == "transformer" else (areas.NAMES, "n.name")
    joined = "" if level == "transformer" else " JOIN named n ON n.feeder = t.feeder_id"
    cursor = await conn.execute(
        f"{names} SELECT t.id, {name} FROM transformer t{joined} WHERE {IN_SCOPE}"
        f" AND {registry.IN_AREA}",
        who.scope(Permission.TREE_READ).parameters() | {"area": area_id, "level": level},
    )
    return tuple(Place(*row) for row in await cursor.fetchall())


async def _days(conn: Connection, lines: Sequence[areas.Line], asked: Question) -> list[Point]:
    """From the store's days of feeders. Raises BadInput where even these are too many."""
    slots = asked.slots()
    alone = sum(len(line.some) or 1 for line in lines) * len(slots)
    if alone > MOST_VALUES:
        raise BadInput(_too_much(alone, "days of feeders"))
    fresh = asked.until
    if alone + await areas.changed(conn, lines, asked.since, fresh) > MOST_VALUES:
        # The running day changes all the time: it is as it was some minutes ago.
        fresh = min(fresh, asked.now.replace(hour=0, minute=0, second=0, microsecond=0))
        changed = await areas.changed(conn, lines, asked.since, fresh)
        if alone + changed > MOST_VALUES:
            raise BadInput(
                f"{changed:,} days of transformers changed and are being summed up; until then a "
                f"page adds up at most {MOST_VALUES:,}: choose a smaller area or fewer days, or "
                "ask later."
            )
    rows = await areas.days(conn, lines, slots, asked.since, asked.until, fresh)
    order = [list(areas.VALUES).index(column.name) for column in TREND_COLUMNS]
    return [
        Point(row[0], row[1].astimezone(UTC), row[2],
              (*(row[3 + n] for n in order), *_NO_QUANTILES))
        for row in rows
    ]  # fmt: skip


def _statement(table: str) -> str:
    each = ", ".join(
        f"({c.sql.replace('%(seconds)s', 'm.seconds')})::float8 AS c{n}"
        for n, c in enumerate(TREND_COLUMNS)
    )
    totals = ", ".join(c.totalled(f"c{n}") for n, c in enumerate(TREND_COLUMNS))
    return (
        "WITH placed AS (SELECT * FROM unnest(%(transformers)s::int[], %(areas)s::text[])"
        " AS p (transformer, area)), slots AS (SELECT to_timestamp(s) AS at, seconds"
        " FROM unnest(%(slots)s::float8[], %(seconds)s::float8[]) AS m (s, seconds)),"
        f" each AS (SELECT p.area, m.at, {each} FROM placed p CROSS JOIN slots m"
        f" LEFT JOIN {table} d ON d.transformer_id = p.transformer AND d.start_at = m.at"
        " AND d.start_at >= %(since)s AND d.start_at < %(until)s"
        " GROUP BY p.transformer, p.area, m.at, m.seconds)"
        f" SELECT area, at, count(*), {totals} FROM each GROUP BY area, at ORDER BY 1, 2"
    )


_STATEMENTS = {"hours": _statement("summary_hourly"), "days": _statement("summary_daily")}
_NO_QUANTILES = (None,) * len(QUANTILES)


async def _stored(conn: Connection, asked: Question) -> list[Point]:
    """From the store's hours or days."""
    slots = asked.slots()
    cursor = await conn.execute(
        _STATEMENTS[asked.step].encode(),
        {
            "transformers": [place.transformer for place in asked.places],
            "areas": [place.area for place in asked.places],
            "slots": [float(at) for at, _ in slots],
            "seconds": [seconds for _, seconds in slots],
            "since": asked.since, "until": asked.until,
        },
    )  # fmt: skip
    return [
        Point(row[0], row[1].astimezone(UTC), row[2], (*row[3:], *_NO_QUANTILES))
        for row in await cursor.fetchall()
    ]


def table(found: Course) -> str:
    """All figures as CSV (RFC 4180); numbers with a point, empty where not known."""
    out = io.StringIO()
    write = csv.writer(out).writerow
    heads = [f"{f.name} ({f.unit})" if f.unit else f.name for f in FIGURES]
    write([found.level, "begin (UTC)", "transformers", *heads, "answered by"])
    for point in found.points:
        write([
            cell(point.area), f"{point.at:%Y-%m-%dT%H:%MZ}", point.transformers,
            *numbers(FIGURES, point.values), found.answered_by,
        ])  # fmt: skip
    return out.getvalue()


def numbers(figures: Sequence[Column | Quantile], values: Sequence[float | None]) -> list[str]:
    """Of a row of CSV."""
    return [
        "" if value is None else f"{value:.{max(figure.digits, 1)}f}"
        for figure, value in zip(figures, values, strict=True)
    ]
