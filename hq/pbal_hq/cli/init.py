"""`pbal-hq init`: from nothing to something that `pbal-hq all` runs on."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated

import typer

from pbal_host import counted
from pbal_hq.ca import write_whole
from pbal_hq.cli.base import ConfigOption, JsonOption, print_json, wait_for
from pbal_hq.config import DEFAULT_CONFIG, Config, load
from pbal_hq.config.base import is_conninfo
from pbal_hq.config.report import without_password
from pbal_hq.database import Step, connected, migrate
from pbal_hq.enrol import set_up
from pbal_hq.errors import ConfigError

_DATABASE = "postgresql:///pbal_hq"
_TEMPLATE = """\
# pbal-hq: docs/hq.md says what can be set; `pbal-hq check-config` what it means.
data = "{data}"

[database]
url = "{url}"

[broker]
host = "{host}"
"""


def init(
    hosts: Annotated[
        list[str] | None,
        typer.Option("--host", help="Under which sites reach this computer; may be repeated."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Where HQ keeps its files, for a new configuration.")
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            help="The database's URL, for a new configuration. Default: postgresql:///pbal_hq."
        ),
    ] = None,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Make configuration, authority, broker's configuration and database schema.

    Example: pbal-hq init --host hq.example.org

    What is there is kept; with --host the broker's certificate is made anew.
    """
    file = config or DEFAULT_CONFIG
    lines = []
    wanted = list(hosts or [])
    if not file.exists():
        _write_config(file, data, database or _DATABASE, wanted)
        lines.append(f"configuration: {file}")
        wanted = wanted or [socket.gethostname()]
    settings = load(file)
    _says_so(file, settings, data, database)
    if wanted:
        wanted = list(dict.fromkeys([*wanted, settings.broker.host, "localhost", "127.0.0.1"]))
    lines += set_up(settings, f"pbal HQ {socket.gethostname()}", wanted).lines
    from pbal_hq import portal  # its libraries take most of a command's start

    lines += portal.set_up(settings)

    async def work(settings: Config) -> list[Step]:
        async with connected(settings.database) as db:
            return await migrate(db, timescale=settings.store.timescale)

    done = wait_for(work(settings))
    lines.append(
        f"database: {counted(len(done), 'step')} applied" if done else "database: up to date"
    )
    if json_:
        print_json(
            {"config": str(file), "data": str(settings.data), "steps": [s.number for s in done]}
        )
    else:
        print("\n".join(lines))


def _says_so(file: Path, settings: Config, data: Path | None, database: str | None) -> None:
    """What was given for a new configuration is what the one says that was there already."""
    wrong = []
    if database is not None and database != settings.database.url:
        wrong.append(
            f"--database is not its database.url, {without_password(settings.database.url)}"
        )
    if data is not None and data.absolute() != settings.data:
        wrong.append(f"--data is not its data, {settings.data}")
    if wrong:
        raise ConfigError(f"{file} is there already, and {'; '.join(wrong)}: correct it there")


def _write_config(file: Path, data: Path | None, database: str, hosts: list[str]) -> None:
    folder = data.absolute() if data else Path("/var/lib/pbal-hq")
    if any(c in f"{folder}{database}" for c in '"\\\n'):
        raise ConfigError("neither --data nor --database may hold quotes or backslashes")
    if not is_conninfo(database):
        raise ConfigError(f"--database is no connection string, such as {_DATABASE}")
    text = _TEMPLATE.format(data=folder, url=database, host="localhost")
    if hosts:
        text += f'\n[enrol]\n# As sites reach the broker.\nbroker_host = "{hosts[0]}"\n'
    try:
        # It may hold the database's password.
        write_whole(file, text.encode(), 0o600)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written: {error.strerror}") from None
