"""How many transformers, how many in trouble, what was saved; and the tree of areas.

Saved: the sum of `losses_avoided_wh` of summaries (docs/uplink.md: energy that was not lost in
transformer and main line, thanks to the homes' phases), over the transformers that know it.
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.rows import class_row

from pbal_hq.auth import IN_SCOPE, Permission, Who
from pbal_hq.database import Connection


@dataclass(frozen=True)
class Counts:
    """The fleet in numbers. `saved_*_kwh`: since midnight and since 1 January, both UTC, over
    `saved_known` transformers; None where none knows it."""

    transformers: int
    with_site: int
    online: int
    in_alarm: int
    alarms_open: int
    moves_today: int
    saved_today_kwh: float | None
    saved_year_kwh: float | None
    saved_known: int


_COUNTS = f"""
WITH mine AS (
    SELECT t.id, s.id AS site_id, l.online FROM transformer t
    LEFT JOIN site s ON s.transformer_id = t.id AND s.removed_at IS NULL
    LEFT JOIN site_live l ON l.site_id = s.id WHERE t.in_service AND {IN_SCOPE}
), hours AS (
    SELECT sum(h.losses_avoided_wh) AS wh, sum(h.confirmed) AS moves FROM summary_hourly h
    WHERE h.start_at >= date_trunc('day', now(), 'UTC')
    AND h.transformer_id IN (SELECT id FROM mine)
), days AS (
    SELECT sum(d.losses_avoided_wh) AS wh, count(DISTINCT d.transformer_id) AS known
    FROM summary_daily d WHERE d.losses_avoided_wh IS NOT NULL
    AND d.start_at >= date_trunc('year', now(), 'UTC')
    AND d.start_at < date_trunc('day', now(), 'UTC')
    AND d.transformer_id IN (SELECT id FROM mine)
), alarms AS (
    SELECT count(*) AS n, count(DISTINCT transformer_id) AS at FROM alarm
    WHERE closed_at IS NULL AND (shelved_until IS NULL OR shelved_until <= now())
    AND transformer_id IN (SELECT id FROM mine)
)
SELECT (SELECT count(*) FROM mine) AS transformers,
    (SELECT count(site_id) FROM mine) AS with_site,
    (SELECT count(*) FROM mine WHERE online) AS online,
    alarms.at AS in_alarm, alarms.n AS alarms_open, coalesce(hours.moves, 0)::int AS moves_today,
    (hours.wh / 1000)::float8 AS saved_today_kwh,
    CASE WHEN hours.wh IS NULL AND days.wh IS NULL THEN NULL
         ELSE ((coalesce(hours.wh, 0) + coalesce(days.wh, 0)) / 1000)::float8 END AS saved_year_kwh,
    days.known AS saved_known
FROM hours, days, alarms
"""


async def counts(conn: Connection, who: Who) -> Counts:
    """Raises NotAllowed."""
    async with conn.cursor(row_factory=class_row(Counts)) as cursor:
        await cursor.execute(_COUNTS, who.scope(Permission.TREE_READ).parameters())
        found = await cursor.fetchone()
    assert found is not None
    return found


@dataclass(frozen=True)
class Area:
    """One area with what is in it, of what somebody may see."""

    id: int
    parent_id: int | None
    level: str
    code: str
    name: str
    transformers: int
    online: int
    in_alarm: int
    worst_neutral_a: float | None


_AREAS = f"""
WITH mine AS (
    SELECT t.id, t.feeder_id, l.online, m.in_mean_a, EXISTS (SELECT 1 FROM alarm a
        WHERE a.transformer_id = t.id AND a.closed_at IS NULL
        AND (a.shelved_until IS NULL OR a.shelved_until <= now())) AS alarmed
    FROM transformer t LEFT JOIN site s ON s.transformer_id = t.id AND s.removed_at IS NULL
    LEFT JOIN site_live l ON l.site_id = s.id
    LEFT JOIN summary m ON m.transformer_id = t.id AND m.start_at = l.summary_at
    WHERE t.in_service AND {IN_SCOPE}
)
SELECT a.id, a.parent_id, a.level, a.code, a.name, count(mine.id)::int AS transformers,
    (count(*) FILTER (WHERE mine.online))::int AS online,
    (count(*) FILTER (WHERE mine.alarmed))::int AS in_alarm,
    max(mine.in_mean_a) AS worst_neutral_a
FROM area a JOIN area_within w ON w.ancestor_id = a.id JOIN mine ON mine.feeder_id = w.area_id
GROUP BY a.id ORDER BY area_level(a.level), a.name
"""


async def areas(conn: Connection, who: Who) -> list[Area]:
    """Areas that hold transformers which somebody may see, from the states down. Raises NotAllowed.

    An area above one's own scope is named, and counts only what is in the scope.
    """
    async with conn.cursor(row_factory=class_row(Area)) as cursor:
        await cursor.execute(_AREAS, who.scope(Permission.TREE_READ).parameters())
        return await cursor.fetchall()
