"""The outbox of notices in the database: a kill at any point loses nothing.

A trigger writes a notice with each change of an alarm. `share` makes a delivery for each route that
wants it; `take` puts the open ones of a route into one batch, whose id is stored before it is
sent; `sent` notes the success. Ended between sending and noting, HQ sends the same batch again
under the same id.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime

from psycopg.rows import class_row

from pbal_hq.config import RouteConfig
from pbal_hq.database import Connection, feeder_present
from pbal_hq.notify.words import Change, Message

_AT_ONCE = 500
FIRST_PAUSE_S, LAST_PAUSE_S = 10.0, 3600.0


async def escalate(conn: Connection, after_min: Sequence[float]) -> int:
    """Raise the level of what nobody acknowledged in time; how many.

    The n-th limit counts from when the alarm was raised, or became worse."""
    done = 0
    for level, minutes in enumerate(after_min, start=1):
        found = await conn.execute(
            f"UPDATE alarm a SET escalated = %(level)s WHERE {feeder_present.OPEN}"
            " AND acknowledged_at IS NULL AND severity = 2 AND escalated < %(level)s"
            " AND greatest(raised_at, worse_at) < now() - make_interval(secs => %(s)s)",
            {"level": level, "s": minutes * 60},
        )
        done += found.rowcount
    return done


_SHARE = """
INSERT INTO notice_delivery (route, notice_id)
SELECT %(route)s, n.id FROM notice n JOIN alarm a ON a.id = n.alarm_id
JOIN transformer t ON t.id = a.transformer_id
WHERE n.id = ANY(%(ids)s) AND NOT n.shelved AND n.level >= %(level)s AND n.severity >= %(least)s
AND (n.what <> 'closed' OR %(closed)s)
AND (%(kinds)s::text[] = '{}' OR a.kind = ANY(%(kinds)s))
AND (%(area)s::text[] = '{}' OR %(area)s::text[] <@ (SELECT array_agg(x.code) FROM area_within w
    JOIN area x ON x.id = w.ancestor_id WHERE w.area_id = t.feeder_id))
ON CONFLICT DO NOTHING
"""


async def share(conn: Connection, routes: Sequence[RouteConfig]) -> int:
    """Deliveries of the notices that are new; how many notices. Called until it says 0."""
    async with conn.transaction():
        await conn.execute("SELECT pg_advisory_xact_lock(hashtext('pbal notices'))")
        rows = await (
            await conn.execute(
                "UPDATE notice SET shared = true WHERE id IN (SELECT id FROM notice"
                " WHERE NOT shared ORDER BY id LIMIT %s) RETURNING id",
                (_AT_ONCE,),
            )
        ).fetchall()
        ids = [row[0] for row in rows]
        for route in routes if ids else ():
            await conn.execute(
                _SHARE,
                {
                    "route": route.name, "ids": ids, "level": route.level,
                    "least": {"warning": 1, "alarm": 2}[route.least], "closed": route.closed,
                    "kinds": list(route.kinds), "area": [c for c in route.area.split("/") if c],
                },
            )  # fmt: skip
    return len(ids)


async def forget(conn: Connection, routes: Sequence[str]) -> None:
    """Drop what waits for routes that are no longer configured, and what was sent long ago."""
    async with conn.transaction():
        for table, column in (("notice_delivery", "route"), ("notice_route", "name")):
            await conn.execute(f"DELETE FROM {table} WHERE NOT {column} = ANY(%s)", (list(routes),))
        await conn.execute(
            "DELETE FROM notice n WHERE n.shared AND n.at < now() - interval '90 days'"
            " AND NOT EXISTS (SELECT 1 FROM notice_delivery d WHERE d.notice_id = n.id"
            " AND d.sent_at IS NULL)"
        )


_CHANGES = """
SELECT n.id, n.at, n.alarm_id, n.what, n.severity, n.level, t.code AS transformer, t.name,
    (SELECT string_agg(x.name, ' / ' ORDER BY area_level(x.level)) FROM area_within w
     JOIN area x ON x.id = w.ancestor_id WHERE w.area_id = t.feeder_id) AS place,
    a.kind, a.address, a.detail, a.closed_why AS why_closed
FROM notice_delivery d JOIN notice n ON n.id = d.notice_id JOIN alarm a ON a.id = n.alarm_id
JOIN transformer t ON t.id = a.transformer_id
WHERE d.route = %s AND d.batch = %s ORDER BY n.id
"""


async def take(
    conn: Connection, route: str, base: str, quiet_s: float, now: datetime
) -> Message | None:
    """The message that is due for a route: one that was begun, else all that waits together, no
    earlier than `quiet_s` after the one before. None: nothing is due."""
    async with conn.transaction():
        await conn.execute(
            "INSERT INTO notice_route (name) VALUES (%s) ON CONFLICT DO NOTHING", (route,)
        )
        row = await (
            await conn.execute(
                "SELECT next_at <= %(now)s AND (tries > 0 OR last_sent_at IS NULL"
                " OR last_sent_at <= %(now)s - make_interval(secs => %(quiet)s))"
                " FROM notice_route WHERE name = %(name)s FOR UPDATE",
                {"now": now, "quiet": quiet_s, "name": route},
            )
        ).fetchone()
        if row is None or not row[0]:
            return None
        begun = await (
            await conn.execute(
                "SELECT batch FROM notice_delivery WHERE route = %s AND sent_at IS NULL"
                " AND batch IS NOT NULL ORDER BY notice_id LIMIT 1",
                (route,),
            )
        ).fetchone()
        batch = begun[0] if begun else uuid.uuid4()
        if begun is None:
            made = await conn.execute(
                "UPDATE notice_delivery SET batch = %(batch)s WHERE route = %(route)s"
                " AND notice_id IN (SELECT notice_id FROM notice_delivery WHERE route = %(route)s"
                " AND sent_at IS NULL ORDER BY notice_id LIMIT %(most)s)",
                {"batch": batch, "route": route, "most": _AT_ONCE},
            )
            if not made.rowcount:
                return None
        async with conn.cursor(row_factory=class_row(Change)) as cursor:
            await cursor.execute(_CHANGES, (route, batch))
            return Message(batch, tuple(await cursor.fetchall()), base)


async def sent(conn: Connection, route: str, message: Message, now: datetime) -> None:
    """Note a success."""
    async with conn.transaction():
        await conn.execute(
            "UPDATE notice_delivery SET sent_at = %s WHERE route = %s AND batch = %s",
            (now, route, message.id),
        )
        await conn.execute(
            "UPDATE notice_route SET tries = 0, next_at = %s, last_sent_at = %s, last_error = ''"
            " WHERE name = %s",
            (now, now, route),
        )


async def failed(conn: Connection, route: str, why: str, now: datetime) -> None:
    """Note a failure; the pause until the next try doubles, up to an hour."""
    await conn.execute(
        "UPDATE notice_route SET tries = tries + 1, last_error = %s, next_at = %s"
        " + make_interval(secs => least(%s, %s * 2 ^ least(tries, 20))) WHERE name = %s",
        (why[:500], now, LAST_PAUSE_S, FIRST_PAUSE_S, route),
    )
