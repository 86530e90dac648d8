"""Sites: which controller is at which transformer, and its name at the broker."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from pbal_hq.database import Connection
from pbal_hq.errors import BadInput, NothingToDo

# A name in a certificate, a Sparkplug edge node id and an MQTT client id in one. "pbal-" is HQ's.
_NODE = re.compile(r"[a-z0-9][a-z0-9.-]{0,47}")
_GROUP = re.compile(r"[A-Za-z0-9_.-]{1,64}")
RESERVED = "pbal-"
_DEV_EUI = re.compile(r"[0-9a-f]{16}")
BEHIND = 20  # sites behind one gateway


@dataclass(frozen=True)
class NewSite:
    """What a site is made of. `site`: the number in its own configuration."""

    site: int
    transformer_id: int
    group: str = "pbal"
    node: str = ""
    name: str = ""
    gateway: int | None = None  # the site whose gateway brings it; None: a link of its own
    device: bool = False  # of a LoRaWAN network server; its node is its DevEUI


@dataclass(frozen=True)
class Site:
    """A site as it is listed."""

    site: int
    transformer_id: int
    transformer: str
    group: str
    node: str
    name: str
    removed: bool
    online: bool
    seen_at: datetime.datetime | None
    not_after: datetime.datetime | None  # of its latest certificate that is good
    gateway: int | None
    revoked: bool  # behind a gateway: nothing of it is taken


def _check(new: NewSite, node: str) -> None:
    if not 1 <= new.site <= 0xFFFFFFFF:
        raise BadInput(f"site {new.site} is outside 1..4294967295")
    if not _NODE.fullmatch(node) or node.startswith(RESERVED):
        raise BadInput(
            f"node {node!r}: small letters, digits, dots and hyphens, at most 48, not {RESERVED}..."
        )
    if not _GROUP.fullmatch(new.group) or new.group == "STATE":
        raise BadInput(f"group {new.group!r}: letters, digits, dots, hyphens, and not STATE")
    if new.device and not _DEV_EUI.fullmatch(node):
        raise BadInput(f"DevEUI {node!r}: 16 small hex digits")


async def add_site(db: Connection, new: NewSite) -> str:
    """Add a site; returns its node id. Raises BadInput."""
    node = new.node or str(new.site)
    _check(new, node)
    if new.gateway is not None:
        await _check_gateway(db, new.gateway)
    cursor = await db.execute(
        "INSERT INTO site (id, transformer_id, group_id, node, name, gateway_id, device) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING RETURNING id",
        (new.site, new.transformer_id, new.group, node, new.name[:200], new.gateway, new.device),
    )
    if await cursor.fetchone() is None:
        cursor = await db.execute(
            "SELECT id, node, removed_at FROM site WHERE id = %s OR node = %s "
            "OR (transformer_id = %s AND removed_at IS NULL)",
            (new.site, node, new.transformer_id),
        )
        row = await cursor.fetchone()
        other = f"site {row[0]} ({row[1]})" if row else "another site"
        gone = ", which was removed: its number is not used again" if row and row[2] else ""
        raise BadInput(f"{other} has this number, node id or transformer already{gone}")
    await db.execute("INSERT INTO site_live (site_id) VALUES (%s)", (new.site,))
    return node


async def _check_gateway(db: Connection, gateway: int) -> None:
    await db.execute("SELECT 1 FROM site WHERE id = %s FOR UPDATE", (gateway,))
    found = await site_of(db, gateway)
    if found.gateway is not None:
        raise BadInput(f"site {gateway} is behind gateway {found.gateway} itself")
    cursor = await db.execute(
        "SELECT count(*) FROM site WHERE gateway_id = %s AND removed_at IS NULL", (gateway,)
    )
    row = await cursor.fetchone()
    if row is not None and row[0] >= BEHIND:
        raise BadInput(f"gateway {gateway} has {row[0]} sites already; a gateway takes {BEHIND}")


async def bar(db: Connection, site: int, *, barred: bool) -> None:
    """Take nothing more of a site behind a gateway, or let it in again."""
    await db.execute(
        "UPDATE site SET revoked_at = CASE WHEN %s THEN coalesce(revoked_at, now()) END "
        "WHERE id = %s",
        (barred, site),
    )


_LISTED = """
    SELECT s.id, s.transformer_id, t.code, s.group_id, s.node, s.name,
           s.removed_at IS NOT NULL, coalesce(l.online, false), l.seen_at,
           (SELECT max(c.not_after) FROM certificate c
            WHERE c.site_id = s.id AND c.revoked_at IS NULL),
           s.gateway_id, s.revoked_at IS NOT NULL
    FROM site s JOIN transformer t ON t.id = s.transformer_id
    LEFT JOIN site_live l ON l.site_id = s.id
"""


async def list_sites(db: Connection, *, removed: bool = False) -> list[Site]:
    """All sites by number; `removed`: also those that were."""
    where = "" if removed else " WHERE s.removed_at IS NULL"
    cursor = await db.execute(f"{_LISTED}{where} ORDER BY s.id")
    return [Site(*row) for row in await cursor.fetchall()]


async def site_of(db: Connection, site: int) -> Site:
    """One site that was not removed. Raises NothingToDo."""
    cursor = await db.execute(f"{_LISTED} WHERE s.id = %s", (site,))
    row = await cursor.fetchone()
    if row is None or row[6]:
        gone = "was removed" if row else "is not known; pbal-hq site list names all"
        raise NothingToDo(f"site {site} {gone}")
    return Site(*row)


async def remove_site(db: Connection, site: int) -> None:
    """Mark a site as removed; its data stays. The caller revokes its certificates."""
    await db.execute("UPDATE site SET removed_at = now() WHERE id = %s", (site,))
    await db.execute(
        "UPDATE site_live SET online = false, online_at = now() WHERE site_id = %s AND online",
        (site,),
    )
