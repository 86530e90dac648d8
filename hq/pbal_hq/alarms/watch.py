"""The loop of the detectors: windows, hours and days from the database in, alarms out.

Only transformers that report live are checked: what a site sends from its backlog raises no alarm.
An open alarm of a site that became silent stays open.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from psycopg.rows import dict_row

from pbal_hq.alarms import detect
from pbal_hq.alarms.detect import Finding
from pbal_hq.alarms.past import pasts
from pbal_hq.alarms.take import raise_alarm, settle, wait_turn
from pbal_hq.alarms.trends import TRENDS
from pbal_hq.database import Connection

Open = defaultdict[int, set[str]]  # by transformer: the kinds of its open alarms

_WINDOWS = """
SELECT m.* FROM summary m JOIN site_live l ON l.site_id = m.site_id
WHERE m.start_at > %(now)s - interval '8 hours' AND m.start_at <= %(now)s
AND m.start_at > %(now)s - make_interval(secs => %(look)s * m.length_s)
AND l.summary_at > %(now)s - make_interval(secs => greatest(%(live)s, 3 * m.length_s))
ORDER BY m.transformer_id, m.start_at
"""
_SITES = """
SELECT s.transformer_id, l.seen_at, coalesce((l.state->>'window_s')::int, 300) AS window_s,
    max(l.seen_at) OVER () AS newest
FROM site s JOIN site_live l ON l.site_id = s.id JOIN transformer t ON t.id = s.transformer_id
WHERE s.removed_at IS NULL AND t.in_service
"""


async def watch(conn: Connection, now: datetime, *, windows: bool = True) -> int:
    """Once over the fleet; how many alarms were raised or closed. Without `windows` silence alone:
    where Storm has the others."""
    async with conn.transaction(), conn.cursor(row_factory=dict_row) as cursor:
        await wait_turn(conn)
        known = await open_alarms(conn, detect.KINDS)
        rows: list[dict[str, Any]] = []
        if windows:
            await cursor.execute(_WINDOWS, {"now": now, "look": detect.LOOK, "live": detect.LIVE_S})
            rows = await cursor.fetchall()
        await cursor.execute(_SITES)
        sites = await cursor.fetchall()
        changed = 0
        for transformer, kind, found in [*_findings(rows, known), *_silences(sites, now)]:
            changed += await apply(conn, known, transformer, kind, found, now)
    return changed


async def watch_trends(conn: Connection, now: datetime, plan_per_day: float) -> int:
    """The detectors of slow changes, once over the fleet; how many alarms were raised or closed.
    `plan_per_day`: switchings a day that a home's relays are planned for."""
    changed = 0
    async with conn.transaction():
        await wait_turn(conn)
        known = await open_alarms(conn, list(TRENDS))
        async for transformer, past in pasts(conn, now, plan_per_day):
            for kind, trend in TRENDS.items():
                found = trend(past, kind in known[transformer])
                changed += await apply(conn, known, transformer, kind, found, now)
    return changed


async def open_alarms(conn: Connection, kinds: list[str]) -> Open:
    """Those of these kinds."""
    rows = await (
        await conn.execute(
            "SELECT transformer_id, kind FROM alarm WHERE closed_at IS NULL"
            " AND address = 0 AND kind = ANY(%s)",
            (kinds,),
        )
    ).fetchall()
    known: Open = defaultdict(set)
    for transformer, kind in rows:
        known[transformer].add(kind)
    return known


def _findings(rows: list[dict[str, Any]], known: Open) -> Iterator[tuple[int, str, Finding | None]]:
    for transformer, group in groupby(rows, lambda row: row["transformer_id"]):
        windows = [detect.window(row, row["start_at"]) for row in group]
        for kind, detector in detect.DETECTORS.items():
            yield transformer, kind, detector(windows, kind in known[transformer])


def _silences(
    sites: list[dict[str, Any]], now: datetime
) -> Iterator[tuple[int, str, Finding | None]]:
    for site in sites:
        found = detect.silence(site["seen_at"], now, site["window_s"], site["newest"])
        # While HQ itself receives nothing, open ones stay as they are.
        deaf = site["newest"] is None or now - site["newest"] > timedelta(minutes=5)
        if found is not None or not deaf:
            yield site["transformer_id"], detect.SILENCE, found


async def apply(
    conn: Connection, known: Open, transformer: int, kind: str,
    found: Finding | None, now: datetime,
) -> int:  # fmt: skip
    """What a detector says, into the table of alarms; 1 where one was raised or closed.

    `known`: the open alarms, which it keeps right. Within the caller's transaction, which has
    waited its turn.
    """
    opened = known[transformer]
    if found is None:
        if kind not in opened:
            return 0
        opened.remove(kind)
        return int(await settle(conn, transformer, kind, 0, "over, by the detector"))
    if kind not in opened:
        opened.add(kind)
        await raise_alarm(conn, transformer, kind, 0, found.severity, found.words, now)
        return 1
    # Still so: updated, and its severity raised where it is higher now.
    await conn.execute(
        "UPDATE alarm SET last_at = %(now)s, detail = %(words)s,"
        " worse_at = CASE WHEN %(severity)s > severity THEN %(now)s ELSE worse_at END,"
        " severity = greatest(severity, %(severity)s)"
        " WHERE transformer_id = %(transformer)s AND kind = %(kind)s AND address = 0"
        " AND closed_at IS NULL",
        {"now": now, "words": found.words, "severity": found.severity,
         "transformer": transformer, "kind": kind},
    )  # fmt: skip
    return 0
