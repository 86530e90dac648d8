"""Pages of a login at the OpenID Connect provider."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fastapi import Request
from starlette.responses import Response

from pbal_hq.api import Conn, Desk, Open, Routes, TheDesk, address_of
from pbal_hq.auth import NotKnown, provider, sessions
from pbal_hq.errors import NothingToDo
from pbal_hq.portal.entry import login_form
from pbal_hq.portal.render import back, page
from pbal_hq.portal.visitor import (
    check_origin,
    fields,
    is_under_way,
    keep,
    safe_path,
    under_way,
    visitor,
)

if TYPE_CHECKING:
    from pbal_hq.auth.oidc import Provider

routes = Routes("", "provider", who=visitor, include_in_schema=False)


def _provider(desk: Desk) -> Provider:
    if desk.provider is None:
        raise NothingToDo("No login provider is configured.")
    return desk.provider


@routes.get("/login/provider", may=Open.ANYBODY)
async def begin(request: Request, desk: TheDesk, next: str = "/") -> Response:
    """To the provider."""
    desk.tries_of_address.take(address_of(request), desk.wall())
    try:
        to, begun = await _provider(desk).begin(safe_path(next))
    except NotKnown as error:
        return login_form(request, desk, safe_path(next), 401, str(error))
    under_way(request, desk, provider.keep(begun))
    return back(to)


@routes.get(provider.BACK, may=Open.ANYBODY)
async def finish(
    request: Request, conn: Conn, desk: TheDesk, state: str = "", code: str = "", error: str = ""
) -> Response:
    """Back from it."""
    desk.tries_of_address.take(address_of(request), desk.wall())
    try:
        return await _named(request, conn, desk, state, code, error)
    except NotKnown as why:
        return login_form(request, desk, "/", 401, str(why))


async def _named(
    request: Request, conn: Conn, desk: Desk, state: str, code: str, error: str
) -> Response:
    if error:
        raise NotKnown("The login provider did not let you in.")
    try:
        begun = provider.kept(is_under_way(request, desk))
    except ValueError:
        raise NotKnown(provider.NOT_BEGUN) from None
    found = await _provider(desk).finish(begun, state, code)
    person, has_totp = await sessions.of_identity(
        conn, found.issuer, found.subject, found.name, address_of(request)
    )
    if has_totp:
        text = json.dumps({"person": person, "onward": begun.onward, "until_s": begun.until_s})
        under_way(request, desk, text)
        return page(request, "code.html", words="")
    return await _enter(request, conn, desk, person, "", begun.onward)


@routes.post("/login/provider/code", may=Open.ANYBODY)
async def code(request: Request, conn: Conn, desk: TheDesk) -> Response:
    """The second factor of somebody whom the provider named."""
    check_origin(request)
    try:
        kept = json.loads(is_under_way(request, desk))
        person, onward, until_s = int(kept["person"]), str(kept["onward"]), float(kept["until_s"])
    except (ValueError, KeyError, TypeError):
        raise NotKnown(provider.NOT_BEGUN) from None
    if desk.wall() > until_s:
        raise NotKnown(provider.TOOK_LONG)
    desk.count_try(f"provider {person}", address_of(request))
    given = await fields(request)
    try:
        return await _enter(request, conn, desk, person, given.get("code", "")[:10], onward)
    except NotKnown as error:
        return page(request, "code.html", 401, words=str(error))


async def _enter(
    request: Request, conn: Conn, desk: Desk, person: int, code: str, onward: str
) -> Response:
    login = await sessions.login_of(conn, desk.keys, person, code, desk.wall(), address_of(request))
    desk.tries_of_name.forget(f"provider {person}")
    keep(request, desk, login)
    under_way(request, desk, "")
    # Not a redirect: the browser would count it as a step of the provider's page, and leave out
    # cookies that are for our own pages alone (SameSite=Strict).
    return page(request, "entered.html", onward=safe_path(onward))
