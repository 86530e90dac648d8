"""Cancellation that cannot get lost.

Before Python 3.12 `asyncio.wait_for` swallows a cancellation that arrives in the same turn of
the loop as the result it waits for, and pymodbus uses it. An error of aiomqtt at the disconnect
takes the place of the cancellation that led to it. Our own code uses `asyncio.timeout`; behind
foreign calls, and in every loop's beat, `check_cancelled` brings a swallowed cancellation back.

Not for a task that goes on after a TaskGroup of its own has failed: the group cancelled the task
that waited for it, and in Python 3.11 does not take that back (`cancelling()` stays 1). Such
tasks are told again at the end of the program (stopping.py).
"""

from __future__ import annotations

import asyncio


def check_cancelled() -> None:
    """Raise CancelledError when the current task was asked to end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
