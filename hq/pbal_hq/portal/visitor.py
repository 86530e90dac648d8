"""The user of a page: cookies, and forms that only our own pages can send.

Two cookies, for the access and the refresh token: HttpOnly, SameSite=Strict, Secure, for this host
alone (__Host-). An expired access token is renewed during the request, so a form that was being
filled in is not lost. A form counts only with the token of its session (CSRF), from our own origin.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from starlette.datastructures import UploadFile

from pbal_hq.api import LIST_BYTES, Conn, Desk, TheDesk
from pbal_hq.auth import NotAllowed, NotKnown, Who, provider, sessions, tokens

_UNDER_WAY = "pbal-provider"


def set_cookie(
    request: Request, desk: Desk, name: str, value: str, max_age_s: int, *, path: str = "/",
    lax: bool = False,
) -> None:  # fmt: skip
    """Have the answer set a cookie that no script reads; `max_age_s` 0 deletes it. `lax`: it comes
    also with a step from another site's page."""
    how = {"path": path, "httponly": True, "samesite": "lax" if lax else "strict",
           "secure": not desk.config.plain_http, "max_age": max_age_s}  # fmt: skip
    request.state.cookies.append((name, value, how))


def under_way(request: Request, desk: Desk, text: str) -> None:
    """Have the answer keep a login that is under way at the provider; "" drops it. Lax: the
    provider's page sends the browser back, which is a step from another site."""
    sealed = desk.keys.seal(text).decode() if text else ""
    kept_s = provider.KEPT_S if text else 0
    set_cookie(request, desk, _UNDER_WAY, sealed, kept_s, path="/login", lax=True)


def is_under_way(request: Request, desk: Desk) -> str:
    """What was kept. Raises NotKnown."""
    try:
        return desk.keys.unseal(request.cookies.get(_UNDER_WAY, "").encode())
    except ValueError:
        raise NotKnown(provider.NOT_BEGUN) from None


def _names(desk: Desk) -> tuple[str, str]:
    host = "" if desk.config.plain_http else "__Host-"
    return f"{host}pbal", f"{host}pbal-refresh"


def keep(request: Request, desk: Desk, login: sessions.Login) -> None:
    """Have the answer set the cookies of a login."""
    access, refresh = _names(desk)
    set_cookie(request, desk, access, login.access, sessions.SESSION_S)
    if login.refresh is not None:
        set_cookie(request, desk, refresh, login.refresh, sessions.SESSION_S)


def drop(request: Request, desk: Desk) -> None:
    """Have the answer delete them."""
    for name in _names(desk):
        set_cookie(request, desk, name, "", 0)


async def visitor(request: Request, conn: Conn, desk: TheDesk) -> Who:
    """Who it is. Raises NotKnown."""
    access, refresh = (request.cookies.get(name, "") for name in _names(desk))
    now_s = desk.wall()
    try:
        who = await sessions.find(conn, desk.keys, access, now_s)
    except NotKnown:
        if not refresh:
            raise
        login = await sessions.refresh(conn, desk.keys, refresh, now_s)
        keep(request, desk, login)
        who = await sessions.find(conn, desk.keys, login.access, now_s)
    request.state.who = who
    return who


Visitor = Annotated[Who, Depends(visitor)]


def check_origin(request: Request) -> None:
    """Raises NotAllowed for a form that another site's page sent."""
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    strange = origin is not None and not hmac.compare_digest(urlsplit(origin).netloc, host)
    if strange or request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise NotAllowed("This form came from another page than ours.")


async def fields(request: Request) -> dict[str, str]:
    """The fields of a form, the first of each name."""
    given = await request.form(max_files=1, max_fields=400, max_part_size=LIST_BYTES)
    out: dict[str, str] = {}
    for name, value in given.multi_items():
        if isinstance(value, UploadFile):
            out[name] = (await value.read()).decode("utf-8-sig", errors="replace")
        else:
            out.setdefault(name, value.strip())
    return out


async def form(request: Request, who: Visitor, desk: TheDesk) -> Mapping[str, str]:
    """The fields of a form of this session. Raises NotAllowed."""
    check_origin(request)
    given = await fields(request)
    if not tokens.form_token_fits(desk.keys, who.session_id, given.get("token", "")):
        raise NotAllowed("This form is of an earlier login. Go back, load the page anew.")
    return given


Form = Annotated[Mapping[str, str], Depends(form)]


def safe_path(text: Any) -> str:
    """A path of ours to go on to, else the first page."""
    path = str(text or "")
    ok = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if ok else "/"
