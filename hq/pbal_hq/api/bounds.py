"""How large the body of a request may be, whatever its headers say of it, and whoever sends it.

A list that is imported may have 20 MB, all else 100 kB: nobody fills memory or disk, also before a
login.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from starlette.exceptions import HTTPException

LIST_BYTES, ANY_BYTES = 20_000_000, 100_000

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
App = Callable[[Any, Receive, Any], Awaitable[None]]


class Bounded:
    """Middleware, within the one that answers errors. `lists`: the paths that take a list."""

    def __init__(self, app: App, lists: Collection[str]) -> None:
        self._app, self._lists = app, lists

    async def __call__(self, scope: Any, receive: Receive, send: Any) -> None:
        """One request; reading on beyond the bound raises HTTPException."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = LIST_BYTES if scope["path"] in self._lists else ANY_BYTES
        came = 0

        async def counted() -> Message:
            nonlocal came
            message = await receive()
            came += len(message.get("body", b""))
            if came > most:
                raise HTTPException(413, f"This is larger than {most / 1e6:g} MB.")
            return message

        await self._app(scope, counted, send)
