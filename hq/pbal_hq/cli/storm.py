"""`pbal-hq storm`: the detectors in Apache Storm."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pbal_hq.cli.base import ConfigOption, group
from pbal_hq.config import DEFAULT_CONFIG, load
from pbal_hq.javaclient import client_of

app = group("The detectors in Apache Storm. Example: pbal-hq storm topology > detect.yaml")


@app.command()
def topology(
    name: Annotated[str, typer.Option(help="The topology's name in Storm.")] = "pbal-hq-detect",
    workers: Annotated[int, typer.Option(min=1, max=1000, help="Processes of Java.")] = 1,
    bolts: Annotated[
        int, typer.Option(min=1, max=1000, help="Processes of Python; partitions at most.")
    ] = 2,
    python: Annotated[
        str, typer.Option(help="The Python on the workers that pbal[hq,kafka] is in.")
    ] = sys.executable,
    config: ConfigOption = None,
) -> None:
    """Print the topology for Flux. Example: pbal-hq storm topology --bolts 12 > detect.yaml

    Workers need HQ's configuration and the files it names at the same paths as here.
    """
    loaded = load(config)
    client = client_of(loaded)
    from pbal_hq.storm import topology as made

    path = Path(config or DEFAULT_CONFIG).absolute()
    command = (python, "-m", "pbal_hq.storm.bolt", str(path), client.user)
    print(made.topology(client, command, name=name, workers=workers, bolts=bolts), end="")
