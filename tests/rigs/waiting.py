"""Waiting for something to become true, by its own and not by an amount of time."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections.abc import AsyncIterator, Callable, Coroutine
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


@contextlib.asynccontextmanager
async def going(work: Coroutine[Any, Any, object]) -> AsyncIterator[None]:
    """`work` goes on beside what is within; raises what it raised, were it to end by itself."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
