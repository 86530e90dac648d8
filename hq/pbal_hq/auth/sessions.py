"""Login, refresh and logout: each an entry in the audit log.

login    name, password and code -> an access token of minutes and a refresh token
refresh  a refresh token -> new ones; it counts once. One that comes again was copied: the
         whole session ends, for both who hold it
find     an access token -> who it is, as the database knows them now
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from pbal_hq import audit
from pbal_hq.auth import passwords, tokens, totp
from pbal_hq.auth.errors import NotKnown
from pbal_hq.auth.keyring import Keyring
from pbal_hq.auth.roles import Grant, Role, needs_totp
from pbal_hq.auth.who import Who
from pbal_hq.database import Connection

SESSION_S = 12 * 3600
# A browser that requests two pages at the same time sends the same refresh token twice.
GRACE_S = 10
_WRONG = "Name, password or code is wrong."


@dataclass(frozen=True)
class Login:
    """The tokens of a user who is logged in. `refresh` None: the one they have stays good."""

    access: str
    refresh: str | None
    session_id: int


_GRANTS = "SELECT role, whole, area_id, transformer_id FROM person_grant WHERE person_id = %s"


async def grants_of(conn: Connection, person_id: int) -> tuple[Grant, ...]:
    """The grants of a user."""
    rows = await (await conn.execute(_GRANTS + " ORDER BY id", (person_id,))).fetchall()
    return tuple(Grant(Role(role), whole, area, one) for role, whole, area, one in rows)


async def login(
    conn: Connection, keys: Keyring, name: str, password: str, code: str, now_s: float, address: str
) -> Login:
    """Raises NotKnown. The caller has counted the try (tries.py)."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute("SELECT * FROM person WHERE name = %s", (name,))
        row = await cursor.fetchone()
    stored = row["password_hash"] if row else None
    # Argon2 is slow by design: on a thread, so that other requests are served meanwhile.
    right = await asyncio.to_thread(passwords.matches, stored, password)
    why = ""
    if row is None or not right:
        why = "password"
    elif not row["active"]:
        why = "inactive"
    elif row["totp_confirmed"] and not await _code_fits(conn, keys, row, code, now_s):
        why = "code"
    if row is None or why:
        # A name that is no user's may be a password in the wrong field: it is not recorded.
        actor = name if row else "unknown"
        await audit.append(conn, actor, "login.refused", "portal", {"why": why, "from": address})
        raise NotKnown(_WRONG)
    if passwords.is_outdated(row["password_hash"]):
        fresh = await asyncio.to_thread(passwords.make_hash, password, name)
        await conn.execute("UPDATE person SET password_hash = %s WHERE id = %s", (fresh, row["id"]))
    return await _begin(conn, keys, row["id"], name, now_s, {"from": address})


async def of_identity(
    conn: Connection, issuer: str, subject: str, name: str, address: str
) -> tuple[int, bool]:
    """(user, whether they have a second factor) of somebody whom the provider knows. Raises
    NotKnown.

    The first login binds the provider's subject to the user of that name, if an administrator made
    that user for the provider; from then on only the subject counts."""
    async with conn.transaction():
        row = await (
            await conn.execute(
                "SELECT id, name, totp_confirmed, subject IS NULL FROM person WHERE active"
                " AND login = 'provider' AND ((issuer = %(i)s AND subject = %(s)s)"
                " OR (subject IS NULL AND name = %(n)s AND NOT EXISTS (SELECT 1 FROM person"
                " WHERE issuer = %(i)s AND subject = %(s)s))) FOR UPDATE",
                {"i": issuer, "s": subject, "n": name},
            )
        ).fetchone()
        if row is not None and row[3]:
            await conn.execute(
                "UPDATE person SET issuer = %s, subject = %s WHERE id = %s",
                (issuer, subject, row[0]),
            )
            told = {"issuer": issuer, "subject": subject}
            await audit.append(conn, row[1], "user.bound", f"user {row[1]}", told)
    if row is None:
        told = {"why": "no user", "issuer": issuer, "subject": subject, "from": address}
        await audit.append(conn, "unknown", "login.refused", "portal", told)
        raise NotKnown("You are no user of HQ. An administrator makes you one.")
    return row[0], row[2]


async def login_of(
    conn: Connection, keys: Keyring, person_id: int, code: str, now_s: float, address: str
) -> Login:
    """The login of somebody whom the provider named, with the code of their second factor where
    they have one. Raises NotKnown."""
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT * FROM person WHERE id = %s AND active AND login = 'provider'", (person_id,)
        )
        row = await cursor.fetchone()
    if row is None:
        raise NotKnown("This login has ended.")
    if row["totp_confirmed"] and not await _code_fits(conn, keys, row, code, now_s):
        told = {"why": "code", "from": address}
        await audit.append(conn, row["name"], "login.refused", "portal", told)
        raise NotKnown("The code is wrong.")
    told = {"from": address, "at": row["issuer"]}
    return await _begin(conn, keys, row["id"], row["name"], now_s, told)


async def _begin(
    conn: Connection, keys: Keyring, person_id: int, name: str, now_s: float, told: dict[str, Any]
) -> Login:
    async with conn.transaction():
        refresh, hashed = tokens.make_refresh()
        made = await conn.execute(
            "INSERT INTO session (person_id, refresh_hash, rotated_at, started_at, expires_at,"
            " address) VALUES (%s, %s, to_timestamp(%s), to_timestamp(%s), to_timestamp(%s), %s)"
            " RETURNING id",
            (person_id, hashed, now_s, now_s, now_s + SESSION_S, told["from"]),
        )
        session_id = (await _one(made))[0]
        await audit.append(conn, name, "login", "portal", told | {"session": session_id})
    access = tokens.make_access(keys, tokens.Access(person_id, session_id), now_s)
    return Login(access, refresh, session_id)


async def _code_fits(
    conn: Connection, keys: Keyring, row: dict[str, Any], code: str, now_s: float
) -> bool:
    step = totp.step_of(keys.unseal(row["totp_sealed"]), code, now_s, row["totp_step"])
    if step is None:
        return False
    # Of two logins with the same code at the same time only one succeeds.
    taken = await conn.execute(
        "UPDATE person SET totp_step = %s WHERE id = %s AND totp_step < %s",
        (step, row["id"], step),
    )
    return taken.rowcount == 1


async def refresh(conn: Connection, keys: Keyring, token: str, now_s: float) -> Login:
    """Exchange a refresh token. Raises NotKnown."""
    hashed = tokens.refresh_hash(token)
    copied = False
    async with conn.transaction():
        row = await (
            await conn.execute(
                "SELECT s.id, s.person_id, s.refresh_hash = %(h)s,"
                " extract(epoch FROM u.used_at)::float8, p.name"
                " FROM session s JOIN person p ON p.id = s.person_id"
                " LEFT JOIN session_used u ON u.session_id = s.id AND u.refresh_hash = %(h)s"
                " WHERE (s.refresh_hash = %(h)s OR u.refresh_hash IS NOT NULL)"
                " AND s.ended_at IS NULL AND s.expires_at > to_timestamp(%(now)s) AND p.active"
                " FOR UPDATE OF s",
                {"h": hashed, "now": now_s},
            )
        ).fetchone()
        if row is None:
            raise NotKnown("The login has expired.")
        session_id, person_id, current, used_s, name = row
        new: str | None = None
        if current:
            new, new_hash = tokens.make_refresh()
            await conn.execute(
                "INSERT INTO session_used (refresh_hash, session_id, used_at)"
                " VALUES (%s, %s, to_timestamp(%s))",
                (hashed, session_id, now_s),
            )
            await conn.execute(
                "UPDATE session SET refresh_hash = %s, rotated_at = to_timestamp(%s) WHERE id = %s",
                (new_hash, now_s, session_id),
            )
        elif now_s - used_s > GRACE_S:
            copied = True
            await end(conn, session_id, "refresh token came again")
            await audit.append(conn, name, "login.copied", f"session {session_id}")
    if copied:
        raise NotKnown("The login was used from two places and has ended.")
    access = tokens.make_access(keys, tokens.Access(person_id, session_id), now_s)
    return Login(access, new, session_id)


async def find(conn: Connection, keys: Keyring, access: str, now_s: float) -> Who:
    """Who holds this access token. Raises NotKnown."""
    said = tokens.read_access(keys, access, now_s)
    row = await (
        await conn.execute(
            "SELECT p.id, p.name, p.full_name, p.password_is_initial, p.totp_confirmed"
            " FROM session s JOIN person p ON p.id = s.person_id"
            " WHERE s.id = %s AND p.id = %s AND s.ended_at IS NULL AND p.active"
            " AND s.expires_at > to_timestamp(%s)",
            (said.session_id, said.user_id, now_s),
        )
    ).fetchone()
    if row is None:
        raise NotKnown("The login has ended.")
    person_id, name, full_name, initial, has_totp = row
    grants = await grants_of(conn, person_id)
    pending = "password" if initial else ""
    if not pending and needs_totp(grants) and not has_totp:
        pending = "totp"
    return Who(person_id, name, full_name, said.session_id, grants, pending)


async def end(conn: Connection, session_id: int, why: str) -> None:
    """End one session."""
    await conn.execute(
        "UPDATE session SET ended_at = now(), ended_why = %s WHERE id = %s AND ended_at IS NULL",
        (why, session_id),
    )


async def end_all(conn: Connection, person_id: int, why: str, but: int | None = None) -> None:
    """End every session of a user, save one."""
    await conn.execute(
        "UPDATE session SET ended_at = now(), ended_why = %s"
        " WHERE person_id = %s AND ended_at IS NULL AND id IS DISTINCT FROM %s",
        (why, person_id, but),
    )


async def forget_old(conn: Connection) -> int:
    """Drop sessions that are over for a month; the audit log keeps the logins. Returns how many."""
    done = await conn.execute("DELETE FROM session WHERE expires_at < now() - interval '30 days'")
    return done.rowcount


async def logout(conn: Connection, who: Who) -> None:
    """End the session in use."""
    async with conn.transaction():
        await end(conn, who.session_id, "logout")
        await audit.append(conn, who.name, "logout", "portal", {"session": who.session_id})


async def _one(cursor: Any) -> tuple[Any, ...]:
    row = await cursor.fetchone()
    assert row is not None
    return tuple(row)
