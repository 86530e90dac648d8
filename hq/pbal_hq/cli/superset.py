"""`pbal-hq superset`: dashboards in Apache Superset."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pbal_hq.cli.base import ConfigOption, group, with_database
from pbal_hq.config import load
from pbal_hq.database import Connection
from pbal_hq.errors import ConfigError

app = group("Dashboards in Apache Superset (docs/hq-superset.md). Example: pbal-hq superset views")

_LEVELS = ("state", "district", "division", "feeder")


@app.command()
def views() -> None:
    """Print the SQL that makes Superset's views and its user of the database.

    Example: pbal-hq superset views | sudo -u postgres psql -d pbal_hq
    """
    from pbal_hq.superset.data import views as sql

    sys.stdout.write(sql())


@app.command()
def bundle(
    file: Annotated[Path, typer.Argument(help="The zip to write.")],
    uri: Annotated[
        str, typer.Option(help="Of the database, as SQLAlchemy has it; else PostgreSQL's socket.")
    ] = "",
) -> None:
    """Write the dashboards for `superset import-dashboards`.

    Example: pbal-hq superset bundle pbal.zip
    """
    from pbal_hq.superset.boards import BOARDS
    from pbal_hq.superset.bundle import URI
    from pbal_hq.superset.bundle import bundle as made

    try:
        file.write_bytes(made(uri or URI))
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
    print(f"{file}: {', '.join(board.title for board in BOARDS)}")
    print(f"superset import-dashboards -p {file} -u admin")


@app.command()
def limit(
    url: Annotated[str, typer.Option(help="Superset's address.")],
    password_file: Annotated[Path, typer.Option(help="The administrator's password.")],
    user: Annotated[str, typer.Option(help="An administrator of Superset.")] = "admin",
    by: Annotated[str, typer.Option(help=f"{', '.join(_LEVELS)}.")] = "district",
    config: ConfigOption = None,
) -> None:
    """Limit everybody in Superset to the areas of their roles; make roles down to a level.

    Example: pbal-hq superset limit --url http://127.0.0.1:8088 --password-file superset.password
    """
    from pbal_hq.superset.limits import Limits
    from pbal_hq.superset.limits import limit as limited

    if by not in _LEVELS:
        raise ConfigError(f"--by {by}: it is {', '.join(_LEVELS)}")
    try:
        password = password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{password_file} cannot be read: {error.strerror}") from None

    async def paths(db: Connection) -> list[str]:
        found = await db.execute(
            "SELECT string_agg(a.code, '/' ORDER BY area_level(a.level)) FROM area_within w"
            " JOIN area a ON a.id = w.ancestor_id JOIN area i ON i.id = w.area_id"
            " WHERE area_level(i.level) <= area_level(%s) GROUP BY w.area_id ORDER BY 1",
            (by,),
        )
        return [path for (path,) in await found.fetchall()]

    areas = with_database(load(config), paths)
    with Limits(url, user, password) as server:
        made = limited(server, areas)
    print(f"{len(areas)} areas; roles made: {', '.join(made) or 'none, all were there'}")
