"""TimescaleDB for tests: a server named by PBAL_TIMESCALE_DSN, or a build of it for WebAssembly.

The build is PostgreSQL 17 with TimescaleDB 2.23 in one process with one connection, so PgBouncer
lets the many connections of a test take turns, transaction by transaction. It takes no COPY and no
LISTEN, and runs no jobs by itself. Each test has an instance of its own, from a copy of a folder
in which the schema is applied.
"""

import asyncio
import contextlib
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pbal_sim.childprocess import die_with_parent
from pbal_sim.hq import free_port
from rigs.hq import execute, migrated, on
from rigs.needs import PATIENCE_S, require_file, require_module, require_tool
from rigs.npm import fetched

_numbers = itertools.count()
_LOGIN = "user=postgres password=postgres dbname=postgres sslmode=disable"


class Wasm:
    """One instance with its PgBouncer. `url` is what clients need."""

    def __init__(self, folder: Path) -> None:
        """`folder`: of the data; made where it is not there."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._node = require_tool("node", "nodejs")
        self._bouncer = require_file("/usr/sbin/pgbouncer", "pgbouncer")
        self._place = fetched("timescaledb")
        self._running: list[subprocess.Popen] = []
        self._own: list[Path] = []

    def __enter__(self) -> "Wasm":
        inner, outer = free_port(), free_port()
        log = self.folder / "node.log"
        with contextlib.ExitStack() as undo:
            undo.callback(self.stop)
            self._run(
                log, [self._node, self._place / "serve.mjs", str(inner), self.folder / "data"]
            )
            self._until(lambda: "ready" in log.read_text(), log)
            self._bounce(inner, outer)
            undo.pop_all()
        self.url = f"host=127.0.0.1 port={outer} {_LOGIN}"
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _bounce(self, inner: int, outer: int) -> None:
        """In front of it: transactions of all connections take turns on one."""
        # pytest's folders are for us alone, and as root PgBouncer runs as another user.
        folder = Path(tempfile.mkdtemp(prefix="pbal-bouncer-"))
        self._own.append(folder)
        users, settings, log = folder / "users", folder / "ini", self.folder / "bouncer.log"
        users.write_text('"postgres" "postgres"\n')
        settings.write_text(
            f"[databases]\npostgres = host=127.0.0.1 port={inner} {_LOGIN.split(' sslmode')[0]}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {outer}\nunix_socket_dir =\n"
            f"auth_type = trust\nauth_file = {users}\npool_mode = transaction\n"
            "default_pool_size = 1\nserver_reset_query =\nserver_lifetime = 86400\n"
            "server_idle_timeout = 0\nignore_startup_parameters = extra_float_digits,options\n"
        )
        how: dict[str, Any] = {}
        if os.geteuid() == 0:  # as root it refuses
            user = pwd.getpwnam("postgres")
            how = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            for path in (folder, users, settings):
                os.chown(path, user.pw_uid, user.pw_gid)
        self._run(log, [self._bouncer, settings], cwd="/", **how)
        self._until(lambda: _answers(outer), log)

    def _run(self, log: Path, words: list[object], **how: Any) -> None:
        line = [str(word) for word in words]
        with log.open("ab") as file:
            process = subprocess.Popen(
                line, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent, **how,
            )  # fmt: skip
        self._running.append(process)

    def _until(self, ready: Any, log: Path) -> None:
        end_s = time.monotonic() + PATIENCE_S
        while not ready():
            ended = self._running[-1].poll() is not None
            if ended or time.monotonic() > end_s:
                pytest.fail(f"{log.stem} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.05)

    def died(self) -> str:
        """What it said last, where it ended by itself; else nothing."""
        ended = any(process.poll() is not None for process in self._running)
        return (self.folder / "node.log").read_text()[-2000:] if ended else ""

    def stop(self) -> None:
        """End both, PgBouncer first; the data is written down."""
        for process in reversed(self._running):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        self._running.clear()
        while self._own:
            shutil.rmtree(self._own.pop(), ignore_errors=True)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@dataclass(frozen=True)
class Place:
    """A migrated database of one test, and what HQ has to be told of its server."""

    url: str
    database: dict[str, Any] = field(default_factory=dict)
    store: dict[str, Any] = field(default_factory=dict)
    wasm: Wasm | None = None

    @property
    def tables(self) -> dict[str, dict[str, Any]]:
        """Tables of the configuration."""
        return {"database": {"url": self.url, **self.database}, "store": self.store}


Places = Callable[[Path], AbstractContextManager[Place]]
_THROUGH_WASM = {"database": {"prepared": False}, "store": {"copy_rows": False}}


@pytest.fixture(scope="session")
def timescale(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """Makes a database of its own, migrated, on TimescaleDB: `with timescale(folder) as place`."""
    require_module("psycopg", "hq")
    dsn = os.environ.get("PBAL_TIMESCALE_DSN", "")
    if dsn:
        return lambda _: _on_server(dsn)
    template = tmp_path_factory.mktemp("timescale")
    with Wasm(template) as made:
        asyncio.run(migrated(made.url, prepared=False))
    return lambda folder: _in_wasm(template, folder / "timescale")


@contextlib.contextmanager
def _on_server(dsn: str) -> Iterator[Place]:
    name = f"pbal_test_{os.getpid()}_{next(_numbers)}"
    execute(dsn, f"CREATE DATABASE {name}")
    try:
        asyncio.run(migrated(on(dsn, name)))
        yield Place(on(dsn, name))
    finally:
        execute(dsn, f"DROP DATABASE {name} WITH (FORCE)")


@contextlib.contextmanager
def in_one_go(folder: Path) -> Iterator[Place]:
    """A database as `timescale` makes, in an instance that was not stopped since its schema was
    applied: one that was opened again does not compress (its part under the Timescale licence is
    not loaded then).
    """
    require_module("psycopg", "hq")
    if dsn := os.environ.get("PBAL_TIMESCALE_DSN", ""):
        with _on_server(dsn) as place:
            yield place
        return
    with Wasm(folder / "timescale") as made:
        asyncio.run(migrated(made.url, prepared=False))
        yield _checked(made)
        _checked(made)


@contextlib.contextmanager
def _in_wasm(template: Path, folder: Path) -> Iterator[Place]:
    shutil.copytree(template / "data", folder / "data")
    with Wasm(folder) as made:
        yield _checked(made)
        _checked(made)


def _checked(made: Wasm) -> Place:
    if said := made.died():
        pytest.fail(f"TimescaleDB ended during the test: {said}")
    return Place(made.url, **_THROUGH_WASM, wasm=made)
