"""`pbal-hq doctor`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Annotated

import typer

from pbal_hq.cli.base import ConfigOption, JsonOption, print_json, wait_for
from pbal_hq.config import load
from pbal_hq.errors import CheckFailed

_MARKS = {"ok": "ok     ", "note": "note   ", "warning": "WARNING", "error": "ERROR  "}


def doctor(
    strict: Annotated[bool, typer.Option("--strict", help="A warning is a failure too.")] = False,
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Look over HQ: disk, clock, database and its copies, backups, broker, bus, lake, certificates.

    Example: pbal-hq doctor

    It changes nothing. Exit code 16 when something must be mended.
    """
    from pbal_hq.doctor import examine  # the roles' libraries, which no other command needs

    found = wait_for(examine(load(config)))
    counts: Counter[str] = Counter(item.level for item in found)
    bad = counts["error"] + (counts["warning"] if strict else 0)
    if json_:
        numbers = {level: counts[level] for level in _MARKS}
        print_json({"ok": not bad, "counts": numbers, "findings": [asdict(f) for f in found]})
    else:
        for item in found:
            print(f"{_MARKS[item.level]} {item.check:<13} {item.words}")
            if item.remedy and item.level in ("warning", "error"):
                print(f"{'':22}-> {item.remedy}")
    if bad:
        raise CheckFailed(f"errors: {counts['error']}, warnings: {counts['warning']}")
