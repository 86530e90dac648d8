"""Who may read the status server: every user of this computer, or a reader who shows the token.

A program sends `Authorization: Bearer TOKEN`. A person opens `/?token=TOKEN` once; the token then
stays in a cookie that scripts cannot read and other sites cannot use, and leaves the address.
"""

from __future__ import annotations

import hmac
from pathlib import Path

from aiohttp import web

from pbal_controller.errors import ConfigError

COOKIE = "pbal"
LEAST = 32  # characters
_KEEP_S = 30 * 86400
_MOST = 1024


def read_token(path: Path | None) -> str:
    """The token in a file, or nothing without one. Raises ConfigError."""
    if path is None:
        return ""
    try:
        text = path.read_text("ascii")[:_MOST].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"http.token_file: {path} cannot be read ({error}); "
            f"make it:  openssl rand -hex 32 > {path}",
            ("http", "token_file"),
        ) from None
    if len(text) < LEAST or len(text.split()) != 1:
        raise ConfigError(
            f"http.token_file: {path} must hold one word of at least {LEAST} characters; "
            f"make it:  openssl rand -hex 32 > {path}",
            ("http", "token_file"),
        )
    return text


def _same(given: str, token: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), token.encode())


def refuse(request: web.Request, token: str) -> web.Response | None:
    """The answer to a reader who may not read, or is redirected with the cookie; else None.

    A login is answered with status 303.
    """
    if not token:
        return None
    kind, _, given = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and _same(given.strip(), token):
        return None
    if _same(request.cookies.get(COOKIE, ""), token):
        return None
    if _same(request.query.get("token", ""), token):
        answer = web.Response(status=303, headers={"Location": request.path})
        answer.set_cookie(COOKIE, token, max_age=_KEEP_S, httponly=True, samesite="Strict")
        return answer
    return web.Response(
        status=401,
        text="This page asks for a token: open it once with /?token=TOKEN, or send it as\n"
        "Authorization: Bearer TOKEN. It is in the file that http.token_file names.\n",
        headers={"WWW-Authenticate": "Bearer"},
    )
