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
from pbal_controller.journal import (
    Entry,
    Signed,
    entries,
    faults,
    signature_faults,
    signatures,
)
from pbal_host import counted

from ..errors import CheckFailed, InputError
from ..output import JsonFlag, emit

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
        list[str] | None,
        typer.Option(help="NUMBER:LINK of an earlier verify, or as HQ has it; must still hold."),
    ] = None,
    key: Annotated[
        str, typer.Option(help="The site's audit key, public, hex: no other signature counts.")
    ] = "",
    config: ConfigFile = None,
    journal: JournalFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Whether every entry is as it was written and none is missing. Prints the last link.

    Example:  sudo pbal audit verify --known 4711:1f0c...

    Signatures in the journal find a log that was cut or made anew behind the last of them; with a
    line that was kept in another place (HQ has one each six hours: its events of kind audit) that
    is found too where the signatures were taken out. Exit code 7 when something is wrong.
    """
    marks: list[tuple[int, str] | None] = [_known(text) for text in known or []]
    with _opened(config, journal) as db:
        rows: list[Entry] = list(entries(db))
        signed: list[Signed] = list(signatures(db))
    wrong = list(dict.fromkeys(words for mark in marks or [None] for words in faults(rows, mark)))
    wrong += signature_faults(rows, signed, key)
    if key and not signed:
        wrong.append("there is no signature")
    head = f"{rows[-1].seq}:{rows[-1].link}" if rows else ""
    data = {"ok": not wrong, "entries": len(rows), "head": head, "faults": wrong,
            "signatures": len(signed), "key": signed[-1].key if signed else ""}  # fmt: skip

    def render(_: Any) -> None:
        for words in wrong[:_FAULTS_SHOWN]:
            print(words)
        if len(wrong) > _FAULTS_SHOWN:
            print(f"and {len(wrong) - _FAULTS_SHOWN} more")
        if not wrong:
            print(f"{counted(len(rows), 'entry')}, whole".replace("entrys", "entries"))
            if signed:
                print(f"signed up to entry {signed[-1].seq} with  --key {signed[-1].key}")
            if head:
                print(f"keep this elsewhere:  --known {head}")

    emit(data, json_output, render)
    if wrong:
        raise CheckFailed(
            f"The audit log is not whole: {wrong[0]}.",
            "Compare it with the journal of a backup (pbal audit show --journal); find out who had "
            "access to the Pi.",
        )


def _known(text: str) -> tuple[int, str]:
    number, _, link = text.partition(":")
    if not number.isdigit() or len(link) != 64:
        raise InputError(f"{text!r} is no NUMBER:LINK.", "Give what an earlier verify printed.")
    return int(number), link


__all__ = ["app"]
