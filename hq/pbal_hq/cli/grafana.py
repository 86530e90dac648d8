"""`pbal-hq grafana`: who reads what in Grafana."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pbal_hq.cli.base import group
from pbal_hq.errors import ConfigError

app = group("Who reads what in Grafana (docs/hq-monitoring.md). Example: pbal-hq grafana reader")


@app.command()
def reader() -> None:
    """Print the SQL that makes the user who reads the whole fleet.

    Example: pbal-hq grafana reader | sudo -u postgres psql -d pbal_hq
    """
    from pbal_hq.grafana import whole

    sys.stdout.write(whole())


@app.command()
def area(
    path: Annotated[str, typer.Argument(help="The codes down to the area, as KL/EKM.")],
    org: Annotated[int, typer.Option(min=1, help="The area's organisation in Grafana, its id.")],
    out: Annotated[Path, typer.Option(help="The folder to write into.")],
) -> None:
    """Write an area's user of the database as SQL, and Grafana's files that ask as it.

    Example: pbal-hq grafana area KL/EKM --org 2 --out grafana
    """
    from pbal_hq import grafana

    user = grafana.user_of(path)
    files = {f"{user}.sql": grafana.area(path), **grafana.provisioning(path, org)}
    try:
        for name, text in files.items():
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{out} cannot be written: {error.strerror}") from None
    print(f"{user}: {', '.join(files)}")
