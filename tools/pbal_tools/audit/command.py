"""The command line of `pbal audit`."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pbal_controller.config import load
from pbal_controller.errors import ConfigError
from pbal_controller.journal import Entry, entries, faults

from ..errors import CheckFailed, InputError
from ..output import JsonFlag, counted, emit

app = typer.Typer(no_args_is_help=True, help="The log of what was ordered and decided.")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="PBAL_CONFIG", help="Default /etc/pbal/pbal.toml."),
]
JournalFile = Annotated[
    Path | None, typer.Option("--journal", help="A journal itself, such as a copy of one.")
]
_FAULTS_SHOWN = 20


@contextmanager
def _opened(config: Path | None, journal: Path | None) -> Iterator[sqlite3.Connection]:
    """The journal, only read. Raises InputError."""
    try:
        path = journal or load(config).journal.path
    except ConfigError as exc:
        raise InputError(str(exc), "Name the journal with --journal.") from None
    if not path.exists():
        raise InputError(f"There is no journal {path}.", "Check journal.path, or --journal.")
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
            db.execute("PRAGMA busy_timeout = 5000")
            yield db
    except (sqlite3.Error, UnicodeDecodeError) as exc:
        raise InputError(
            f"{path} cannot be read: {exc}.", "Run it as root or as the journal's owner."
        ) from None


@app.command()
def show(
    last: Annotated[int, typer.Option(min=1, help="So many of the latest entries.")] = 50,
    what: Annotated[str, typer.Option(help="Only what begins with this, such as command.")] = "",
    config: ConfigFile = None,
    journal: JournalFile = None,
    json_output: JsonFlag = False,
) -> None:
    """The latest entries, oldest first.

    Example:  sudo pbal audit show --what "quarantine"
    """
    with _opened(config, journal) as db:
        rows = [row for row in entries(db) if row.what.startswith(what)][-last:]

    def render(_: Any) -> None:
        for row in rows:
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row.at_s))
            print(f"{row.seq:>6}  {at}  {row.who:<10} {row.what} {row.subject}: {row.why}")
        if not rows:
            print("nothing yet")

    emit([asdict(row) for row in rows], json_output, render)


@app.command()
def verify(
    known: Annotated[
        str, typer.Option(help="NUMBER:LINK as an earlier verify printed it; must still hold.")
    ] = "",
    config: ConfigFile = None,
    journal: JournalFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Whether every entry is as it was written and none is missing. Prints the last link.

    Example:  sudo pbal audit verify --known 4711:1f0c...

    Keep the line it prints in another place: with it the next verify also finds a log that was cut
    at its end or made anew. Exit code 7 when something is wrong.
    """
    mark = _known(known)
    with _opened(config, journal) as db:
        rows: list[Entry] = list(entries(db))
    wrong = list(faults(rows, mark))
    head = f"{rows[-1].seq}:{rows[-1].link}" if rows else ""
    data = {"ok": not wrong, "entries": len(rows), "head": head, "faults": wrong}

    def render(_: Any) -> None:
        for words in wrong[:_FAULTS_SHOWN]:
            print(words)
        if len(wrong) > _FAULTS_SHOWN:
            print(f"and {len(wrong) - _FAULTS_SHOWN} more")
        if not wrong:
            print(f"{counted(len(rows), 'entry')}, whole".replace("entrys", "entries"))
            if head:
                print(f"keep this elsewhere:  --known {head}")

    emit(data, json_output, render)
    if wrong:
        raise CheckFailed(
            f"The audit log is not whole: {wrong[0]}.",
            "Compare it with the journal of a backup (pbal audit show --journal); find out who had "
            "access to the Pi.",
        )


def _known(text: str) -> tuple[int, str] | None:
    if not text:
        return None
    number, _, link = text.partition(":")
    if not number.isdigit() or len(link) != 64:
        raise InputError(f"{text!r} is no NUMBER:LINK.", "Give what an earlier verify printed.")
    return int(number), link


__all__ = ["app"]
