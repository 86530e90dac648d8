"""The journal as a file: its transactions, and what is wrong with one that fails."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from pbal_controller.secrecy import keep_private


def made_private(path: Path) -> None:
    """What homes draw, and when, is personal data: the file is for our user alone.

    SQLite gives its own files beside it the same mode.
    """
    with contextlib.suppress(OSError):  # SQLite's own error says more
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    keep_private(path)


@contextlib.contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the statements inside, or none."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


class Whereabouts:
    """Whether the files of an open journal are still where they were opened.

    SQLite goes on in a file that was removed or replaced, and never says so: what it then writes
    is gone with the process.
    """

    def __init__(self, path: Path | str) -> None:
        self._paths = [] if str(path) == ":memory:" else [f"{path}", f"{path}-wal"]
        self._known: dict[str, tuple[int, int]] = {}
        self.gone()

    def gone(self) -> str:
        """The file that is no longer the one that was opened; empty when all are."""
        for path in self._paths:
            try:
                found = os.stat(path)
            except OSError:
                if path in self._known:
                    return path
                continue  # not made yet
            place = (found.st_dev, found.st_ino)
            if self._known.setdefault(path, place) != place:
                return path
        return ""


def is_damage(error: Exception) -> bool:
    """Whether an error says that the file's content is damaged."""
    if isinstance(error, ValueError):
        return True
    words = ("malformed", "not a database", "decode to UTF-8")
    return any(each in str(error) for each in words)


def trouble(path: Path | str, error: Exception) -> str:
    """What is wrong with a journal and what to do, in words."""
    if is_damage(error):
        return (
            f"{path}: the journal is damaged; it was left as it is. Restore a backup "
            "(docs/operations.md, Backup), or move the file away to start a new one: quarantines "
            "and history are then forgotten, and the controller waits for pbal-controller adopt"
        )
    return (
        f"{path}: the journal cannot be opened ({error}); check the directory's owner "
        "and free space, or move the file away to start a new one"
    )
