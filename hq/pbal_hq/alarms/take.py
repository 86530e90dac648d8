"""Alarms from the sites' events: one open alarm for one fault, however often it is reported.

An event of severity warning or alarm raises, or counts at the open alarm of its transformer, home
and kind. What is over closes by itself: `released` ends a home's `quarantine`, and an alarm that no
detector keeps open and that was not reported again for QUIET_S is closed as quiet.
"""

from __future__ import annotations

import logging
from datetime import datetime

from pbal_hq.database import Connection
from pbal_uplink import names

log = logging.getLogger(__name__)

QUIET_S = 86_400
# An event that says that another kind's alarm is over.
_ENDS = {names.KIND_RELEASED: names.KINDS[names.KIND_QUARANTINE]}
CHANNEL = "pbal_event"  # NOTIFY, when the store has events
_BATCH = 500


async def wait_turn(conn: Connection) -> None:
    """From here to the end of the transaction nobody else changes alarms.

    Another portal may look over the fleet at the same time, and Storm's detectors find something.
    """
    await conn.execute("SELECT pg_advisory_xact_lock(hashtext('pbal alarms'))")


async def raise_alarm(
    conn: Connection, transformer_id: int, kind: str, address: int, severity: int,
    detail: str, at: datetime,
) -> int:  # fmt: skip
    """The id of the open alarm, raised now or counted again."""
    row = await (
        await conn.execute(
            "INSERT INTO alarm (transformer_id, kind, address, severity, detail, raised_at,"
            " last_at) VALUES (%(t)s, %(kind)s, %(address)s, %(severity)s, %(detail)s, %(at)s,"
            " %(at)s) ON CONFLICT (transformer_id, kind, address) WHERE closed_at IS NULL"
            " DO UPDATE SET times = alarm.times + 1, last_at = greatest(alarm.last_at, %(at)s),"
            " severity = greatest(alarm.severity, excluded.severity), detail = excluded.detail,"
            " worse_at = CASE WHEN excluded.severity > alarm.severity THEN %(at)s"
            " ELSE alarm.worse_at END"
            " RETURNING id",
            {
                "t": transformer_id,
                "kind": kind,
                "address": address,
                "severity": severity,
                "detail": detail,
                "at": at,
            },
        )
    ).fetchone()
    assert row is not None
    return int(row[0])


async def settle(conn: Connection, transformer_id: int, kind: str, address: int, why: str) -> bool:
    """Close the open alarm of this fault, if there is one."""
    done = await conn.execute(
        "UPDATE alarm SET closed_at = now(), closed_why = %s WHERE transformer_id = %s"
        " AND kind = %s AND address = %s AND closed_at IS NULL",
        (why, transformer_id, kind, address),
    )
    return done.rowcount > 0


async def take_events(conn: Connection) -> int:
    """Turn events that were not taken yet into alarms; how many. Called until it says 0."""
    async with conn.transaction():
        await wait_turn(conn)
        rows = await (
            await conn.execute(
                "SELECT e.site_id, e.event_id, e.transformer_id, e.kind, e.address, e.severity,"
                " e.detail, e.at, e.code, e.trace FROM event e WHERE e.severity > 0 AND NOT EXISTS"
                " (SELECT 1 FROM alarm_event x WHERE (x.site_id, x.event_id) ="
                " (e.site_id, e.event_id)) ORDER BY e.at LIMIT %s",
                (_BATCH,),
            )
        ).fetchall()
        for site, event, transformer, kind, address, severity, detail, at, code, trace in rows:
            word = names.KINDS.get(kind, str(kind))
            if kind == names.KIND_NODE:
                word = names.NODE_EVENTS.get(code, f"node {code}")
            alarm = await raise_alarm(conn, transformer, word, address, severity, detail, at)
            await conn.execute(
                "INSERT INTO alarm_event (site_id, event_id, alarm_id) VALUES (%s, %s, %s)",
                (site, event, alarm),
            )
            told = {"trace": trace, "site": site, "alarm": alarm, "kind": word}
            log.info("event is an alarm", extra=told)
        for ends, kind_word in _ENDS.items():
            await conn.execute(
                "UPDATE alarm a SET closed_at = now(), closed_why = 'the site says it is over'"
                " WHERE a.closed_at IS NULL AND a.kind = %s AND EXISTS (SELECT 1 FROM event e"
                " WHERE e.transformer_id = a.transformer_id AND e.address = a.address"
                " AND e.kind = %s AND e.at >= a.last_at)",
                (kind_word, ends),
            )
    return len(rows)


async def close_quiet(conn: Connection, kept_alive: list[str]) -> int:
    """Close what was not reported again for QUIET_S; not the kinds that detectors keep open."""
    done = await conn.execute(
        "UPDATE alarm SET closed_at = now(), closed_why = 'quiet for a day' WHERE closed_at IS NULL"
        " AND last_at < now() - make_interval(secs => %s) AND NOT kind = ANY(%s)",
        (QUIET_S, kept_alive),
    )
    return done.rowcount
