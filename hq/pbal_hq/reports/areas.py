"""Days of areas from the store's days of feeders.

A day that changed since its feeder was summed up, and a feeder of which somebody may see some
transformers only, are added up from the days of transformers: the numbers are always those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pbal_hq.auth import FEEDER_IN_SCOPE, Permission, Who
from pbal_hq.database import Connection, feeder_present
from pbal_hq.database.feeder_days import SUMS
from pbal_hq.registry import IN_AREA


@dataclass(frozen=True)
class Line:
    """What somebody may see of a feeder. `area`: whose line it belongs to; `some`: the ids of the
    transformers, where it is not all of them."""

    feeder: int
    area: str
    transformers: int
    some: tuple[int, ...]


# An area's name for each feeder, of which there are few, and not for each transformer.
NAMES = (
    "WITH named AS (SELECT w.area_id AS feeder, string_agg(a.code, '/' ORDER BY"
    " area_level(a.level)) AS name FROM area_within w JOIN area a ON a.id = w.ancestor_id"
    " WHERE area_level(a.level) <= area_level(%(level)s) GROUP BY w.area_id)"
)
_LINES = (
    f"{NAMES}, {feeder_present.seen(FEEDER_IN_SCOPE)}, seen AS (SELECT t.feeder_id,"
    f" sum(t.transformers)::int AS n FROM parts t WHERE {IN_AREA} GROUP BY 1),"
    " alone AS (SELECT t.feeder_id, array_agg(t.id) AS some FROM transformer t"
    f" WHERE t.id = ANY(%(transformers)s) AND NOT {FEEDER_IN_SCOPE} GROUP BY 1)"
    " SELECT s.feeder_id, n.name, s.n, a.some FROM seen s JOIN named n ON n.feeder = s.feeder_id"
    " LEFT JOIN alone a ON a.feeder_id = s.feeder_id"
)


async def seen(conn: Connection, who: Who, area_id: int | None, level: str) -> tuple[Line, ...]:
    """The feeders of which a user may see something in an area (None: in all), each for the area
    of a level. Raises NotAllowed."""
    values = who.scope(Permission.TREE_READ).parameters() | {"area": area_id, "level": level}
    cursor = await conn.execute(_LINES, values)
    return tuple(
        Line(feeder, name, n, tuple(some or ()))
        for feeder, name, n, some in await cursor.fetchall()
    )


# A figure of TREND_COLUMNS: SQL over parts `p`, of the slot `m` and the line `a`.
VALUES = {
    "complete": "100 * coalesce(sum(p.sampled_s), 0) / m.seconds / a.n",
    "energy": "sum(p.energy_kwh)",
    "fed in": "sum(p.fed_in_kwh)",
    "neutral": "sum(p.neutral_sum_a) / nullif(sum(p.neutral_known), 0)",
    "neutral max": "max(p.neutral_max_a)",
    "load max": "max(p.load_max_percent)",
    "hot spot": "max(p.hotspot_max_c)",
    "V min": "min(p.min_v)",
    "V max": "max(p.max_v)",
    "saved": "sum(p.saved_wh) / 1000",
    "moved": "sum(p.moved)",
    "not moved": "sum(p.not_moved)",
    "unbalance": "sum(p.unbalance_sum_percent) / nullif(sum(p.unbalance_known), 0)",
}  # fmt: skip

_DUE = (
    "due AS MATERIALIZED (SELECT DISTINCT u.start_at, u.feeder_id FROM feeder_due u"
    " WHERE u.start_at >= %(since)s AND u.start_at < %(fresh)s)"
)
_LINED = (
    "lines AS MATERIALIZED (SELECT * FROM unnest(%(feeders)s::int[], %(areas)s::text[],"
    " %(counts)s::int[], %(entire)s::bool[]) AS l (feeder, area, n, entire))"
)
_CHANGED = (
    f"WITH {_DUE}, {_LINED} SELECT coalesce(sum(l.n), 0) FROM due u"
    " JOIN lines l ON l.feeder = u.feeder_id AND l.entire"
)
_KEPT, _ADDED = ", ".join(f"k.{name}" for name in SUMS), ", ".join(SUMS.values())
_DAYS = (
    f"WITH {_DUE}, {_LINED}, parts ({', '.join(['area', 'at', *SUMS])}) AS ("
    f"SELECT l.area, k.start_at, {_KEPT} FROM feeder_daily k"
    " JOIN lines l ON l.feeder = k.feeder_id AND l.entire"
    " LEFT JOIN due u ON u.start_at = k.start_at AND u.feeder_id = k.feeder_id"
    " WHERE k.start_at >= %(since)s AND k.start_at < %(until)s AND u.feeder_id IS NULL"
    f" UNION ALL SELECT l.area, d.start_at, {_ADDED} FROM due u"
    " JOIN lines l ON l.feeder = u.feeder_id AND l.entire"
    " JOIN transformer t ON t.feeder_id = l.feeder"
    " JOIN summary_daily d ON d.transformer_id = t.id AND d.start_at = u.start_at GROUP BY 1, 2"
    f" UNION ALL SELECT x.area, d.start_at, {_ADDED}"
    " FROM unnest(%(some)s::int[], %(of)s::text[]) AS x (transformer, area)"
    " JOIN summary_daily d ON d.transformer_id = x.transformer"
    " AND d.start_at >= %(since)s AND d.start_at < %(until)s GROUP BY 1, 2),"
    " asked AS (SELECT area, sum(n) AS n FROM lines GROUP BY area),"
    " slots AS (SELECT to_timestamp(s) AS at, seconds"
    " FROM unnest(%(slots)s::float8[], %(seconds)s::float8[]) AS m (s, seconds))"
    " SELECT a.area, m.at, a.n::int, "
    + ", ".join(f"({sql})::float8" for sql in VALUES.values())
    + " FROM asked a CROSS JOIN slots m LEFT JOIN parts p ON p.area = a.area AND p.at = m.at"
    " GROUP BY a.area, a.n, m.at, m.seconds"
)


def _values(lines: Sequence[Line], since: datetime, until: datetime, fresh: datetime) -> Any:
    return {
        "since": since, "until": until, "fresh": fresh,
        "feeders": [line.feeder for line in lines], "areas": [line.area for line in lines],
        "counts": [line.transformers for line in lines],
        "entire": [not line.some for line in lines],
        "some": [one for line in lines for one in line.some],
        "of": [line.area for line in lines for _ in line.some],
    }  # fmt: skip


async def changed(conn: Connection, lines: Sequence[Line], since: datetime, fresh: datetime) -> int:
    """How many days of transformers the days from `since` up to `fresh` have to be added up of."""
    cursor = await conn.execute(_CHANGED, _values(lines, since, fresh, fresh))
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def days(
    conn: Connection,
    lines: Sequence[Line],
    slots: Sequence[tuple[int, float]],
    since: datetime,
    until: datetime,
    fresh: datetime,
) -> list[tuple[Any, ...]]:
    """(area, begin, transformers, VALUES) of each area's days.

    `slots`: (begin, s since 1970; seconds that are over). `fresh`: days from then on are as they
    were last summed up.
    """
    cursor = await conn.execute(
        _DAYS,
        _values(lines, since, until, fresh)
        | {"slots": [float(at) for at, _ in slots], "seconds": [seconds for _, seconds in slots]},
    )
    return await cursor.fetchall()
