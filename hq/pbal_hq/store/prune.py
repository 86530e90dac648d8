"""What is too old, or too much."""

from __future__ import annotations

import datetime

from pbal_hq.config import Config
from pbal_hq.database import Connection
from pbal_hq.store import series
from pbal_uplink import names


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
        before = now - datetime.timedelta(days=store.event_days)
        # The ends of sites' audit logs stay: they show a cut for ever.
        events = await db.execute(
            "DELETE FROM event WHERE at < %s AND kind <> %s", (before, names.KIND_AUDIT)
        )
        # One with an event left would be raised anew by it.
        alarms = await db.execute(
            "DELETE FROM alarm a WHERE closed_at < %s AND NOT EXISTS"
            " (SELECT 1 FROM alarm_event x WHERE x.alarm_id = a.id)",
            (before,),
        )
        tokens = await db.execute("DELETE FROM enrol_token WHERE expires_at < %s", (now,))
    return {
        "days": days, "hours": hours.rowcount, "dead": dead.rowcount, "tokens": tokens.rowcount,
        "events": events.rowcount, "alarms": alarms.rowcount,
    }  # fmt: skip
