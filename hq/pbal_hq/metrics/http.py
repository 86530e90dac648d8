"""How long HQ's web servers take: a middleware for each of their two kinds."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from aiohttp import web

from pbal_hq.metrics.counts import REQUESTS

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def _note(service: str, method: str, status: int, began: float) -> None:
    # Words of the sender's own would each make a series.
    known = method if method in _METHODS else "other"
    REQUESTS.labels(service, known, str(status)).observe(time.perf_counter() - began)


class TimedAsgi:
    """For the portal."""

    def __init__(self, app: App, service: str) -> None:
        self._app, self._service = app, service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or what else the server says."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noted(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            _note(self._service, scope["method"], status, began)


def timed(service: str) -> Any:
    """For servers of aiohttp: its middleware."""

    @web.middleware
    async def around(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        began, status = time.perf_counter(), 500
        try:
            answer = await handler(request)
            status = answer.status
            return answer
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            _note(service, request.method, status, began)

    return around
