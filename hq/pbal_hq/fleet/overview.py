"""How many transformers, how many in trouble, what was saved; and the tree of areas.

Saved: the sum of `losses_avoided_wh` of summaries (docs/uplink.md: energy that was not lost in
transformer and main line, thanks to the homes' phases), over the transformers that know it; summed
up beforehand (saved.py).
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
SELECT count(*)::int AS transformers, count(s.id)::int AS with_site,
    (count(*) FILTER (WHERE l.online))::int AS online, count(x.n)::int AS in_alarm,
    coalesce(sum(x.n), 0)::int AS alarms_open,
    coalesce(sum(v.moves_today), 0)::int AS moves_today,
    (sum(v.today_wh) / 1000)::float8 AS saved_today_kwh,
    (sum(coalesce(v.today_wh, 0) + coalesce(v.before_wh, 0))
     FILTER (WHERE coalesce(v.today_wh, v.before_wh) IS NOT NULL) / 1000)::float8
     AS saved_year_kwh,
    count(coalesce(v.today_wh, v.before_wh))::int AS saved_known
FROM transformer t LEFT JOIN site s ON s.transformer_id = t.id AND s.removed_at IS NULL
LEFT JOIN site_live l ON l.site_id = s.id
LEFT JOIN saved v ON v.transformer_id = t.id AND v.day = (now() AT TIME ZONE 'UTC')::date
LEFT JOIN (SELECT transformer_id, count(*) AS n FROM alarm WHERE closed_at IS NULL
    AND (shelved_until IS NULL OR shelved_until <= now()) GROUP BY transformer_id) x
    ON x.transformer_id = t.id
WHERE t.in_service AND {IN_SCOPE}
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
WITH feeders AS (
    SELECT t.feeder_id, count(*) AS transformers, count(*) FILTER (WHERE l.online) AS online,
        count(x.transformer_id) AS in_alarm, max(m.in_mean_a) AS worst_neutral_a
    FROM transformer t LEFT JOIN site s ON s.transformer_id = t.id AND s.removed_at IS NULL
    LEFT JOIN site_live l ON l.site_id = s.id
    LEFT JOIN summary m ON m.transformer_id = t.id AND m.start_at = l.summary_at
    LEFT JOIN (SELECT DISTINCT transformer_id FROM alarm WHERE closed_at IS NULL
        AND (shelved_until IS NULL OR shelved_until <= now())) x ON x.transformer_id = t.id
    WHERE t.in_service AND {IN_SCOPE} GROUP BY t.feeder_id
)
SELECT a.id, a.parent_id, a.level, a.code, a.name, sum(f.transformers)::int AS transformers,
    sum(f.online)::int AS online, sum(f.in_alarm)::int AS in_alarm,
    max(f.worst_neutral_a) AS worst_neutral_a
FROM feeders f JOIN area_within w ON w.area_id = f.feeder_id JOIN area a ON a.id = w.ancestor_id
GROUP BY a.id ORDER BY area_level(a.level), a.name
"""


async def areas(conn: Connection, who: Who) -> list[Area]:
    """Areas that hold transformers which the user may see, from the states down. Raises NotAllowed.

    An area above one's own scope is named, and counts only what is in the scope.
    """
    async with conn.cursor(row_factory=class_row(Area)) as cursor:
        await cursor.execute(_AREAS, who.scope(Permission.TREE_READ).parameters())
        return await cursor.fetchall()
