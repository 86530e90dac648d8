"""Transformers, ranked by one of these measures.

imbalance  the largest deviation of a phase's mean current from the mean of the three, as a
           share of that mean (NEMA MG 1, 12.45, for currents), percent; of the latest window
neutral    mean current of the neutral in the latest window, A
load       largest phase current in the latest window, of the rated current, percent
alarms     open alarms, the worst severity first
silence    how long nothing came
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from pbal_hq.auth import IN_SCOPE, Permission, Who
from pbal_hq.database import Connection
from pbal_hq.errors import BadInput


@dataclass(frozen=True)
class Row:
    """One transformer in a list; what is not known is None."""

    id: int
    code: str
    name: str
    feeder: str
    division: str
    latitude: float | None
    longitude: float | None
    rated_kva: float | None
    site_id: int | None
    online: bool | None
    seen_at: datetime | None
    window_at: datetime | None
    ia_a: float | None
    ib_a: float | None
    ic_a: float | None
    in_a: float | None
    load_percent: float | None
    imbalance_percent: float | None
    mode: int | None
    alarms: int
    worst: int | None


IMBALANCE = (
    "100 * greatest(abs(m.ia_mean_a - w.mean_a), abs(m.ib_mean_a - w.mean_a),"
    " abs(m.ic_mean_a - w.mean_a)) / nullif(w.mean_a, 0)"
)
SORTS: Mapping[str, str] = {
    "alarms": "worst DESC NULLS LAST, alarms DESC, in_a DESC NULLS LAST",
    "neutral": "in_a DESC NULLS LAST",
    "imbalance": "imbalance_percent DESC NULLS LAST",
    "load": "load_percent DESC NULLS LAST",
    "silence": "l.seen_at ASC NULLS FIRST",
    "code": "t.code",
}
SELECT = (
    "SELECT t.id, t.code, t.name, f.name AS feeder, d.name AS division, t.latitude, t.longitude,"
    " t.rated_kva, s.id AS site_id, l.online, l.seen_at, m.start_at AS window_at,"
    " m.ia_mean_a AS ia_a, m.ib_mean_a AS ib_a, m.ic_mean_a AS ic_a, m.in_mean_a AS in_a,"
    f" m.load_max_percent AS load_percent, {IMBALANCE} AS imbalance_percent,"
    " m.mode, coalesce(x.alarms, 0) AS alarms, x.worst"
)
FROM = (
    " FROM transformer t JOIN area f ON f.id = t.feeder_id JOIN area d ON d.id = f.parent_id"
    " LEFT JOIN site s ON s.transformer_id = t.id AND s.removed_at IS NULL"
    " LEFT JOIN site_live l ON l.site_id = s.id"
    " LEFT JOIN summary m ON m.transformer_id = t.id AND m.start_at = l.summary_at"
    " LEFT JOIN LATERAL (SELECT (m.ia_mean_a + m.ib_mean_a + m.ic_mean_a) / 3 AS mean_a) w ON true"
    " LEFT JOIN (SELECT transformer_id, count(*) AS alarms, max(severity) AS worst FROM alarm"
    " WHERE closed_at IS NULL AND (shelved_until IS NULL OR shelved_until <= now())"
    " GROUP BY transformer_id) x ON x.transformer_id = t.id"
)


async def transformers(
    conn: Connection, who: Who, *, sort: str = "alarms", area_id: int | None = None,
    find: str = "", offset: int = 0, limit: int = 50,
) -> list[Row]:  # fmt: skip
    """A part of the list that the user may see. `find`: a part of code or name. Raises NotAllowed,
    BadInput."""
    if sort not in SORTS:
        raise BadInput(f"Sort by one of {', '.join(SORTS)}.")
    sql = (
        f"{SELECT}{FROM} WHERE {IN_SCOPE} AND t.in_service"
        " AND (%(area)s::int IS NULL OR t.feeder_id IN"
        " (SELECT area_id FROM area_within WHERE ancestor_id = %(area)s))"
        " AND (%(find)s = '' OR strpos(lower(t.code || ' ' || t.name), lower(%(find)s)) > 0)"
        f" ORDER BY {SORTS[sort]}, t.id LIMIT %(limit)s OFFSET %(offset)s"
    )
    values = who.scope(Permission.TREE_READ).parameters() | {
        "area": area_id, "find": find, "offset": offset, "limit": limit,
    }  # fmt: skip
    async with conn.cursor(row_factory=class_row(Row)) as cursor:
        await cursor.execute(sql, values)
        return await cursor.fetchall()
