"""Tokens of machines: 32 random bytes, of which the database holds the SHA-256.

A machine reads: it has no second factor, so no role that asks for one (roles.NEED_TOTP) can be
granted to it. It is a user whose login is 'token'; shut out, its token ends at once.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from pbal_hq.auth.errors import NotKnown
from pbal_hq.auth.roles import needs_totp
from pbal_hq.auth.sessions import grants_of
from pbal_hq.auth.tokens import refresh_hash
from pbal_hq.auth.who import Who
from pbal_hq.database import Connection

PREFIX = "pbal-service-"
GOOD_DAYS = 365


@dataclass(frozen=True)
class Machine:
    """A machine and its token; no times where it has none. `used_at`: within the hour."""

    name: str
    full_name: str
    active: bool
    made_by: str | None
    made_at: datetime | None
    expires_at: datetime | None
    used_at: datetime | None


async def machines(conn: Connection) -> list[Machine]:
    """All of them, by name."""
    async with conn.cursor(row_factory=class_row(Machine)) as cursor:
        await cursor.execute(
            "SELECT p.name, p.full_name, p.active, s.made_by, s.made_at, s.expires_at, s.used_at"
            " FROM person p LEFT JOIN service_token s ON s.person_id = p.id"
            " WHERE p.login = 'token' ORDER BY p.name"
        )
        return await cursor.fetchall()


async def make(conn: Connection, actor: str, person_id: int) -> str:
    """A new token in place of those before; shown once."""
    token = PREFIX + secrets.token_urlsafe(32)
    await conn.execute("DELETE FROM service_token WHERE person_id = %s", (person_id,))
    await conn.execute(
        "INSERT INTO service_token (hash, person_id, made_by, expires_at)"
        " VALUES (%s, %s, %s, now() + make_interval(days => %s))",
        (refresh_hash(token), person_id, actor, GOOD_DAYS),
    )
    return token


async def find(conn: Connection, token: str) -> Who:
    """The machine that holds this token. Raises NotKnown."""
    row = await (
        await conn.execute(
            "SELECT p.id, p.name, p.full_name, s.used_at > now() - interval '1 hour'"
            " FROM service_token s JOIN person p ON p.id = s.person_id WHERE s.hash = %s"
            " AND s.expires_at > now() AND p.active AND p.login = 'token'",
            (refresh_hash(token),),
        )
    ).fetchone()
    if row is None:
        raise NotKnown("This token is not known, or it has ended.")
    person_id, name, full_name, lately = row
    if not lately:
        await conn.execute(
            "UPDATE service_token SET used_at = now() WHERE hash = %s", (refresh_hash(token),)
        )
    grants = await grants_of(conn, person_id)
    # Not only when they are granted: the table of roles may change under a grant.
    kept = tuple(grant for grant in grants if not needs_totp([grant]))
    return Who(person_id, name, full_name, 0, kept)
