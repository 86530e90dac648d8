"""HQ's database for tests: one real PostgreSQL a session, a fresh migrated database a test.

from rigs.hq import database_url, postgres  # noqa: F401 (fixtures)
"""

import asyncio
import contextlib
import datetime
import itertools
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from pbal_sim.childprocess import die_with_parent
from pbal_sim.hq import free_port
from rigs.needs import require_file, require_module

_numbers = itertools.count()
TEMPLATE = "pbal_template"


@pytest.fixture(scope="session")
def postgres() -> Iterator[object]:
    """A server with a database in which every step of the schema is applied."""
    require_module("psycopg", "hq")
    from pbal_sim.hq.postgres import Postgres, program

    if program("initdb") is None:
        require_file(Path("/usr/lib/postgresql"), "postgresql")
    server = Postgres()
    try:
        execute(server.url, f"CREATE DATABASE {TEMPLATE}")
        asyncio.run(migrated(on(server.url, TEMPLATE)))
        yield server
    finally:
        server.stop()


@pytest.fixture
def database_url(postgres) -> Iterator[str]:
    """A connection string of a migrated database that only this test uses."""
    name = f"test_{next(_numbers)}"
    execute(postgres.url, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield on(postgres.url, name)
    execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_url(postgres) -> Iterator[str]:
    """The same, of a database without a schema."""
    name = f"test_{next(_numbers)}"
    execute(postgres.url, f"CREATE DATABASE {name}")
    yield on(postgres.url, name)
    execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


def on(url: str, database: str) -> str:
    """The same server, another database."""
    from psycopg.conninfo import make_conninfo

    return make_conninfo(url, dbname=database)


def execute(url: str, sql: str, *values: object) -> list[tuple]:
    """One statement outside of any transaction; its rows."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as db:
        cursor = db.execute(sql, values or None)
        return cursor.fetchall() if cursor.description else []


async def migrated(url: str, **how: object) -> None:
    """Apply every step of the schema. `how`: further settings of the database."""
    from pbal_hq.config import DatabaseConfig
    from pbal_hq.database import connected, migrate

    async with connected(DatabaseConfig(url=url, **how)) as db:
        await migrate(db)


class Mosquitto:
    """The broker as `pbal-hq init` configures it. Without Mosquitto the test skips."""

    def __init__(self, conf: Path, port: int) -> None:
        self._program = require_file("/usr/sbin/mosquitto", "mosquitto")
        self._conf, self._port = conf, port
        self._log = conf.with_suffix(".log")
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-c", self._conf], stdout=log, stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
            )  # fmt: skip
        until = time.monotonic() + 60
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port), 1).close()
                return
            time.sleep(0.05)
        self.kill()
        pytest.fail(f"mosquitto did not start: {self.log()}")

    def log(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    def stop(self) -> None:
        """End it as systemd would: what it holds is written down."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None


class Headquarters:
    """An initialised HQ: configuration, authority, broker (running), migrated database."""

    def __init__(self, folder: Path, url: str, **more: dict) -> None:
        from pbal_hq import portal
        from pbal_hq.broker import BrokerFiles
        from pbal_hq.ca import Pki
        from pbal_hq.config import Config
        from pbal_hq.enrol import set_up

        tables = {
            "data": folder / "hq", "database": {"url": url},
            "broker": {"port": free_port()}, "enrol": {"listen": "127.0.0.1", "port": 0},
        }  # fmt: skip
        for name, table in more.items():
            tables[name] = {**tables.get(name, {}), **table}
        self.config = Config.model_validate(tables)
        set_up(self.config, "test HQ", ("localhost", "127.0.0.1"), "127.0.0.1")
        portal.set_up(self.config)
        self.pki = Pki(self.config.data / "pki")
        self.url = url
        conf = BrokerFiles(self.config.data / "broker").conf
        self.broker = Mosquitto(conf, self.config.broker.port)

    def written(self, path: Path, *more: str) -> Path:
        """Its configuration as a file, for processes of their own; `more`: further tables."""
        path.write_text(
            f'data = "{self.config.data}"\n[database]\nurl = "{self.url}"\n'
            f"[broker]\nport = {self.config.broker.port}\n" + "".join(more)
        )
        return path

    async def add_site(self, site: int, **how: object) -> str:
        """A site and its transformer; returns its one-time token."""
        from pbal_hq.ca import fingerprint
        from pbal_hq.database import connected
        from pbal_hq.registry import NewSite, add_site, add_transformer, new_token

        authority = fingerprint(self.pki.authority().certificate)
        async with connected(self.config.database) as db:
            transformer = await add_transformer(db, f"TR-{site}", "KL/ERN/ALU/F12", rated_kva=100)
            await add_site(db, NewSite(site, transformer, **how))
            return (await new_token(db, site, authority, 1, "test")).text

    async def certificate(self, site: int) -> tuple[Path, Path]:
        """(certificate, key) of a site, noted as one that was given out."""
        from pbal_hq.database import connected
        from pbal_hq.registry import note_certificate, site_of

        now = datetime.datetime.now(datetime.UTC)
        async with connected(self.config.database) as db:
            node = (await site_of(db, site)).node
            issued = self.pki.authority().client_with_key(node, 10, now)
            await note_certificate(db, issued.certificate, site)
        folder = self.config.data.parent / "sites"
        folder.mkdir(exist_ok=True)
        cert, key = folder / f"{node}.crt", folder / f"{node}.key"
        cert.write_bytes(issued.pem)
        key.touch(mode=0o600)
        key.write_bytes(issued.key)
        return cert, key

    def context(self, cert: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
        """TLS of a client."""
        made = ssl.create_default_context(cafile=str(self.pki.ca))
        if cert is not None:
            made.load_cert_chain(cert, key)
        return made


@pytest.fixture
def hq(tmp_path: Path, database_url: str) -> Iterator[Headquarters]:
    """An HQ whose broker runs."""
    made = Headquarters(tmp_path, database_url)
    made.broker.start()
    yield made
    made.broker.kill()


@dataclass
class Done:
    stdout: str
    stderr: str


@pytest.fixture
def run(capsys, monkeypatch):
    """`pbal-hq` within this process: it starts in seconds otherwise."""
    from pbal_hq.cli import main

    def run_it(*words, code=0):
        monkeypatch.setattr(sys, "argv", ["pbal-hq", *map(str, words)])
        mask = os.umask(0o022)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        os.umask(mask)
        said = capsys.readouterr()
        assert (ended.value.code or 0) == code, said.err
        return Done(said.out, said.err)

    return run_it


@pytest.fixture
def config(run, tmp_path, empty_url):
    """The configuration that `pbal-hq init` made."""
    path = tmp_path / "etc" / "hq.toml"
    run("init", "-c", path, "--data", tmp_path / "data", "--database", empty_url,
        "--host", "hq.example.org")  # fmt: skip
    return path


@contextlib.asynccontextmanager
async def endpoint(hq):
    """The address of this HQ's enrolment."""
    from pbal_hq.database import pool
    from pbal_hq.enrol import Issuing, serve

    async with pool(hq.config.database) as database:
        issuing = Issuing(database, hq.pki.authority(), hq.config)
        async with serve(issuing, hq.pki, hq.config.enrol) as port:
            yield f"https://localhost:{port}"
