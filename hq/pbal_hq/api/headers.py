"""Headers of every answer: what a browser may do with it, and its ETag.

No script, style, picture or frame but our own (Content-Security-Policy), no MIME guessing, no page
of ours in another site's frame, no referrer sent to other sites. What the API answers to GET has an
ETag.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_ALWAYS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
# A larger answer is not held in memory for its hash.
_MOST = 1_000_000


async def guard(request: Request, call_next: Callable[[Request], Awaitable[Any]]) -> Response:
    """Middleware."""
    request.state.cookies = []  # (name, value, how); routes put them in
    answer = await call_next(request)
    path = request.url.path
    for name, value in _ALWAYS.items():
        answer.headers[name] = value
    # A style sheet is asked for with its ETag each time: after an upgrade the new one is used.
    kept = "no-cache" if path.startswith("/static/") else "no-store"
    answer.headers.setdefault("cache-control", kept)
    if request.url.scheme == "https":
        answer.headers["strict-transport-security"] = "max-age=31536000"
    for name, value, how in request.state.cookies:
        answer.set_cookie(name, value, **how)
    if request.method == "GET" and path.startswith("/api/") and answer.status_code == 200:
        return await _tagged(request, answer)
    made: Response = answer
    return made


async def _tagged(request: Request, answer: Any) -> Response:
    parts: list[bytes] = []
    stream = answer.body_iterator
    async for part in stream:
        parts.append(bytes(part))
        if sum(map(len, parts)) > _MOST:
            answer.body_iterator = _joined(parts, stream)
            large: Response = answer
            return large
    body = b"".join(parts)
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = dict(answer.headers) | {"etag": tag, "cache-control": "private, no-cache"}
    given = request.headers.get("if-none-match", "").split(",")
    if tag in (each.strip().removeprefix("W/") for each in given):
        headers.pop("content-length", None)
        return Response(status_code=304, headers=headers)
    return Response(body, 200, headers)


async def _joined(parts: list[bytes], stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    async for part in stream:
        yield part
