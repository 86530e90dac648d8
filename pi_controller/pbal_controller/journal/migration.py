"""Brings a journal to this version's schema: the numbered files in `schema/`, applied in order.

`PRAGMA user_version` says how far a file has come.
"""

from __future__ import annotations

import sqlite3
from importlib import resources
from pathlib import Path

from pbal_controller.errors import JournalError


def schema_files() -> list[tuple[int, str]]:
    """The numbered schema steps: (number, SQL), in order."""
    folder = resources.files("pbal_controller.journal").joinpath("schema")
    return sorted(
        (int(entry.name.split("_")[0]), entry.read_text(encoding="utf-8"))
        for entry in folder.iterdir()
        if entry.name.endswith(".sql")
    )


def migrate(db: sqlite3.Connection, path: Path | str) -> bool:
    """Apply the steps that the file lacks; True when it had none, so was made just now.

    Raises JournalError: written by a newer version that does more than add to it.
    """
    steps = schema_files()
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    if version > steps[-1][0] and not _still_ours(db, version, steps[-1][0]):
        raise JournalError(
            f"{path}: written by a newer pbal (schema {version}, this one knows "
            f"{steps[-1][0]}); install that version again"
        )
    for number, sql in steps:
        if number <= version:
            continue
        # executescript commits first; the explicit transaction makes a step all or nothing.
        try:
            db.executescript(f"BEGIN IMMEDIATE;\n{sql}\nPRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
    return version == 0


def _still_ours(db: sqlite3.Connection, version: int, known: int) -> bool:
    """Whether a newer version has said that it only added to the file (schema/0009): then one
    that was taken back goes on with it.
    """
    has_meta = "SELECT 1 FROM sqlite_master WHERE name = 'meta'"
    told = None
    if db.execute(has_meta).fetchone():
        told = db.execute("SELECT value FROM meta WHERE key = 'readable'").fetchone()
    of, _, oldest = (str(told[0]) if told else "").partition(" from ")
    return of == str(version) and oldest.isdecimal() and int(oldest) <= known
