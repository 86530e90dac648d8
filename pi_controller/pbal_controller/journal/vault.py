"""What is sealed in the journal: AES-256-GCM of single values, with a key from the key store.

Sealed are the messages that wait for HQ, also those of sites behind this one's gateway, HQ's
commands as they came, the homes' minutes, and the blobs (what the planner has learnt of the homes).
Each value is bound to its place, with a random nonce of 96 bits.
What is not sealed, and why, is in docs/security.md.

A journal from before is sealed when it is opened with the key: all values in one transaction, so a
power cut leaves the one form or the other, and both can be read. Then the file is written anew,
because SQLite leaves what was there in free pages; it is noted when that was done, and done again
where it was not.
"""

from __future__ import annotations

import logging
import secrets
import sqlite3

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from pbal_controller.journal.file import transaction

log = logging.getLogger(__name__)

MARK = b"\x00pbv\x01"
_NONCE = 12
_ROWS = 500  # read at a time
# (table, key, value): the place of a value is the table and its key.
PLACES = (
    ("outbox", "token", "body"),
    ("hq_commands", "id", "body"),
    ("blobs", "key", "value"),
    ("minute_pages", "minute_s", "body"),
    ("relay", "token", "body"),
    ("relay_state", "site", "body"),
)
# Blobs that commands read and write without the key store, or that say nothing.
CLEAR_BLOBS = ("doubts", "probe")


class Vault:
    """Seals and opens values."""

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes, so that it is AES-256."""
        if len(key) != 32:
            raise ValueError(f"a vault's key has 32 bytes, not {len(key)}")
        self._aead = AESGCM(key)

    def __repr__(self) -> str:
        return "Vault(...)"

    def seal(self, place: str, value: bytes) -> bytes:
        """The value, sealed for its place."""
        nonce = secrets.token_bytes(_NONCE)
        return MARK + nonce + self._aead.encrypt(nonce, value, place.encode())

    def open(self, place: str, value: bytes) -> bytes:
        """The value in the clear; one that was never sealed as it is.

        One that does not open (another key store, damage) stays sealed: its reader says that it
        understands nothing of it.
        """
        if not value.startswith(MARK):
            return value
        nonce, sealed = value[len(MARK) :][:_NONCE], value[len(MARK) + _NONCE :]
        try:
            return self._aead.decrypt(nonce, sealed, place.encode())
        except (InvalidTag, ValueError):
            return value


def place_of(table: str, key: object) -> str:
    """Where a value is kept."""
    text = key.hex() if isinstance(key, bytes) else str(key)
    return f"{table}/{text}"


def seal_all(db: sqlite3.Connection, vault: Vault) -> int:
    """Seal every value that is in the clear. Returns how many were; all of them or none.

    Raises sqlite3.DatabaseError where a value cannot be found again by its key: the file is
    damaged.
    """
    count = 0
    with transaction(db):
        for table, key, value in PLACES:
            clear = f"FROM {table} WHERE substr({value}, 1, {len(MARK)}) <> ?{_left_out(table)}"
            (left,) = db.execute(f"SELECT COUNT(*) {clear}", (MARK,)).fetchone()
            if not left:
                continue
            count += left
            some = f"SELECT {key}, {value} {clear} LIMIT {_ROWS}"
            while rows := db.execute(some, (MARK,)).fetchall():
                if not all(isinstance(v, bytes) for _, v in rows):
                    raise sqlite3.DatabaseError(f"{table} is malformed: a value is no bytes")
                changed = db.executemany(
                    f"UPDATE {table} SET {value} = ? WHERE {key} = ?",
                    [(vault.seal(place_of(table, k), v), k) for k, v in rows],
                ).rowcount
                left -= len(rows)
                # What is read here, and not found there, would be read again and again.
                if changed != len(rows) or left < 0:
                    raise sqlite3.DatabaseError(f"{table} is malformed: its keys find other rows")
    return count


def _left_out(table: str) -> str:
    if table != "blobs":
        return ""
    return " AND key NOT IN ({})".format(", ".join(f"'{key}'" for key in CLEAR_BLOBS))


def rewrite(db: sqlite3.Connection) -> bool:
    """Write the file anew without what was deleted. False: the disk has no room for it now."""
    try:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.execute("VACUUM")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError as error:
        log.warning(
            "the journal could not be written anew: old values may be read in its free pages",
            extra={"why": str(error)},
        )
        return False
    return True
