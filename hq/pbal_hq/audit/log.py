"""Writing and reading entries; the chain itself is made by the database (its trigger)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pbal_hq.audit.chain import COLUMNS, Entry
from pbal_hq.database import Connection


async def append(
    conn: Connection,
    actor: str,
    action: str,
    target: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """One entry, as part of the connection's transaction: it stands or falls with what it is about.

    `actor` is a user's name, or "command line" or "HQ"; `action` as "alarm.acknowledge"; `target`
    what it was done to, as "alarm 7". `detail` holds no secrets: no password, token or code.
    """
    await conn.execute(
        "INSERT INTO audit (actor, action, object, detail) VALUES (%s, %s, %s, %s)",
        (actor, action, target, Jsonb(dict(detail or {}))),
    )


async def page(
    conn: Connection, *, before: int | None = None, limit: int = 50, actor: str = "",
    action: str = "",
) -> list[Entry]:  # fmt: skip
    """The newest entries with an id below `before`."""
    async with conn.cursor(row_factory=class_row(Entry)) as cursor:
        await cursor.execute(
            f"SELECT {COLUMNS} FROM audit"
            " WHERE (%(before)s::bigint IS NULL OR id < %(before)s)"
            " AND (%(actor)s = '' OR actor = %(actor)s)"
            " AND (%(action)s = '' OR action ^@ %(action)s)"
            " ORDER BY id DESC LIMIT %(limit)s",
            {"before": before, "actor": actor, "action": action, "limit": limit},
        )
        return await cursor.fetchall()
