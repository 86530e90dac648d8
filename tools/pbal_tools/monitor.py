"""`pbal monitor`: a running controller, live in the terminal."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Annotated

import aiohttp
import typer
from rich.console import Console

from pbal_controller.documents import dump_json

from .errors import CliError
from .picture import Picture
from .screen import ending_signals, show
from .statusclient import Feed, bearer, fetch
from .view import render, whole_height

DEFAULT_URL = "http://127.0.0.1:8480"
POLL_S = 0.5

app = typer.Typer(help="Watch a running controller live.")


class Watcher:
    """Asks the controller repeatedly; shows it while it does not answer."""

    def __init__(self, url: str, session: aiohttp.ClientSession, picture: Picture) -> None:
        self._url = url
        self._session = session
        self._picture = picture
        self._feed = Feed(picture)
        self._next = 0.0
        self._lost_at: float | None = None
        self.stopped = asyncio.Event()

    async def first(self) -> None:
        """The first answer. Raises UnreachableError or PeerError."""
        self._take(await fetch(self._session, self._url))

    async def update(self) -> bool:
        """One step of the live screen."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + POLL_S
            try:
                self._take(await fetch(self._session, self._url))
            except CliError as exc:
                self._lost_at = self._lost_at or now
                self._picture.stage = "lost"
                self._picture.note = f"{exc.message} Trying again, for {now - self._lost_at:.0f} s."
        return not self.stopped.is_set()

    def _take(self, status: dict[str, object]) -> None:
        self._feed.apply(status)
        self._lost_at = None
        self._picture.elapsed_s = float(str(status["uptime_s"]))
        site = status.get("site")
        name = site.get("name") if isinstance(site, dict) else ""
        self._picture.title = f"pbal monitor · {name or self._url}"


async def watch(
    url: str, console: Console, once: bool, headers: dict[str, str], *, radios_only: bool = False
) -> None:
    """The live screen until Ctrl-C, or one screen."""
    picture = Picture("pbal monitor", footer=f"{url} · Ctrl-C ends the view, not the controller")
    picture.radios_only = radios_only
    async with aiohttp.ClientSession(headers=headers) as session:
        watcher = Watcher(url, session, picture)
        await watcher.first()
        if once:
            height = whole_height(picture, console.width)
            console.print(render(picture, console.width, height), height=height)
            return
        with ending_signals(watcher.stopped.set):
            await show(console, picture, watcher.update)


async def status_json(url: str, headers: dict[str, str]) -> None:
    """The status, once, as the controller gives it."""
    async with aiohttp.ClientSession(headers=headers) as session:
        print(dump_json(await fetch(session, url), indent=2))


@app.command()
def monitor(
    url: Annotated[
        str, typer.Option(envvar="PBAL_URL", help="Where the controller's status server is.")
    ] = DEFAULT_URL,
    once: Annotated[bool, typer.Option("--once", help="One screen, then end.")] = False,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the status once as JSON, for scripts.")
    ] = False,
    radio: Annotated[
        bool, typer.Option("--radio", help="How each home is heard over a radio, all of them.")
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(envvar="PBAL_TOKEN_FILE", help="Holds the token of http.token_file there."),
    ] = None,
) -> None:
    """Watch a running controller live: phases, neutral current, homes, link, moves and reasons.

    \b
    pbal monitor
    pbal monitor --url http://127.0.0.1:8480 --once
    pbal monitor --radio
    pbal monitor --json
    """
    if json_output:
        asyncio.run(status_json(url, bearer(token_file)))
        return
    once = once or not sys.stdout.isatty()
    asyncio.run(watch(url, Console(), once, bearer(token_file), radios_only=radio))
