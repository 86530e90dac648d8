"""A program that runs until it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


async def until_stopped(work: Awaitable[None]) -> bool:
    """Await `work` until it ends, or cancel it at SIGINT, SIGTERM or SIGHUP.

    Returns whether a signal ended it; a cancellation that no signal caused goes on to the caller.
    For the main task of an event loop.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    stopping = False

    def stop() -> None:
        nonlocal stopping
        stopping = True
        task.cancel()

    for number in STOP:
        loop.add_signal_handler(number, stop)
    try:
        await work
    except asyncio.CancelledError:
        if not stopping:
            raise
    finally:
        for number in STOP:
            loop.remove_signal_handler(number)
    return stopping
