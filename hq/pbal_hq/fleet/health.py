"""How the sites and their controllers are: versions, modes, links, certificates, rollouts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row, dict_row

from pbal_hq.auth import FEEDER_IN_SCOPE, IN_SCOPE, Permission, Who
from pbal_hq.database import Connection, feeder_present
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


_LATE = "date_trunc('hour', now(), 'UTC') - interval '4 hours'"
_SITES = f" FROM present t WHERE t.site_id IS NOT NULL AND {IN_SCOPE}"


def _noted(chosen: str, order: str) -> str:
    """SQL: notes of the first of the `chosen` (id, site_id, value, at); names of those alone."""
    return (
        "SELECT c.id AS transformer_id, n.code, n.name, c.site_id, c.value, c.at FROM ("
        f"{chosen} ORDER BY {order}, id LIMIT %(most)s) c JOIN transformer n ON n.id = c.id"
        f" ORDER BY {order}, transformer_id"
    )


# The worst twenty sites are in the twenty feeders whose worst is worst. Feeders whose sites have
# been silent for hours may be many.
_FIRST = "IS NOT NULL ORDER BY worst, feeder_id LIMIT %(most)s"
_WORST = {
    "offline": ("min(silent_since)", _FIRST),
    "backlogs": ("-max(backlog_most)", _FIRST),
    "certificates": ("min(certificate_until)", _FIRST),
    "silent": ("min(window_least)", f"< {_LATE} + interval '1 hour'"),
}
_KINDS = (
    f"WITH {feeder_present.seen(FEEDER_IN_SCOPE)} SELECT version, mode, sum(sites)::int AS sites,"
    " sum(online)::int AS online, sum(homes)::int AS homes, sum(homes_fresh)::int AS fresh,"
    " sum(homes_quarantined)::int AS quarantined"
    + "".join(
        f", (SELECT array_agg(feeder_id) FROM (SELECT feeder_id FROM (SELECT feeder_id, {worst}"
        f" AS worst FROM parts GROUP BY 1) f WHERE worst {which}) w) AS {name}"
        for name, (worst, which) in _WORST.items()
    )
    + " FROM parts GROUP BY 1, 2 HAVING sum(sites) > 0"
)


async def health(conn: Connection, who: Who) -> Health:
    """Of the sites that the user may see; rollouts where they may see orders. Raises
    NotAllowed."""
    values: dict[str, Any] = who.scope(Permission.TREE_READ).parameters() | {
        "most": MOST, "late": LATE_DAYS,
    }  # fmt: skip

    async def notes(value: str, at: str, which: str, order: str) -> list[SiteNote]:
        chosen = f"SELECT t.id, t.site_id, {value}::float8 AS value, {at} AS at{_SITES} AND {which}"
        async with conn.cursor(row_factory=class_row(SiteNote)) as cursor:
            await cursor.execute(_noted(chosen, order), values)
            return await cursor.fetchall()

    # Of the few kinds of sites there are, how many; and in which feeders the worst ones are.
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_KINDS, values)
        kinds = await cursor.fetchall()
    none: list[int] = []
    values |= {name: (kinds[0][name] if kinds else None) or none for name in _WORST}
    return Health(
        sites=sum(r["sites"] for r in kinds),
        online=sum(r["online"] for r in kinds),
        versions=_versions(kinds),
        modes=_modes(kinds),
        offline=await notes(
            "NULL", "t.seen_at",
            "t.feeder_id = ANY(%(offline)s) AND NOT coalesce(t.online, false)", "at NULLS FIRST",
        ),
        links=await _links(conn, values),
        backlogs=await notes(
            "t.backlog", "(SELECT l.state_at FROM site_live l WHERE l.site_id = t.site_id)",
            f"t.feeder_id = ANY(%(backlogs)s) AND {feeder_present.BACKLOG}", "value DESC",
        ),
        certificates=await notes(
            "extract(epoch FROM t.certificate_until - now()) / 86400", "t.certificate_until",
            "t.feeder_id = ANY(%(certificates)s)"
            " AND t.certificate_until < now() + make_interval(days => %(late)s)", "at",
        ),
        homes=sum(r["homes"] for r in kinds), homes_fresh=sum(r["fresh"] for r in kinds),
        homes_quarantined=sum(r["quarantined"] for r in kinds),
        rollouts=await _rollouts(conn, who) if Permission.COMMAND_READ in who.permissions else [],
    )  # fmt: skip


def _versions(kinds: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    found: dict[int | None, tuple[int, int]] = {}
    for each in kinds:
        sites, online = found.get(each["version"], (0, 0))
        found[each["version"]] = (sites + each["sites"], online + each["online"])
    newest_first = sorted(found, key=lambda number: -1 if number is None else number, reverse=True)
    return [(version_words(number), *found[number]) for number in newest_first]


def _modes(kinds: list[dict[str, Any]]) -> list[tuple[str, int]]:
    found: dict[int | None, int] = {}
    for each in kinds:
        found[each["mode"]] = found.get(each["mode"], 0) + each["sites"]
    last = max(names.MODES, default=0) + 1
    in_order = sorted(found, key=lambda mode: last if mode is None else mode)
    return [
        ("not known" if mode is None else names.MODES.get(mode, "not known"), found[mode])
        for mode in in_order
    ]


async def _links(conn: Connection, values: dict[str, Any]) -> list[SiteNote]:
    """Bad in the last whole hour that a site reported. Of sites that report, these are among the
    bad hours of late (an index has those alone); of silent ones each site's hour is looked up."""
    worst = "least(h.rs485_min_percent, h.lora_min_percent, h.udp_min_percent)"
    hour = "date_trunc('hour', t.window_at, 'UTC') - interval '1 hour'"
    bad = (
        f"SELECT t.id, t.site_id, {worst}::float8 AS value, h.start_at AS at FROM present t"
        f" JOIN summary_hourly h ON h.transformer_id = t.id AND h.start_at = {hour}"
        f" WHERE t.site_id IS NOT NULL AND {IN_SCOPE} AND {worst} < 95"
    )
    chosen = (
        f"SELECT * FROM ({bad} AND h.start_at >= {_LATE} UNION ALL"
        f" {bad} AND h.start_at < {_LATE} AND t.window_at < {_LATE} + interval '1 hour'"
        " AND t.feeder_id = ANY(%(silent)s)) b"
    )
    async with conn.cursor(row_factory=class_row(SiteNote)) as cursor:
        await cursor.execute(_noted(chosen, "value"), values)
        return await cursor.fetchall()


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
