"""Cancellation that cannot get lost.

Before Python 3.12 `asyncio.wait_for` swallows a cancellation that arrives in the same turn of
the loop as the result it waits for, and pymodbus uses it. An error of aiomqtt at the disconnect
takes the place of the cancellation that led to it. Our own code uses `asyncio.timeout`; behind
foreign calls, and in every loop's beat, `check_cancelled` brings a swallowed cancellation back.
"""

from __future__ import annotations

import asyncio


def check_cancelled() -> None:
    """Raise CancelledError when the current task was asked to end."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
