"""`pbal-hq doctor`."""

from __future__ import annotations

from typing import Annotated

import typer

from pbal_host import findings
from pbal_hq.cli.base import ConfigOption, JsonOption, print_json, wait_for
from pbal_hq.config import load
from pbal_hq.doctor import examine
from pbal_hq.errors import CheckFailed


def doctor(
    strict: Annotated[bool, typer.Option("--strict", help="A warning is a failure too.")] = False,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Look over HQ: disk, clock, database, backups, broker, bus, lake, logs, certificates.

    Example: pbal-hq doctor

    It changes nothing. Exit code 16 when something must be mended.
    """
    found = wait_for(examine(load(config)))
    data = findings.summed_up(found, strict=strict)
    if json_:
        print_json(data)
    else:
        print("\n".join(findings.lines(found)))
    if not data["ok"]:
        counts = data["counts"]
        raise CheckFailed(f"errors: {counts['error']}, warnings: {counts['warning']}")
