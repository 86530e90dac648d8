"""`pbal sim fleet`: many made-up transformers that report to an HQ."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from pbal_host import until_stopped

from .errors import InputError
from .output import check_writable, write_json


def fleet(
    tokens: Annotated[
        Path, typer.Argument(help="Sites and one-time tokens: pbal-hq site import writes it.")
    ],
    hq: Annotated[str, typer.Option("--hq", metavar="URL", help="HQ's enrolment.")] = (
        "https://localhost:8884"
    ),
    sites: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many of the list.")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            min=0.001, help="Summaries a second, of all together. Default: 5 min windows."
        ),
    ] = None,
    past: Annotated[
        int, typer.Option(min=0, max=20_000, help="Windows before now that each site brings.")
    ] = 0,
    seconds: Annotated[
        float | None, typer.Option(min=1.0, help="End after so many seconds. Default: Ctrl-C.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Where certificates are kept for the next time. Default: nowhere."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the result; - is stdout.")
    ] = None,
) -> None:
    """Load an HQ: many simulated transformers report to it through its own interfaces.

    Each site enrols with its token, connects with its own certificate, and speaks through the
    controller's own Sparkplug node; its figures are made up.

    \b
    pbal-hq site import sites.csv --tokens tokens.csv
    pbal sim fleet tokens.csv --hq https://localhost:8884 --sites 500 --rate 10
    """
    from .fleetload import Fleet, Plan, read_tokens  # the whole uplink, which no street needs

    if json_file is not None:
        check_writable(json_file)
    listed = read_tokens(tokens)
    if sites is not None:
        if sites > len(listed):
            raise InputError(f"{tokens} has {len(listed)} sites.", "Add more: pbal-hq site import.")
        listed = dict(list(listed.items())[:sites])
    if not listed:
        raise InputError(f"{tokens} has no site.", "pbal-hq site import writes it.")
    with tempfile.TemporaryDirectory(prefix="pbal-fleet-") as own:
        plan = Plan(
            listed, hq, folder or Path(own), len(listed) / 300 if rate is None else rate, past,
            seconds,
        )  # fmt: skip
        made = Fleet(plan, lambda line: print(line, file=sys.stderr, flush=True))
        asyncio.run(until_stopped(made.run()))
    if json_file is not None:
        write_json(json_file, made.result())
    else:
        result = made.result()
        print(
            f"{result['sent']} summaries of {result['enrolled']} sites sent in windows of "
            f"{result['window_s']} s; HQ stored {result['stored']}"
        )
