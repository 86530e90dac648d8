"""One node as its controller knows it: read-only, over HTTP."""

import asyncio
from typing import Any

from pbal_controller.documents import load_json

from ..errors import InputError, PeerError, UnreachableError

TIMEOUT_S = 10.0


def get(controller: str, path: str) -> dict[str, Any]:
    """GET of the controller's API.

    Raises InputError (no such home), UnreachableError or PeerError.
    """
    return asyncio.run(_get(controller, path))


async def _get(controller: str, path: str) -> dict[str, Any]:
    import aiohttp  # takes a third of a command's start, and most speak to a node on a cable

    url = controller.rstrip("/") + path
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
            session.get(url) as answer,
        ):
            text = await answer.text(errors="replace")
            status = answer.status
    except aiohttp.InvalidURL:
        raise InputError(f"{controller!r} is no address.", "E.g. http://127.0.0.1:8480") from None
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise UnreachableError(
            f"No controller answers at {controller} ({type(exc).__name__}).",
            "Is pbal-controller running there?",
        ) from None
    try:
        data = load_json(text)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise PeerError(f"What answers at {controller} is no pbal controller.", "Check the port.")
    if status == 404 and "error" in data:
        raise InputError(f"The controller says: {data['error']}.", "`pbal site show` lists them.")
    if status != 200:
        raise PeerError(f"{url} answered with HTTP status {status}.", "See the controller's log.")
    return data
