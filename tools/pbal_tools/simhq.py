"""`pbal sim hq`: a whole HQ on this computer."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from pbal_host import until_stopped

from .errors import InputError


def hq(
    sites: Annotated[
        int, typer.Option(min=0, max=5000, help="How many made-up transformers report.")
    ] = 500,
    streets: Annotated[
        int, typer.Option(min=0, max=8, help="How many streets of the twin report, too.")
    ] = 3,
    homes: Annotated[int, typer.Option(min=1, max=96, help="How many homes a street has.")] = 4,
    port: Annotated[int, typer.Option(min=0, max=65535, help="The portal's port; 0: any.")] = 8443,
    seconds: Annotated[
        float | None, typer.Option(min=1.0, help="End after so many seconds. Default: Ctrl-C.")
    ] = None,
    keep: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Keep database, logs and certificates there.")
    ] = None,
) -> None:
    """A whole HQ on this computer, nothing to prepare: PostgreSQL, Mosquitto, pbal-hq all, a
    fleet of made-up transformers, and streets of the twin with their real controllers.

    \b
    pbal sim hq
    pbal sim hq --sites 2000 --streets 0
    """
    from .hqdemo import Demo, DemoOptions, check

    with tempfile.TemporaryDirectory(prefix="pbal-hq-") as own:
        if keep is not None and keep.exists() and any(keep.iterdir()):
            raise InputError(f"The folder {keep} is not empty.", "Name a new one.")
        folder = (keep or Path(own)).absolute()
        options = DemoOptions(folder, sites, streets, homes, port, seconds)
        check(options)
        demo = Demo(options, lambda line: print(line, file=sys.stderr, flush=True))
        asyncio.run(until_stopped(demo.run()))
