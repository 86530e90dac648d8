"""Waiting for something to become true, by its own and not by an amount of time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

from rigs.needs import PATIENCE_S


async def until(
    condition: Callable[[], Any], within_s: float = PATIENCE_S, what: str = "what is waited for"
) -> Any:
    """What `condition` gives once it is true; it may give a coroutine of it."""
    end_s = time.monotonic() + within_s
    while True:
        found = condition()
        if inspect.isawaitable(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < end_s, f"not in time: {what}"
        await asyncio.sleep(0.05)
