"""The command itself.

Exit codes: 0 done, 1 unexpected, 2 configuration (or wrong use), 3 certificates, 4 database,
5 broker, 6 nothing to do, 7 a file that cannot be imported, 8 the bus's files, 9 the audit log
was changed, 10 an engine of the lab, 12 a tunnel, 13 the data lake, 14 lake and store differ,
15 a backup, 16 the doctor found something, 17 Druid, 18 Superset,
19 OpenSearch.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, NoReturn

import typer

from pbal_hq import __version__
from pbal_hq.cli import (
    bus,
    db,
    druid,
    grafana,
    lab,
    lake,
    logs,
    network,
    people,
    portal,
    site,
    storm,
    superset,
    token,
    transformer,
)
from pbal_hq.cli.base import ConfigOption, JsonOption, print_json
from pbal_hq.cli.doctor import doctor
from pbal_hq.cli.init import init
from pbal_hq.cli.run import run, run_all
from pbal_hq.cli.size import print_size
from pbal_hq.config import describe, load
from pbal_hq.errors import HqError

app = typer.Typer(
    name="pbal-hq",
    help="HQ: takes in, keeps and shows what sites report. Example: pbal-hq all",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command()(init)
app.command("all")(run_all)
app.command()(run)
app.command()(doctor)
app.command("size")(print_size)
app.add_typer(bus.app, name="bus")
app.add_typer(db.app, name="db")
app.add_typer(druid.app, name="druid")
app.add_typer(grafana.app, name="grafana")
app.add_typer(lab.app, name="lab")
app.add_typer(people.app, name="user")
app.add_typer(people.log, name="audit")
app.add_typer(network.app, name="network")
app.add_typer(lake.app, name="lake")
app.add_typer(logs.app, name="logs")
app.add_typer(portal.app, name="portal")
app.add_typer(site.app, name="site")
app.add_typer(storm.app, name="storm")
app.add_typer(superset.app, name="superset")
app.add_typer(token.app, name="token")
app.add_typer(transformer.app, name="transformer")


def main() -> NoReturn:
    """Entry point: errors a person can act on become one message and an exit code."""
    os.umask(0o077)  # keys and tokens are for our user alone
    try:
        app()
    except HqError as error:
        print(f"pbal-hq: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    """HQ: takes in, keeps and shows what sites report. Example: pbal-hq all"""


@app.command("check-config")
def check_config(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """Say what the configuration means, or what is wrong with it.

    Example: pbal-hq check-config --config hq.toml
    """
    settings = load(config)
    lines = describe(settings)
    if json_:
        data = settings.model_dump(mode="json")
        data["database"]["url"] = lines[1].removeprefix("database: ").rpartition(", at most")[0]
        print_json(data)
        return
    print("\n".join(lines))
