"""A program that runs until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable

log = logging.getLogger(__name__)

STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Whoever has not ended by then is asked once more. Well within systemd's patience (TimeoutStopSec);
# long for what a task does at its end.
AGAIN_S = 10.0


async def until_stopped(work: Awaitable[None]) -> bool:
    """Await `work` until it ends, or cancel it at SIGINT, SIGTERM or SIGHUP.

    Returns whether a signal ended it; a cancellation that no signal caused goes on to the caller.
    For the main task of an event loop. Other tasks that were cancelled and go on, because a library
    swallowed that (see cancelling.py), are cancelled again every AGAIN_S.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    stopping = False
    timer: asyncio.TimerHandle | None = None

    def stop() -> None:
        nonlocal stopping, timer
        stopping = True
        task.cancel()
        if timer is None:
            timer = loop.call_later(AGAIN_S, again)

    def again() -> None:
        nonlocal timer
        # The main task waits for them, or does what is to be done at the end.
        late = [each for each in asyncio.all_tasks(loop) if each.cancelling() and each is not task]
        if late:
            names = ", ".join(sorted(each.get_name() for each in late))
            log.warning("still at work, is told again to end", extra={"tasks": names})
        for each in late:
            each.cancel()
        timer = loop.call_later(AGAIN_S, again)

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
        if timer is not None:
            timer.cancel()
    return stopping
