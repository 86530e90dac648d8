"""How the transformers of each feeder are now, added up each minute: the portal's overview and
fleet read some rows for each feeder, and not one for each transformer."""

from __future__ import annotations

from pbal_hq.database import Connection
from pbal_hq.database.feeder_present import KEEP

_AT_ONCE = 2000  # feeders in a transaction
_EVERY_S = 40  # of two portals one does it, each minute
_LATELY = (
    "SELECT coalesce(max(made_at) > now() - make_interval(secs => %(every)s), false)"
    " FROM feeder_present"
)
_FEEDERS = "SELECT id FROM area ORDER BY id"
# Rows of feeders that are no more, too.
_GONE = "DELETE FROM feeder_present WHERE NOT feeder_id = ANY(%(feeders)s)"
_LOCK = "SELECT pg_try_advisory_xact_lock(hashtext('pbal feeders now'))"
_TAKE = "DELETE FROM feeder_present_due WHERE feeder_id = ANY(%(feeders)s)"
_FORGET = "DELETE FROM feeder_present WHERE feeder_id = ANY(%(feeders)s)"


async def sum_present(conn: Connection, every_s: float = _EVERY_S) -> bool:
    """Add all feeders up, unless that was done within `every_s`; whether it was done.

    A change that is noted before its feeder is added up is in the sums; one that is noted later is
    left, and the page adds the feeder up itself.
    """
    if await _one(conn, _LATELY, {"every": every_s}):
        return False
    cursor = await conn.execute(_FEEDERS)
    feeders = [number for (number,) in await cursor.fetchall()]
    await conn.execute(_GONE, {"feeders": feeders})
    for begin in range(0, len(feeders), _AT_ONCE):
        some = {"feeders": feeders[begin : begin + _AT_ONCE]}
        async with conn.transaction():
            if not await _one(conn, _LOCK, {}):
                return False  # another portal is at it
            await conn.execute(_TAKE, some)
            await conn.execute(_FORGET, some)
            await conn.execute(KEEP.encode(), some)
    return True


async def _one(conn: Connection, sql: str, values: dict[str, object]) -> bool:
    row = await (await conn.execute(sql.encode(), values)).fetchone()
    return bool(row and row[0])
