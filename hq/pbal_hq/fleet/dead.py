"""Messages of sites that could not be taken, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from pbal_hq.auth import Permission, Who
from pbal_hq.database import Connection


@dataclass(frozen=True)
class DeadLetter:
    """One message. `source`: group/node; `size`: bytes of its payload."""

    id: int
    at: datetime
    source: str
    kind: str
    reason: str
    size: int


async def dead_letters(
    conn: Connection, who: Who, *, before: int | None = None, limit: int = 50
) -> list[DeadLetter]:
    """The newest with an id below `before`. Raises NotAllowed."""
    who.scope(Permission.DEAD_READ)
    async with conn.cursor(row_factory=class_row(DeadLetter)) as cursor:
        await cursor.execute(
            "SELECT id, at, source, kind, reason, octet_length(payload) AS size FROM dead_letter"
            " WHERE %(before)s::bigint IS NULL OR id < %(before)s ORDER BY id DESC LIMIT %(limit)s",
            {"before": before, "limit": limit},
        )
        return await cursor.fetchall()
