"""Logging in over the API, users, and the audit log."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request

from pbal_hq import audit
from pbal_hq.api.declare import Caller, Conn, Open, Routes, TheDesk
from pbal_hq.api.words import (
    ActiveIn,
    EntryOut,
    GrantsIn,
    LoginIn,
    MeOut,
    PasswordOut,
    RefreshIn,
    TokensOut,
    UserIn,
    VerdictOut,
)
from pbal_hq.auth import Permission, people, sessions, tokens
from pbal_hq.auth.people import Person

routes = Routes("/api/v1", "people")


def address_of(request: Request) -> str:
    """Where a request comes from."""
    return request.client.host if request.client else ""


def _out(login: sessions.Login) -> TokensOut:
    return TokensOut(access=login.access, refresh=login.refresh, expires_in_s=tokens.ACCESS_S)


@routes.post("/login", may=Open.ANYBODY)
async def login(given: LoginIn, request: Request, conn: Conn, desk: TheDesk) -> TokensOut:
    """Tokens for a name, a password and the code of the second factor."""
    name, address = given.name.strip().lower(), address_of(request)
    desk.count_try(name, address)
    found = await sessions.login(
        conn, desk.keys, name, given.password, given.code, desk.wall(), address
    )
    desk.tries_of_name.forget(name)
    return _out(found)


@routes.post("/refresh", may=Open.ANYBODY)
async def refresh(given: RefreshIn, request: Request, conn: Conn, desk: TheDesk) -> TokensOut:
    """New tokens for a refresh token, which counts once."""
    desk.tries_of_address.take(address_of(request), desk.wall())
    return _out(await sessions.refresh(conn, desk.keys, given.refresh, desk.wall()))


@routes.post("/logout", may=Open.LOGGED_IN, status_code=204)
async def logout(who: Caller, conn: Conn) -> None:
    """End this session."""
    await sessions.logout(conn, who)


@routes.get("/me", may=Open.LOGGED_IN)
async def me(who: Caller) -> MeOut:
    """Who one is, and what one may do somewhere."""
    return MeOut(
        name=who.name, full_name=who.full_name, pending=who.pending,
        permissions=sorted(who.permissions),
    )  # fmt: skip


@routes.get("/users", may=Permission.USER_MANAGE)
async def users(who: Caller, conn: Conn) -> list[Person]:
    """All users."""
    return await people.people(conn, who)


@routes.post("/users", may=Permission.USER_MANAGE, status_code=201)
async def make_user(given: UserIn, who: Caller, conn: Conn) -> PasswordOut:
    """A new user; the password is shown this once, and changed at the first login. Of a machine it
    is the token, good for a year; who logs in at the provider has none."""
    grants = [each.grant() for each in given.grants]
    number, password = await people.create(
        conn, who, given.name, given.full_name, grants, given.login
    )
    return PasswordOut(id=number, password=password)


@routes.put("/users/{user_id}/grants", may=Permission.USER_MANAGE, status_code=204)
async def set_grants(user_id: int, given: GrantsIn, who: Caller, conn: Conn) -> None:
    """What a user may do where."""
    await people.set_grants(conn, who, user_id, [each.grant() for each in given.grants])


@routes.put("/users/{user_id}/active", may=Permission.USER_MANAGE, status_code=204)
async def set_active(user_id: int, given: ActiveIn, who: Caller, conn: Conn) -> None:
    """Whether a user may log in; one who may not is out at once."""
    await people.set_active(conn, who, user_id, given.active)


@routes.post("/users/{user_id}/reset", may=Permission.USER_MANAGE)
async def reset(user_id: int, who: Caller, conn: Conn) -> PasswordOut:
    """A new first password, and the second factor anew."""
    return PasswordOut(id=user_id, password=await people.reset(conn, who, user_id))


@routes.get("/audit", may=Permission.AUDIT_READ)
async def entries(
    who: Caller, conn: Conn, before: int | None = None, actor: str = "", action: str = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> list[EntryOut]:  # fmt: skip
    """The newest entries of the audit log with an id below `before`."""
    who.scope(Permission.AUDIT_READ)
    found = await audit.page(conn, before=before, limit=limit, actor=actor, action=action)
    return [
        EntryOut(id=e.id, at_us=e.at_us, actor=e.actor, action=e.action, object=e.object,
                 detail=e.detail, hash=e.hash.hex()) for e in found
    ]  # fmt: skip


@routes.get("/audit/verify", may=Permission.AUDIT_READ)
async def verify(who: Caller, conn: Conn) -> VerdictOut:
    """Check the whole chain."""
    who.scope(Permission.AUDIT_READ)
    v = await audit.verify(conn)
    return VerdictOut(ok=v.ok, entries=v.entries, last_id=v.last_id,
                      last_hash=v.last_hash.hex(), wrong=v.wrong)  # fmt: skip
