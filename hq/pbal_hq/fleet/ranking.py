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
from pbal_hq.database import Connection, feeder_present
from pbal_hq.errors import BadInput
from pbal_hq.registry import IN_AREA


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


SORTS: Mapping[str, str] = {
    "alarms": "worst DESC NULLS LAST, alarms DESC, in_a DESC NULLS LAST",
    "neutral": "in_a DESC NULLS LAST",
    "imbalance": "imbalance_percent DESC NULLS LAST",
    "load": "load_percent DESC NULLS LAST",
    "silence": "seen_at ASC NULLS FIRST",
    "code": "code",
}
# First which they are, from the narrow table alone; then what is shown of these.
_NAMED = " JOIN (SELECT id, code, name FROM transformer) n USING (id)"
_SHOWN = (
    "SELECT c.id, n.code, n.name, f.name AS feeder, d.name AS division, n.latitude, n.longitude,"
    " n.rated_kva, c.site_id, c.online, c.seen_at, c.window_at, c.ia_a, c.ib_a, c.ic_a, c.in_a,"
    " c.load_percent, c.imbalance_percent, c.window_mode AS mode, c.alarms, c.worst"
    " FROM chosen c JOIN transformer n ON n.id = c.id JOIN area f ON f.id = n.feeder_id"
    " JOIN area d ON d.id = f.parent_id"
)


def shown(
    which: str, *, order: str = "", named: bool = False, part: str = "", in_alarm: bool = False
) -> str:
    """SQL: the columns of Row of some transformers.

    `which`: a condition on `present t`; `order`: columns of Row; `named`: whether they use code and
    name; `part`: LIMIT and OFFSET; `in_alarm`: those alone that have an open alarm.
    """
    sorted_ = f" ORDER BY {order}" if order else ""
    return (
        "WITH chosen AS (SELECT t.*, coalesce(x.alarms, 0) AS alarms, x.worst"
        f" FROM present t{_NAMED if named else ''}"
        f" {'' if in_alarm else 'LEFT '}JOIN"
        " (SELECT transformer_id, count(*) AS alarms, max(severity) AS worst FROM alarm a"
        f" WHERE {feeder_present.OPEN}"
        " GROUP BY transformer_id) x ON x.transformer_id = t.id"
        f" WHERE {which}{sorted_}{part}) {_SHOWN}{sorted_}"
    )


async def transformers(
    conn: Connection, who: Who, *, sort: str = "alarms", area_id: int | None = None,
    find: str = "", offset: int = 0, limit: int = 50,
) -> list[Row]:  # fmt: skip
    """A part of the list that the user may see. `find`: a part of code or name. Raises NotAllowed,
    BadInput."""
    if sort not in SORTS:
        raise BadInput(f"Sort by one of {', '.join(SORTS)}.")
    values = who.scope(Permission.TREE_READ).parameters() | {
        "area": area_id, "find": find, "offset": offset, "limit": limit,
    }  # fmt: skip
    # By alarms those in alarm come first: few of a large fleet, and often all that is shown.
    found: list[Row] = []
    for in_alarm in (True, False) if sort == "alarms" else (False,):
        sql = shown(
            f"{IN_SCOPE} AND t.in_service AND {IN_AREA}"
            + (" AND strpos(lower(n.code || ' ' || n.name), lower(%(find)s)) > 0" if find else ""),
            order=f"{SORTS[sort]}, id", named=bool(find) or sort == "code",
            part=" LIMIT %(limit)s OFFSET %(offset)s", in_alarm=in_alarm,
        )  # fmt: skip
        async with conn.cursor(row_factory=class_row(Row)) as cursor:
            await cursor.execute(sql, values)
            found = await cursor.fetchall()
        if len(found) == limit:
            break
    return found
