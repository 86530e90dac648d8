"""The real controller on a simulated street, for benches and tests: start, ask, kill, restart."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from pbal_sim.street import Street
from pbal_tools.controllersetup import ControllerSetup, NodeIdentity, create_keys, write_config

_RUN = "from pbal_controller.cli import main; main()"


class Site:
    """`pbal-controller run` on a street's segment; its files survive its restarts."""

    def __init__(self, street: Street, options: dict[str, dict[str, Any]] | None = None) -> None:
        self.street = street
        self.folder = street.workdir / "controller"
        self.pid = 0
        self.port = street.device  # where the controller finds the segment
        self._url = ""
        c = street.config
        if not self.folder.exists():
            self.folder.mkdir(mode=0o700)
            nodes = [NodeIdentity(n.address, n.name, n.eui, n.root) for n in street.identities]
            create_keys(self.folder, c.site_id, street.identities[0].group, nodes)
            self._nodes = nodes
        self.options = options or {}
        self.home_options: dict[str, Any] = {}  # keys of every [[home]]

    async def start(self, env: dict[str, str] | None = None) -> None:
        """Starts the controller and waits until it answers."""
        c = self.street.config
        nodes = [NodeIdentity(n.address, n.name, n.eui, n.root) for n in self.street.identities]
        setup = ControllerSetup(self.folder, c.site_id, self.port, c.baud, nodes, self.options,
                                self.home_options)  # fmt: skip
        config = write_config(setup)
        port_file = self.folder / "http.port"
        port_file.unlink(missing_ok=True)
        self.pid = await self.street.run(
            "controller",
            [sys.executable, "-c", _RUN, "run", "--config", str(config)],
            {**os.environ, **(env or {})},
        )
        end = time.monotonic() + 40
        while time.monotonic() < end:
            with contextlib.suppress(OSError, ValueError):
                self._url = f"http://127.0.0.1:{int(port_file.read_text())}"
                return
            await asyncio.sleep(0.05)
        raise RuntimeError("the controller did not start:\n" + self.log()[-3000:])

    async def stop(self, sig: int = signal.SIGTERM) -> int:
        """Ends the controller; returns its exit status, negative = signal."""
        if not self.pid:
            return 0
        self.street.kill(self.pid, sig)
        return await self.ended(20)

    async def ended(self, timeout_s: float) -> int:
        """Waits until the controller has ended by itself."""
        status = await asyncio.wait_for(self.street.wait(self.pid), timeout_s)
        self.pid = 0
        return status

    def log(self) -> str:
        """What the controller printed, over all its runs."""
        path = self.street.workdir / "controller.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def status(self, path: str = "/api/status") -> Any:
        """One GET on the controller's API, on the port that it has now."""
        with contextlib.suppress(OSError, ValueError):
            self._url = f"http://127.0.0.1:{int((self.folder / 'http.port').read_text())}"
        async with aiohttp.ClientSession() as http, http.get(self._url + path) as answer:
            return await answer.json()

    async def until(
        self, true: Callable[[dict[str, Any]], bool], what: str, timeout_s: float = 40
    ) -> dict[str, Any]:
        """Asks until the status fits; raises AssertionError when it never does."""
        end = time.monotonic() + timeout_s
        status: dict[str, Any] = {}
        while time.monotonic() < end:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                status = await self.status()
                if true(status):
                    return status
            await asyncio.sleep(0.2)
        status.pop("neutral_history", None)
        raise AssertionError(f"never: {what}\n{json.dumps(status)[:6000]}\n{self.log()[-4000:]}")

    @property
    def journal(self) -> Path:
        """The controller's SQLite file."""
        return self.folder / "journal.db"

    def query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Reads the journal as another program would."""
        with contextlib.closing(sqlite3.connect(f"file:{self.journal}?mode=ro", uri=True)) as db:
            return db.execute(sql, values).fetchall()
