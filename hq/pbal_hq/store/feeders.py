"""Days of feeders, summed up anew from those of their transformers where these changed.

One process at a time does it. A change is noted by the database in `feeder_due`, as rows that are
only added: what is noted while a day is summed up is left there, and the day comes again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from pbal_hq.database import Connection, Database
from pbal_hq.database.feeder_days import SUMS

_DAYS_AT_ONCE = 200

_LAST = (
    "SELECT max(start_at), (array_agg(feeder_id ORDER BY start_at DESC, feeder_id DESC))[1] FROM"
    " (SELECT DISTINCT start_at, feeder_id FROM feeder_due"
    " WHERE %(at)s::timestamptz IS NULL OR (start_at, feeder_id) > (%(at)s, %(feeder)s::int)"
    " ORDER BY start_at, feeder_id LIMIT %(most)s) n"
)
_TAKE = (
    "DELETE FROM feeder_due WHERE (%(at)s::timestamptz IS NULL"
    " OR (start_at, feeder_id) > (%(at)s, %(feeder)s::int))"
    " AND (start_at, feeder_id) <= (%(last_at)s, %(last_feeder)s::int)"
    " RETURNING start_at, feeder_id"
)
_DAYS = "unnest(%(ats)s::timestamptz[], %(feeders)s::int[]) AS w (at, feeder)"
_FORGET = (
    f"DELETE FROM feeder_daily k USING {_DAYS} WHERE k.start_at = w.at AND k.feeder_id = w.feeder"
)
_SUM = (
    f"INSERT INTO feeder_daily (start_at, feeder_id, {', '.join(SUMS)})"
    f" SELECT w.at, w.feeder, {', '.join(SUMS.values())} FROM {_DAYS}"
    " JOIN transformer t ON t.feeder_id = w.feeder"
    " JOIN summary_daily d ON d.transformer_id = t.id AND d.start_at = w.at GROUP BY 1, 2"
)


async def sum_feeders(
    database: Database, beat: Callable[[], None], seconds: float = float("inf")
) -> bool:
    """All days of feeders that are due, for at most about so long; whether it came to the end.

    Raises psycopg.Error.
    """
    until = time.monotonic() + seconds
    after: dict[str, object] = {"at": None, "feeder": None}
    async with database.connection() as db:
        while time.monotonic() < until:
            found = await _some(db, after)
            if found is None:
                return True
            after = found
            beat()
    return False


async def _some(db: Connection, after: dict[str, object]) -> dict[str, object] | None:
    """Those that follow after a day of a feeder; the last one of them, None where none is left."""
    async with db.transaction():
        lock = "SELECT pg_try_advisory_xact_lock(hashtext('pbal days of feeders'))"
        if not await _one(db, lock):
            return None  # another process is at it
        cursor = await db.execute(_LAST.encode(), after | {"most": _DAYS_AT_ONCE})
        at, feeder = await cursor.fetchone() or (None, None)
        if at is None:
            return None
        cursor = await db.execute(_TAKE.encode(), after | {"last_at": at, "last_feeder": feeder})
        days = sorted(set(await cursor.fetchall()))
        these = {"ats": [day for day, _ in days], "feeders": [each for _, each in days]}
        await db.execute(_FORGET.encode(), these)
        await db.execute(_SUM.encode(), these)
    return {"at": at, "feeder": feeder}


async def _one(db: Connection, sql: str) -> bool:
    row = await (await db.execute(sql.encode())).fetchone()
    return bool(row and row[0])
