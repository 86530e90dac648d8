"""How the sites and their controllers are: versions, modes, links, certificates, rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row, dict_row

from pbal_hq.auth import IN_SCOPE, Permission, Who
from pbal_hq.database import Connection
from pbal_uplink import names

MOST = 20
# A certificate is renewed when a third of its 90 days is left: less than that is a renewal that
# did not work.
LATE_DAYS = 21


@dataclass(frozen=True)
class SiteNote:
    """A site that needs a look. `value`: percent, days or messages, as the list says."""

    transformer_id: int
    code: str
    name: str
    site_id: int
    value: float | None
    at: datetime | None


@dataclass(frozen=True)
class Rollout:
    """One order to roll a release out."""

    transformer_id: int
    code: str
    release: str
    status: str
    asked_at: datetime
    answer: str


@dataclass(frozen=True)
class Health:
    """`versions`: (version, sites, of them online), newest first; `modes`: (mode, sites);
    the lists: the worst MOST."""

    sites: int
    online: int
    versions: list[tuple[str, int, int]]
    modes: list[tuple[str, int]]
    offline: list[SiteNote]
    links: list[SiteNote]
    backlogs: list[SiteNote]
    certificates: list[SiteNote]
    homes: int
    homes_fresh: int
    homes_quarantined: int
    rollouts: list[Rollout]


def version_words(number: int | None) -> str:
    """Of State.version."""
    if number is None:
        return "not known"
    return f"{number >> 16}.{number >> 8 & 255}.{number & 255}"


_SITES = (
    " FROM transformer t JOIN site s ON s.transformer_id = t.id AND s.removed_at IS NULL"
    " LEFT JOIN site_live l ON l.site_id = s.id"
)
_NOTE = "SELECT t.id AS transformer_id, t.code, t.name, s.id AS site_id,"


async def health(conn: Connection, who: Who) -> Health:
    """Of the sites that the user may see; rollouts where they may see orders. Raises
    NotAllowed."""
    values: dict[str, Any] = who.scope(Permission.TREE_READ).parameters() | {
        "most": MOST, "late": LATE_DAYS,
    }  # fmt: skip

    async def rows(sql: str) -> list[dict[str, Any]]:
        async with conn.cursor(row_factory=dict_row) as cursor:
            await cursor.execute(sql, values)
            return await cursor.fetchall()

    async def notes(sql: str) -> list[SiteNote]:
        async with conn.cursor(row_factory=class_row(SiteNote)) as cursor:
            await cursor.execute(sql + " LIMIT %(most)s", values)
            return await cursor.fetchall()

    versions = await rows(
        "SELECT (l.state->>'version')::int AS version, count(*)::int AS sites,"
        f" (count(*) FILTER (WHERE l.online))::int AS online{_SITES} WHERE {IN_SCOPE}"
        " GROUP BY 1 ORDER BY 1 DESC NULLS LAST"
    )
    modes = await rows(
        f"SELECT (l.state->>'mode')::int AS mode, count(*)::int AS sites{_SITES}"
        f" WHERE {IN_SCOPE} GROUP BY 1 ORDER BY 1 NULLS LAST"
    )
    [homes] = await rows(
        "SELECT coalesce(sum(m.homes), 0)::int AS homes, coalesce(sum(m.homes_fresh), 0)::int"
        f" AS fresh, coalesce(sum(m.homes_quarantined), 0)::int AS quarantined{_SITES}"
        " JOIN summary m ON m.transformer_id = t.id AND m.start_at = l.summary_at"
        f" WHERE {IN_SCOPE}"
    )
    return Health(
        sites=sum(r["sites"] for r in versions),
        online=sum(r["online"] for r in versions),
        versions=[(version_words(r["version"]), r["sites"], r["online"]) for r in versions],
        modes=[(names.MODES.get(r["mode"], "not known"), r["sites"]) for r in modes],
        offline=await notes(
            f"{_NOTE} NULL::float8 AS value, l.seen_at AS at{_SITES} WHERE {IN_SCOPE}"
            " AND NOT coalesce(l.online, false) ORDER BY l.seen_at NULLS FIRST, t.id"
        ),
        links=await notes(
            f"{_NOTE} least(h.rs485_min_percent, h.lora_min_percent, h.udp_min_percent)::float8"
            f" AS value, h.start_at AS at{_SITES} JOIN summary_hourly h ON h.transformer_id = t.id"
            " AND h.start_at = date_trunc('hour', l.summary_at, 'UTC') - interval '1 hour'"
            f" WHERE {IN_SCOPE} AND least(h.rs485_min_percent, h.lora_min_percent,"
            " h.udp_min_percent) < 95 ORDER BY value, t.id"
        ),
        backlogs=await notes(
            f"{_NOTE} (l.state->>'backlog')::float8 AS value, l.state_at AS at{_SITES}"
            f" WHERE {IN_SCOPE} AND (l.state->>'backlog')::bigint > 12 ORDER BY value DESC, t.id"
        ),
        certificates=await notes(
            f"{_NOTE} extract(epoch FROM x.until - now())::float8 / 86400 AS value,"
            f" x.until AS at{_SITES} JOIN (SELECT site_id, max(not_after) AS until FROM certificate"
            " WHERE revoked_at IS NULL GROUP BY site_id) x ON x.site_id = s.id"
            f" WHERE {IN_SCOPE} AND x.until < now() + make_interval(days => %(late)s)"
            " ORDER BY x.until, t.id"
        ),
        homes=homes["homes"], homes_fresh=homes["fresh"], homes_quarantined=homes["quarantined"],
        rollouts=await _rollouts(conn, who) if Permission.COMMAND_READ in who.permissions else [],
    )  # fmt: skip


async def _rollouts(conn: Connection, who: Who) -> list[Rollout]:
    async with conn.cursor(row_factory=class_row(Rollout)) as cursor:
        await cursor.execute(
            "SELECT t.id AS transformer_id, t.code, c.fields->>'release' AS release, c.status,"
            " c.asked_at, c.answer FROM command c JOIN site s ON s.id = c.site_id"
            f" JOIN transformer t ON t.id = s.transformer_id WHERE {IN_SCOPE}"
            " AND c.kind = %(rollout)s ORDER BY c.asked_at DESC LIMIT %(most)s",
            who.scope(Permission.COMMAND_READ).parameters()
            | {"rollout": names.COMMAND_ROLLOUT, "most": MOST},
        )
        return await cursor.fetchall()
