"""How many transformers, how many in trouble, what was saved; and the tree of areas.

Saved: the sum of `losses_avoided_wh` of summaries (docs/uplink.md: energy that was not lost in
transformer and main line, thanks to the homes' phases), over the transformers that know it; summed
up beforehand (saved.py). All of it is read by feeder (feeders.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from psycopg.rows import class_row

from pbal_hq.auth import FEEDER_IN_SCOPE, Permission, Who
from pbal_hq.database import Connection, feeder_present


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
WITH {feeder_present.seen(FEEDER_IN_SCOPE)}
SELECT coalesce(sum(transformers), 0)::int AS transformers,
    coalesce(sum(sites), 0)::int AS with_site, coalesce(sum(online), 0)::int AS online,
    coalesce(sum(in_alarm), 0)::int AS in_alarm, coalesce(sum(alarms_open), 0)::int AS alarms_open,
    coalesce(sum(moves_today), 0)::int AS moves_today,
    (sum(today_wh) / 1000)::float8 AS saved_today_kwh,
    (sum(year_wh) / 1000)::float8 AS saved_year_kwh,
    coalesce(sum(saved_known), 0)::int AS saved_known
FROM parts WHERE in_service
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
WITH {feeder_present.seen(FEEDER_IN_SCOPE)}, feeders AS (
    SELECT feeder_id, sum(transformers) AS transformers, sum(online) AS online,
        sum(in_alarm) AS in_alarm, max(worst_neutral_a) AS worst_neutral_a
    FROM parts WHERE in_service GROUP BY feeder_id
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
