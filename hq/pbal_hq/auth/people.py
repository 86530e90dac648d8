"""Users: made, given roles, taken out again, by administrators of the whole tree; and what each
does with their own account. Every change is in the audit log, in the same transaction."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg.errors import ForeignKeyViolation, UniqueViolation
from psycopg.rows import class_row

from pbal_hq import audit
from pbal_hq.auth import passwords, services, sessions, totp
from pbal_hq.auth.errors import AuthError, NotAllowed, NotKnown, WeakPassword
from pbal_hq.auth.keyring import Keyring
from pbal_hq.auth.roles import Grant, Permission, Role, needs_totp
from pbal_hq.auth.who import Who
from pbal_hq.database import Connection
from pbal_hq.errors import BadInput, NothingToDo

LOGINS = ("password", "provider", "token")
NAME = re.compile(r"[a-z][a-z0-9._-]{1,39}")


@dataclass(frozen=True)
class Person:
    """A user as administrators see them. `roles`: words for a person; `login`: by a password, at
    the provider, or with a token (a machine)."""

    id: int
    name: str
    full_name: str
    login: str
    active: bool
    totp_confirmed: bool
    password_is_initial: bool
    created_at: Any
    roles: list[str]


_PEOPLE = (
    "SELECT p.id, p.name, p.full_name, p.login, p.active, p.totp_confirmed, p.password_is_initial,"
    " p.created_at, coalesce(array_agg(g.role || ' of ' || CASE WHEN g.whole THEN 'the whole tree'"
    " WHEN g.area_id IS NOT NULL THEN a.level || ' ' || a.name ELSE 'transformer ' || t.code END"
    " ORDER BY g.id) FILTER (WHERE g.id IS NOT NULL), '{}') AS roles FROM person p"
    " LEFT JOIN person_grant g ON g.person_id = p.id LEFT JOIN area a ON a.id = g.area_id"
    " LEFT JOIN transformer t ON t.id = g.transformer_id"
)


def _initial() -> str:
    return secrets.token_urlsafe(15)


async def people(conn: Connection, who: Who) -> list[Person]:
    """All users. Raises NotAllowed."""
    who.scope(Permission.USER_MANAGE)
    async with conn.cursor(row_factory=class_row(Person)) as cursor:
        await cursor.execute(_PEOPLE + " GROUP BY p.id ORDER BY p.name")
        return await cursor.fetchall()


async def create(
    conn: Connection, who: Who, name: str, full_name: str, grants: Sequence[Grant],
    login: str = "password",
) -> tuple[int, str]:  # fmt: skip
    """(id, first password, which they change at once). Of a machine the token; "" for somebody who
    logs in at the provider. Raises NotAllowed, BadInput."""
    who.scope(Permission.USER_MANAGE)
    if login not in LOGINS:
        raise BadInput(f"A login is one of {', '.join(LOGINS)}.")
    return await _create(conn, who.name, name, full_name, grants, login)


async def first_administrator(conn: Connection, name: str) -> str:
    """The first password of the first user. Raises NothingToDo where there are users already."""
    async with conn.transaction():
        await conn.execute("LOCK TABLE person IN SHARE ROW EXCLUSIVE MODE")
        row = await (await conn.execute("SELECT count(*) FROM person")).fetchone()
        if row and row[0]:
            raise NothingToDo("there are users already: an administrator makes others")
        _, password = await _create(
            conn, "command line", name, "", [Grant(Role.ADMINISTRATOR, whole=True)]
        )
    return password


async def add_onlooker(
    conn: Connection, actor: str, name: str, full_name: str, grants: Sequence[Grant]
) -> str:
    """The first password of a new user who gives no orders, from this computer's command line.
    Raises BadInput."""
    if needs_totp(grants):
        raise BadInput("Who may order is made by an administrator, in the portal.")
    _, password = await _create(conn, actor, name, full_name, grants)
    return password


async def add_machine(
    conn: Connection, actor: str, name: str, full_name: str, grants: Sequence[Grant]
) -> str:
    """The token of a new machine, from this computer's command line. Raises BadInput."""
    _, token = await _create(conn, actor, name, full_name, grants, "token")
    return token


async def renew_machine(conn: Connection, actor: str, name: str) -> str:
    """Its next token; the one before ends at once, and so does being shut out. Raises NothingToDo,
    BadInput."""
    async with conn.transaction():
        person_id = await _machine(conn, name)
        await conn.execute("UPDATE person SET active = true WHERE id = %s", (person_id,))
        return await _reset(conn, actor, person_id)


async def revoke_machine(conn: Connection, actor: str, name: str) -> None:
    """Its token ends at once. Raises NothingToDo, BadInput."""
    async with conn.transaction():
        person_id = await _machine(conn, name)
        ended = await conn.execute("DELETE FROM service_token WHERE person_id = %s", (person_id,))
        await conn.execute("UPDATE person SET active = false WHERE id = %s", (person_id,))
        if not ended.rowcount:
            raise NothingToDo(f"{name} has no token")
        await audit.append(conn, actor, "user.deactivate", f"user {name}")


async def _machine(conn: Connection, name: str) -> int:
    row = await (
        await conn.execute("SELECT id, login FROM person WHERE name = %s FOR UPDATE", (name,))
    ).fetchone()
    if row is None:
        raise NothingToDo(f"there is no machine {name}; pbal-hq token list names them")
    if row[1] != "token":
        raise BadInput(f"{name} is a person: the portal's page Users, or pbal-hq user reset")
    return int(row[0])


async def _create(
    conn: Connection, actor: str, name: str, full_name: str, grants: Sequence[Grant],
    login: str = "password",
) -> tuple[int, str]:  # fmt: skip
    if not NAME.fullmatch(name):
        raise BadInput(
            "A user's name has 2 to 40 characters: a letter, then letters, digits, '.', '_' or "
            "'-', all small."
        )
    password, hashed = await _first(name, login)
    try:
        async with conn.transaction():
            row = await (
                await conn.execute(
                    "INSERT INTO person (name, full_name, password_hash, password_is_initial,"
                    " login) VALUES (%s, %s, %s, %s, %s) RETURNING id",
                    (name, full_name[:120], hashed, bool(password), login),
                )
            ).fetchone()
            assert row is not None
            told = {"full": full_name, "login": login}
            await audit.append(conn, actor, "user.create", f"user {name}", told)
            if login == "token":
                password = await services.make(conn, actor, row[0])
            await _give(conn, actor, row[0], name, login, grants)
    except UniqueViolation:
        raise BadInput(f"There is a user {name} already.") from None
    return row[0], password


async def _first(name: str, login: str) -> tuple[str, str]:
    """(first password, what is stored of it); of who has none ("", what no password fits)."""
    if login != "password":
        return "", "!"
    password = _initial()
    return password, await asyncio.to_thread(passwords.make_hash, password, name)


async def _give(
    conn: Connection, actor: str, person_id: int, name: str, login: str, grants: Sequence[Grant]
) -> None:
    if login == "token" and needs_totp(grants):
        raise BadInput("A machine has no second factor: it may be official or auditor.")
    await conn.execute("DELETE FROM person_grant WHERE person_id = %s", (person_id,))
    for g in dict.fromkeys(grants):
        try:
            await conn.execute(
                "INSERT INTO person_grant (person_id, role, whole, area_id, transformer_id)"
                " VALUES (%s, %s, %s, %s, %s)",
                (person_id, g.role, g.whole, g.area_id, g.transformer_id),
            )
        except ForeignKeyViolation:
            raise BadInput("There is no such area or transformer.") from None
    told = [{"role": g.role, "whole": g.whole, "area": g.area_id, "transformer": g.transformer_id}
            for g in dict.fromkeys(grants)]  # fmt: skip
    await audit.append(conn, actor, "user.grants", f"user {name}", {"grants": told})


async def set_grants(conn: Connection, who: Who, person_id: int, grants: Sequence[Grant]) -> None:
    """Raises NotAllowed, NothingToDo, BadInput."""
    who.scope(Permission.USER_MANAGE)
    async with conn.transaction():
        name, login = await _locked(conn, person_id)
        await _give(conn, who.name, person_id, name, login, grants)
        await _somebody_left(conn)


async def set_active(conn: Connection, who: Who, person_id: int, active: bool) -> None:
    """Let a user in again, or end their access at once. Raises NotAllowed, NothingToDo,
    BadInput."""
    who.scope(Permission.USER_MANAGE)
    async with conn.transaction():
        name, _ = await _locked(conn, person_id)
        await conn.execute("UPDATE person SET active = %s WHERE id = %s", (active, person_id))
        if not active:
            await sessions.end_all(conn, person_id, "deactivated")
        action = "user.activate" if active else "user.deactivate"
        await audit.append(conn, who.name, action, f"user {name}")
        await _somebody_left(conn)


async def reset(conn: Connection, who: Who, person_id: int) -> str:
    """A new first password, or a machine's next token; the second factor and the name at the
    provider are set up anew. Raises NotAllowed, NothingToDo."""
    who.scope(Permission.USER_MANAGE)
    return await _reset(conn, who.name, person_id)


async def reset_by_name(conn: Connection, name: str) -> str:
    """The same from this computer's command line. Raises NothingToDo."""
    row = await (await conn.execute("SELECT id FROM person WHERE name = %s", (name,))).fetchone()
    if row is None:
        raise NothingToDo(f"there is no user {name}; the first is made by: pbal-hq user first NAME")
    return await _reset(conn, "command line", row[0])


async def _reset(conn: Connection, actor: str, person_id: int) -> str:
    async with conn.transaction():
        name, login = await _locked(conn, person_id)
        password, hashed = await _first(name, login)
        await conn.execute(
            "UPDATE person SET password_hash = %s, password_is_initial = %s, totp_sealed = NULL,"
            " totp_confirmed = false, issuer = NULL, subject = NULL WHERE id = %s",
            (hashed, bool(password), person_id),
        )
        if login == "token":
            password = await services.make(conn, actor, person_id)
        await sessions.end_all(conn, person_id, "reset")
        await audit.append(conn, actor, "user.reset", f"user {name}")
    return password


async def _locked(conn: Connection, person_id: int) -> tuple[str, str]:
    """(name, login), and the row is this transaction's. Raises NothingToDo."""
    row = await (
        await conn.execute("SELECT name, login FROM person WHERE id = %s FOR UPDATE", (person_id,))
    ).fetchone()
    if row is None:
        raise NothingToDo("There is no such user.")
    return row[0], row[1]


async def _somebody_left(conn: Connection) -> None:
    """At least one user who can manage users has to be left."""
    # Serialises two administrators who remove each other at the same time.
    await conn.execute("SELECT pg_advisory_xact_lock(hashtext('pbal administrators'))")
    row = await (
        await conn.execute(
            "SELECT count(*) FROM person p JOIN person_grant g ON g.person_id = p.id"
            " WHERE p.active AND g.whole AND g.role = 'administrator'"
        )
    ).fetchone()
    if row is None or not row[0]:
        raise BadInput("Nobody would be left who can manage users. Make another administrator.")


async def change_password(conn: Connection, who: Who, old: str, new: str) -> None:
    """One's own; other sessions end. Raises NotKnown, WeakPassword."""
    row = await (
        await conn.execute("SELECT password_hash FROM person WHERE id = %s", (who.id,))
    ).fetchone()
    if row is None or not await asyncio.to_thread(passwords.matches, row[0], old):
        await audit.append(conn, who.name, "user.password.refused", f"user {who.name}")
        raise NotKnown("The password in use is another.")
    if old == new:
        raise WeakPassword("Choose another password than the one in use.")
    hashed = await asyncio.to_thread(passwords.make_hash, new, who.name)
    async with conn.transaction():
        await conn.execute(
            "UPDATE person SET password_hash = %s, password_is_initial = false WHERE id = %s",
            (hashed, who.id),
        )
        await sessions.end_all(conn, who.id, "password changed", but=who.session_id)
        await audit.append(conn, who.name, "user.password", f"user {who.name}")


async def begin_totp(conn: Connection, keys: Keyring, who: Who) -> str:
    """A new secret, in force once `confirm_totp` was given a code of it. Raises NotAllowed."""
    if who.pending == "password":
        raise NotAllowed("Choose your own password first.")
    secret = totp.make_secret()
    async with conn.transaction():
        changed = await conn.execute(
            "UPDATE person SET totp_sealed = %s WHERE id = %s AND NOT totp_confirmed",
            (keys.seal(secret), who.id),
        )
        if not changed.rowcount:
            raise NotAllowed("The second factor is set up. An administrator can reset it.")
        await audit.append(conn, who.name, "user.totp.begin", f"user {who.name}")
    return secret


async def confirm_totp(conn: Connection, keys: Keyring, who: Who, code: str, now_s: float) -> None:
    """Raises AuthError where the code does not fit."""
    async with conn.transaction():
        row = await (
            await conn.execute(
                "SELECT totp_sealed, totp_step FROM person WHERE id = %s AND NOT totp_confirmed"
                " AND totp_sealed IS NOT NULL FOR UPDATE",
                (who.id,),
            )
        ).fetchone()
        if row is None:
            raise NotAllowed("There is no second factor to confirm.")
        step = totp.step_of(keys.unseal(row[0]), code, now_s, row[1])
        if step is None:
            raise AuthError("The code does not fit. Check the clock of your device.")
        await conn.execute(
            "UPDATE person SET totp_confirmed = true, totp_step = %s WHERE id = %s", (step, who.id)
        )
        await audit.append(conn, who.name, "user.totp", f"user {who.name}")
