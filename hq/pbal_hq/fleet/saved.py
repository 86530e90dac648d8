"""Savings summed up for the overview: today's each minute, those of the days before each hour.

Both from the days of transformers: that of today is kept with its hours.

A day that comes late from a site's backlog is in the sum within the hour.
"""

from __future__ import annotations

from datetime import datetime

from pbal_hq.database import Connection

_TODAY = """
INSERT INTO saved (transformer_id, day, today_wh, moves_today, before_wh)
SELECT d.transformer_id, %(date)s, d.losses_avoided_wh, coalesce(d.confirmed, 0), NULL
FROM summary_daily d JOIN transformer t ON t.id = d.transformer_id
WHERE d.start_at = %(day)s
ON CONFLICT (transformer_id) DO UPDATE SET day = excluded.day, today_wh = excluded.today_wh,
    moves_today = excluded.moves_today
WHERE (saved.day, saved.today_wh, saved.moves_today)
    IS DISTINCT FROM (excluded.day, excluded.today_wh, excluded.moves_today)
"""
_BEFORE = """
INSERT INTO saved (transformer_id, day, before_wh)
SELECT t.id, %(date)s, (SELECT sum(d.losses_avoided_wh) FROM summary_daily d
    WHERE d.transformer_id = t.id AND d.start_at >= %(year)s AND d.start_at < %(day)s)
FROM transformer t
ON CONFLICT (transformer_id) DO UPDATE SET before_wh = excluded.before_wh,
    day = excluded.day,
    today_wh = CASE WHEN saved.day = excluded.day THEN saved.today_wh END,
    moves_today = CASE WHEN saved.day = excluded.day THEN saved.moves_today ELSE 0 END
WHERE (saved.day, saved.before_wh) IS DISTINCT FROM (excluded.day, excluded.before_wh)
"""


async def sum_saved(conn: Connection, now: datetime, *, former_days: bool) -> None:
    """Sum up today, and with `former_days` the year before today; both UTC."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    values = {"day": day, "date": day.date(), "year": day.replace(month=1, day=1)}
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock(hashtext('pbal saved'))")
        if former_days:
            await conn.execute(_BEFORE, values)
        await conn.execute(_TODAY, values)
