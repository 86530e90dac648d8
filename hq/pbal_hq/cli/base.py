"""What all commands share: options, output, and errors as exit codes."""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from pbal_hq import audit
from pbal_hq.config import Config
from pbal_hq.database import Connection, connected

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="PBAL_HQ_CONFIG", help="Default /etc/pbal-hq/hq.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For scripts.")]

T = TypeVar("T")


def actor() -> str:
    """Who calls the command, for the audit log."""
    return f"command line ({getpass.getuser()})"


async def noted(db: Connection, action: str, what: str, **detail: object) -> None:
    """An entry in the audit log, in the transaction of what it is about."""
    await audit.append(db, actor(), action, what, detail)


def group(help_: str) -> typer.Typer:
    """A noun with commands below it."""
    return typer.Typer(help=help_, no_args_is_help=True, pretty_exceptions_enable=False)


def wait_for(work: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end."""
    return asyncio.run(work)


def with_database(settings: Config, work: Callable[[Connection], Awaitable[T]]) -> T:
    """What `work` gives with a connection in autocommit. Raises DatabaseError."""

    async def whole() -> T:
        async with connected(settings.database) as db:
            await db.set_autocommit(True)
            return await work(db)

    return wait_for(whole())


def print_json(data: Any) -> None:
    """One JSON document on standard output; times as ISO 8601."""
    json.dump(data, sys.stdout, indent=2, default=str)
    print()


def print_table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Rows for a person."""
    # Loaded here: HQ itself prints no table.
    from rich.console import Console
    from rich.table import Table

    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    Console(soft_wrap=not sys.stdout.isatty()).print(table, markup=False)
