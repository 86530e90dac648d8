"""Which sites are online, and their state: births, deaths, states, and when each was last heard.

A message that is older than what is known changes only the history.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field

from psycopg.types.json import Jsonb

from pbal_hq.database import Connection


@dataclass
class Seen:
    """What one batch contains of one site."""

    heard: datetime.datetime
    summary: datetime.datetime | None = None  # start of the latest window


@dataclass(frozen=True)
class Known:
    """A site's report about itself."""

    site: int
    at: datetime.datetime
    fields: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Came:
    """A birth (online) or a death."""

    site: int
    at: datetime.datetime
    online: bool
    bdseq: int | None


async def note_seen(db: Connection, seen: dict[int, Seen]) -> None:
    """When sites were heard, and the start of their latest window."""
    sites = sorted(seen)  # in one order: two writers do not wait for each other in a circle
    await db.execute(
        "INSERT INTO site_live (site_id, seen_at, summary_at) "
        "SELECT * FROM unnest(%s::bigint[], %s::timestamptz[], %s::timestamptz[]) "
        "ON CONFLICT (site_id) DO UPDATE SET "
        "seen_at = greatest(site_live.seen_at, EXCLUDED.seen_at), "
        "summary_at = greatest(site_live.summary_at, EXCLUDED.summary_at)",
        (sites, [seen[s].heard for s in sites], [seen[s].summary for s in sites]),
    )


async def note_states(db: Connection, states: Sequence[Known]) -> None:
    """States, now and in the history."""
    for state in states:
        body = Jsonb(state.fields)
        await db.execute(
            "INSERT INTO site_state (site_id, at, state) VALUES (%s, %s, %s) "
            "ON CONFLICT (site_id, at) DO UPDATE SET state = EXCLUDED.state",
            (state.site, state.at, body),
        )
        await db.execute(
            "UPDATE site_live SET state_at = %s, state = %s "
            "WHERE site_id = %s AND (state_at IS NULL OR state_at <= %s)",
            (state.at, body, state.site, state.at),
        )


async def note_presence(db: Connection, sessions: Sequence[Came]) -> None:
    """Births and deaths."""
    for each in sessions:
        await db.execute(
            "INSERT INTO site_session (site_id, at, online, bdseq) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT DO NOTHING",
            (each.site, each.at, each.online, each.bdseq),
        )
        await db.execute(
            "UPDATE site_live SET online_at = CASE WHEN online IS DISTINCT FROM %s THEN %s "
            "ELSE online_at END, online = %s WHERE site_id = %s "
            "AND NOT EXISTS (SELECT 1 FROM site_session x WHERE x.site_id = %s AND x.at > %s)",
            (each.online, each.at, each.online, each.site, each.site, each.at),
        )
