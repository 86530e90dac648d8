"""The audit log: rows linked to each other, so that no edit, cut or exchange stays hidden.

A row's link is the SHA-256 of the link before it and of the row. A change of a row requires a
change of every later link; one link that was kept (by a person, in a backup) reveals it. A user who
can write the file can also make a new chain: against that only a link that is kept elsewhere helps.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pbal_controller.documents import dump_json


@dataclass(frozen=True)
class Entry:
    """One row. `at_s` is unix time; `link` 64 hex digits."""

    seq: int
    at_s: float
    what: str
    subject: str
    who: str
    why: str
    link: str


def link(before: str, seq: int, at_s: float, what: str, subject: object, who: str, why: str) -> str:
    """The link of a row after `before` (empty for the first)."""
    row = dump_json([before, seq, repr(float(at_s)), what, str(subject), who, why])
    return hashlib.sha256(row.encode()).hexdigest()


def _user() -> str:
    """Who writes: behind sudo the person, else the user of this process."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def equip(db: sqlite3.Connection) -> None:
    """Give a connection what the triggers of the audit log need."""
    who = _user()
    db.create_function("pbal_link", 7, link, deterministic=True)
    db.create_function("pbal_user", 0, lambda: who)


def entries(db: sqlite3.Connection, after: int = 0) -> Iterator[Entry]:
    """The rows after a number, oldest first; none where the journal is older than the log."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'audit_log'").fetchone():
        return
    rows = db.execute(
        "SELECT seq, at_s, what, subject, who, why, link FROM audit_log WHERE seq > ? ORDER BY seq",
        (after,),
    )
    for row in rows:
        yield Entry(*row)


def faults(rows: Iterable[Entry], known: tuple[int, str] | None = None) -> Iterator[str]:
    """What is wrong with a log, in words; nothing when it is whole.

    known : a number and its link that were noted before: the log must still hold them.
    """
    before, expected, last = "", 1, 0
    found = ""
    for row in rows:
        if row.seq != expected:
            missing = f"{expected}..{row.seq - 1}" if row.seq - expected > 1 else f"{expected}"
            yield f"entry {missing} is missing"
        if row.link != link(before, row.seq, row.at_s, row.what, row.subject, row.who, row.why):
            yield f"entry {row.seq} was changed, or what was before it"
        if known is not None and row.seq == known[0]:
            found = row.link
        before, expected, last = row.link, row.seq + 1, row.seq
    if known is not None and not found:
        yield f"entry {known[0]} is missing: the log ends at {last}, it was cut"
    elif known is not None and found != known[1]:
        yield f"entry {known[0]} is another one: the log was made anew"
