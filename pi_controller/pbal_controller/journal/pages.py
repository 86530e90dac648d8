"""Minute aggregates in the journal: the rows of all homes of one minute are one sealed page.

A page is a byte of its form (1) and rows of 33 bytes, little-endian: address u16, samples u16, mean
and largest power W, mean current A, lowest and highest voltage V (f32 each), phase u8, energies Wh
(u32 each). With a row a home SQLite took 78 bytes for each; a home's consumption was readable.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from sqlite3 import Connection
from typing import Any, Protocol

TABLE = "minute_pages"
_FORM = b"\x01"
_ROW = struct.Struct("<HHfffffBII")
#: Minutes of an older version's table that are moved at a time: a tenth of a second on a Pi.
STEP = 60


class Journal(Protocol):
    """The part of the journal that pages need."""

    @property
    def db(self) -> Connection:
        """The open file."""

    def sealed(self, table: str, key: object, value: bytes) -> bytes:
        """A value as it is kept at its place."""

    def opened(self, table: str, key: object, value: bytes) -> bytes:
        """The value of what is kept at its place."""


Row = tuple[Any, ...]  # address, minute_s, samples, ... as MinuteBook gives them


def _pack(rows: Iterable[Row]) -> bytes:
    return _FORM + b"".join(_ROW.pack(row[0], *row[2:]) for row in rows)


def _rows(minute_s: int, body: bytes) -> list[Row]:
    """The rows of a page; none of one that does not open, or is of a later form."""
    if body[:1] != _FORM or (len(body) - 1) % _ROW.size:
        return []
    return [(row[0], minute_s, *row[1:]) for row in _ROW.iter_unpack(body[1:])]


def _page(journal: Journal, minute_s: int) -> list[Row]:
    found = journal.db.execute(
        f"SELECT body FROM {TABLE} WHERE minute_s = ?", (minute_s,)
    ).fetchone()
    return [] if found is None else _rows(minute_s, journal.opened(TABLE, minute_s, found[0]))


def add(journal: Journal, rows: Iterable[Row], older: bool = False) -> None:
    """Put rows into their pages, within the caller's transaction; a home's later row replaces its
    earlier one. `older`: what the pages have is newer, and stays.
    """
    minutes: dict[int, dict[int, Row]] = {}
    for row in rows:
        minutes.setdefault(int(row[1]), {})[row[0]] = row
    for minute_s, fresh in minutes.items():
        page = {row[0]: row for row in _page(journal, minute_s)}
        kept = fresh | page if older else page | fresh
        body = _pack(kept[address] for address in sorted(kept))
        journal.db.execute(
            f"INSERT OR REPLACE INTO {TABLE} VALUES (?, ?)",
            (minute_s, journal.sealed(TABLE, minute_s, body)),
        )


def of_home(journal: Journal, address: int, since_s: int) -> list[Row]:
    """The minutes of one home since a time, oldest first."""
    out: list[Row] = list(
        journal.db.execute(
            "SELECT * FROM telemetry_minute WHERE address = ? AND minute_s >= ? "
            "AND typeof(minute_s) = 'integer'",  # anything else is damage
            (address, since_s),
        )
    )
    pages = journal.db.execute(
        f"SELECT minute_s, body FROM {TABLE} WHERE minute_s >= ?", (since_s,)
    )
    for minute_s, body in pages:
        rows = _rows(minute_s, journal.opened(TABLE, minute_s, body))
        out += [row for row in rows if row[0] == address]
    return sorted(out, key=lambda row: row[1])


def take_over(journal: Journal, most: int = STEP) -> int:
    """Move the oldest minutes of an older version's table into pages; how many, 0 at the end.

    In the caller's transaction, so that a power cut leaves each minute in one of the two.
    """
    found = journal.db.execute(
        "SELECT DISTINCT minute_s FROM telemetry_minute ORDER BY minute_s LIMIT ?", (most,)
    ).fetchall()
    if not found:
        return 0
    last = found[-1][0]
    rows = journal.db.execute(
        "SELECT * FROM telemetry_minute WHERE minute_s <= ?", (last,)
    ).fetchall()
    # Where a minute is in both, an older version came back in the midst of it: the page stays.
    add(journal, rows, older=True)
    journal.db.execute("DELETE FROM telemetry_minute WHERE minute_s <= ?", (last,))
    return len(found)
