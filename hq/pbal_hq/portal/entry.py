"""Pages of logging in and of one's own account."""

from __future__ import annotations

import io

import segno
from fastapi import Request
from starlette.responses import Response

from pbal_hq.api import Conn, Open, Routes, TheDesk, address_of
from pbal_hq.auth import MEANINGS, AuthError, NotKnown, WeakPassword, people, sessions, totp
from pbal_hq.errors import NothingToDo
from pbal_hq.portal.render import COOKIE, back, page
from pbal_hq.portal.translate import LANGUAGES
from pbal_hq.portal.visitor import (
    Form,
    Visitor,
    check_origin,
    drop,
    fields,
    keep,
    safe_path,
    set_cookie,
    visitor,
)

routes = Routes("", "account", who=visitor, include_in_schema=False)


@routes.get("/alive", may=Open.ANYBODY)
async def alive() -> Response:
    """Whether this instance serves: for a balancer. The database's state is no instance's own."""
    return Response("alive\n", media_type="text/plain")


@routes.get("/login", may=Open.ANYBODY)
async def login_page(request: Request, desk: TheDesk, next: str = "/") -> Response:
    """The form."""
    return login_form(request, desk, safe_path(next))


def login_form(
    request: Request, desk: TheDesk, onward: str, code: int = 200, words: str = "", name: str = ""
) -> Response:
    """The page of logging in, with what went wrong."""
    label = desk.provider.config.label if desk.provider else ""
    return page(request, "login.html", code, words=words, name=name, next=onward, provider=label)


@routes.get("/language/{language}", may=Open.ANYBODY)
async def language(request: Request, desk: TheDesk, language: str, next: str = "/") -> Response:
    """Pages in another language from now on."""
    if language not in LANGUAGES:
        raise NothingToDo("There is no such language.")
    set_cookie(request, desk, COOKIE, language, 31_536_000, lax=True)
    return back(safe_path(next))


@routes.post("/login", may=Open.ANYBODY)
async def login(request: Request, conn: Conn, desk: TheDesk) -> Response:
    """Take a login."""
    check_origin(request)
    given = await fields(request)
    name, address = given.get("name", "").lower()[:100], address_of(request)
    onward = safe_path(given.get("next"))
    desk.count_try(name, address)
    try:
        found = await sessions.login(
            conn, desk.keys, name, given.get("password", "")[:1000], given.get("code", "")[:10],
            desk.wall(), address,
        )  # fmt: skip
    except NotKnown as error:
        return login_form(request, desk, onward, 401, str(error), name)
    desk.tries_of_name.forget(name)
    keep(request, desk, found)
    return back(onward)


@routes.post("/logout", may=Open.LOGGED_IN)
async def logout(request: Request, who: Visitor, conn: Conn, desk: TheDesk, _: Form) -> Response:
    """End the session."""
    await sessions.logout(conn, who)
    drop(request, desk)
    return back("/login")


async def _has_totp(conn: Conn, who: Visitor) -> bool:
    row = await (
        await conn.execute("SELECT totp_confirmed FROM person WHERE id = %s", (who.id,))
    ).fetchone()
    return bool(row and row[0])


@routes.get("/account", may=Open.LOGGED_IN)
async def account(request: Request, who: Visitor, conn: Conn) -> Response:
    """Password, second factor, and what one may do."""
    return page(request, "account.html", secret="", has_totp=await _has_totp(conn, who),
                meanings=MEANINGS)  # fmt: skip


@routes.post("/account/password", may=Open.LOGGED_IN)
async def password(who: Visitor, conn: Conn, desk: TheDesk, given: Form) -> Response:
    """Another password."""
    # The user of the session may not try passwords without limit.
    desk.tries_of_name.take(f"{who.name} again", desk.wall())
    try:
        await people.change_password(conn, who, given.get("old", ""), given.get("new", ""))
    except NotKnown as error:
        raise AuthError(str(error)) from None
    return back("/account")


@routes.post("/account/totp", may=Open.LOGGED_IN)
async def begin(request: Request, who: Visitor, conn: Conn, desk: TheDesk, _: Form) -> Response:
    """A new secret for the second factor."""
    secret = await people.begin_totp(conn, desk.keys, who)
    return page(request, "account.html", secret=secret, has_totp=False, meanings=MEANINGS)


@routes.get("/account/totp.svg", may=Open.LOGGED_IN)
async def code(who: Visitor, conn: Conn, desk: TheDesk) -> Response:
    """The secret as a QR code, until it is confirmed."""
    row = await (
        await conn.execute(
            "SELECT totp_sealed FROM person WHERE id = %s AND NOT totp_confirmed", (who.id,)
        )
    ).fetchone()
    if row is None or row[0] is None:
        raise WeakPassword("There is no second factor to set up.")
    out = io.BytesIO()
    uri = totp.uri(desk.keys.unseal(row[0]), who.name)
    segno.make(uri, error="m").save(out, kind="svg", scale=5, border=2, xmldecl=False)
    return Response(out.getvalue(), media_type="image/svg+xml")


@routes.post("/account/totp/confirm", may=Open.LOGGED_IN)
async def confirm(who: Visitor, conn: Conn, desk: TheDesk, given: Form) -> Response:
    """The first code of the new secret."""
    desk.tries_of_name.take(f"{who.name} again", desk.wall())
    await people.confirm_totp(conn, desk.keys, who, given.get("code", ""), desk.wall())
    return back("/")
