"""Whether those behind an order still may: asked when it is released, and when it goes."""

from __future__ import annotations

from pbal_hq.auth import IN_SCOPE, Permission, sessions
from pbal_hq.auth.roles import scope
from pbal_hq.database import Connection


async def still_may(conn: Connection, name: str, transformer_id: int, needed: Permission) -> bool:
    """Whether the user of that name is let in, and holds the permission at the transformer."""
    row = await (
        await conn.execute("SELECT id FROM person WHERE name = %s AND active", (name,))
    ).fetchone()
    if row is None:
        return False
    there = scope(await sessions.grants_of(conn, row[0]), needed)
    found = await conn.execute(
        f"SELECT 1 FROM transformer t WHERE t.id = %(one)s AND {IN_SCOPE}",
        there.parameters() | {"one": transformer_id},
    )
    return await found.fetchone() is not None
