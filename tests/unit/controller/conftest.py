"""A site on a pty: configuration, keys, fake nodes, and a controller running against them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rigs import needs

from pbal_controller.app import Controller
from pbal_controller.config import Config, load
from pbal_controller.keys import KeyStore

from .fake import GROUP_ROOT, SITE, FakeBus, FakeNode, root_key

FAST = {
    "polling": {"min_interval_s": 0.02, "dead_backoff_s": 0.1, "dead_backoff_max_s": 0.3},
    "planner": {"enabled": False, "settle_s": 0.2, "every_s": 0.5, "observe_every_s": 0.1},
    "dispatch": {"ttl_s": 5, "resend_s": 0.1, "confirm_s": 0.5, "grace_s": 2.0},
    "http": {"port": 0},
}


def toml(value: Any) -> str:
    """A TOML scalar."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return repr(value) if isinstance(value, int | float) else f'"{value}"'


@contextlib.asynccontextmanager
async def at_work(controller: Controller) -> AsyncIterator[Controller]:
    """A controller that runs; cancelled at the end."""
    task = asyncio.create_task(controller.run())
    try:
        await until(lambda: controller.ready.is_set() or task.done())
        yield controller
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class Site:
    """One site's files and its fake street."""

    def __init__(self, folder: Path, nodes: list[FakeNode]) -> None:
        self.folder = folder
        self.nodes = {node.address: node for node in nodes}
        self.bus = FakeBus(nodes)
        self.changes: dict[str, dict[str, Any]] = {}
        self.fixed: set[int] = set()
        secret = folder / "keys.pass"
        secret.write_bytes(b"secret\n")
        secret.chmod(0o600)
        self.keys = KeyStore.create(
            folder / "keys.json", b"secret", SITE, log2_n=10, group_key=GROUP_ROOT
        )
        self.keys.add_many([(n.address, "00" * 8, root_key(n.address)) for n in nodes])
        self.core = {"price": 1, "dwell_s": 0}

    def write(self) -> Path:
        """pbal.toml as it is now."""
        tables = {name: {**FAST.get(name, {}), **self.changes.get(name, {})}
                  for name in {*FAST, *self.changes}}  # fmt: skip
        text = f"[site]\nid = {SITE}\n[bus.street]\nport = {toml(self.bus.path)}\n"
        text += '[keys]\nfile = "keys.json"\npassphrase_file = "keys.pass"\n'
        text += '[journal]\npath = "journal.db"\n'
        for name, table in tables.items():
            text += f"[{name}]\n" + "".join(f"{k} = {toml(v)}\n" for k, v in table.items())
        text += "[planner.core]\n" + "".join(f"{k} = {v}\n" for k, v in self.core.items())
        for address in self.nodes:
            text += f'[[home]]\naddress = {address}\nbus = "street"\n'
            text += f"fixed = {toml(address in self.fixed)}\n"
        path = self.folder / "pbal.toml"
        path.write_text(text)
        return path

    def config(self) -> Config:
        """The configuration as the controller reads it."""
        return load(self.write(), {})

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Controller]:
        """A controller at work; cancelled at the end."""
        async with at_work(Controller(self.config(), self.keys)) as controller:
            yield controller


async def until(condition: Callable[[], object], timeout_s: float = needs.PATIENCE_S) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture
async def make_site(tmp_path: Path) -> AsyncIterator[Callable[..., Site]]:
    """A maker of sites: `make_site(FakeNode(1), FakeNode(2, phase=2))`."""
    made: list[Site] = []

    def make(*nodes: FakeNode) -> Site:
        site = Site(tmp_path, list(nodes))
        site.bus.__enter__()
        made.append(site)
        return site

    yield make
    for site in made:
        site.bus.unplug()


def rows(site: Site, sql: str) -> list[tuple]:
    """Read the journal from outside."""
    db = sqlite3.connect(site.folder / "journal.db")
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def mount(*words: str) -> None:
    subprocess.run(["mount", *words], check=True, capture_output=True, timeout=needs.PATIENCE_S)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """The test's folder, on a file system of 1 MB of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a file system")
    try:
        mount("-t", "tmpfs", "-o", "size=1m,mode=700", "pbal-test", str(tmp_path))
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield tmp_path
    finally:
        subprocess.run(["umount", "-l", str(tmp_path)], check=True, timeout=needs.PATIENCE_S)


@contextlib.contextmanager
def full(disk: Path) -> Iterator[None]:
    """Not a byte is left on it."""
    path = disk / "something.else"
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    try:
        yield
    finally:
        path.unlink()


async def order(c: Controller, address: int) -> int | None:
    """One move of a home, to the next phase."""
    home = c.fleet.get(address)
    await until(lambda: home.phase and not home.flags and not c.dispatcher.busy(address))
    return await c.dispatcher.order(home, home.phase % 3 + 1, "test", 1.0)
