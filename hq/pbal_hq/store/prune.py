"""What is too old, or too much."""

from __future__ import annotations

import datetime

from pbal_hq.config import Config
from pbal_hq.database import Connection
from pbal_hq.store import series


async def prune(db: Connection, config: Config, now: datetime.datetime) -> dict[str, int]:
    """Delete it; how much of each. One transaction."""
    store = config.store
    async with db.transaction():
        days = await series.drop_before(
            db, (now - datetime.timedelta(days=store.raw_days)).astimezone(datetime.UTC).date()
        )
        hours = await db.execute(
            "DELETE FROM summary_hourly WHERE start_at < %s",
            (now - datetime.timedelta(days=store.hourly_days),),
        )
        dead = await db.execute(
            "DELETE FROM dead_letter WHERE id IN (SELECT id FROM (SELECT id, row_number() OVER "
            "(PARTITION BY source ORDER BY id DESC) AS place FROM dead_letter) x WHERE place > %s)",
            (config.ingest.dead_per_site,),
        )
        tokens = await db.execute("DELETE FROM enrol_token WHERE expires_at < %s", (now,))
    return {
        "days": days, "hours": hours.rowcount, "dead": dead.rowcount, "tokens": tokens.rowcount,
    }  # fmt: skip
