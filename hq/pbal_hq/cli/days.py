"""Days, as commands are given them."""

from __future__ import annotations

import datetime
from typing import Annotated

import typer

from pbal_hq.errors import ConfigError

DAY = datetime.timedelta(days=1)
FromOption = Annotated[str, typer.Option("--from", metavar="DAY", help="As 2026-11-01, UTC.")]
ToOption = Annotated[str, typer.Option("--to", metavar="DAY", help="The last day.")]


def read_day(text: str, name: str) -> datetime.date:
    """The day that an option of this name says. Raises ConfigError."""
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{name} {text!r}: needs a day, as 2026-11-28") from None
