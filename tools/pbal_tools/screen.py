"""Keeps a Picture on the terminal: refresh, size changes, a clean end."""

import asyncio
import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator

from rich.console import Console
from rich.live import Live

from .picture import Picture
from .view import render

REFRESH_S = 0.25


async def show(console: Console, picture: Picture, update: Callable[[], Awaitable[bool]]) -> None:
    """Draws `picture` until `update` returns False; `update` changes the picture in place.

    The screen is redrawn at its present size every time, so a resized window is right again at
    the next refresh.
    """
    with Live(console=console, screen=True, auto_refresh=False, transient=True) as live:
        while True:
            go_on = await update()
            width, height = console.size
            live.update(render(picture, width, height), refresh=True)
            if not go_on:
                return
            await asyncio.sleep(REFRESH_S)


@contextlib.contextmanager
def ending_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Inside: Ctrl-C, termination and a closed terminal call `stop` instead of raising.

    Only within a running loop.
    """
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
