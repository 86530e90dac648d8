"""Signatures over the audit log's end: what is before one cannot be made anew without the key.

The key is derived from the key store, so a journal alone, such as a copy or a card in a reader,
does not hold it. A user who controls the running Pi has it; against that only a link that is kept
elsewhere helps, which is why HQ gets each one (uplink/anchor.py).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pbal_controller.journal.chain import Entry
from pbal_controller.journal.database import Journal

_TEXT = b"pbal audit 1\0"


@dataclass(frozen=True)
class Signed:
    """One signature: entry `seq` with this link was the last at `at_s` (unix time). Hex texts."""

    seq: int
    link: str
    at_s: float
    key: str
    signature: str

    @property
    def words(self) -> str:
        """NUMBER:LINK, as `pbal audit verify --known` takes it."""
        return f"{self.seq}:{self.link}"


def _text(seq: int, link: str, at_s: float) -> bytes:
    return _TEXT + f"{seq} {link} {float(at_s)!r}".encode()


def sign(journal: Journal, key: Ed25519PrivateKey) -> Signed | None:
    """Sign the log's end; None where nothing is new since the last signature."""
    with journal.transaction():
        row = journal.db.execute(
            "SELECT seq, link FROM audit_log ORDER BY seq DESC LIMIT 1"
        ).fetchone()
        (last,) = journal.db.execute("SELECT MAX(seq) FROM audit_signature").fetchone()
        if row is None or (last is not None and row[0] <= last):
            return None
        at_s = journal.wall()
        made = Signed(
            int(row[0]), str(row[1]), at_s, key.public_key().public_bytes_raw().hex(),
            key.sign(_text(row[0], row[1], at_s)).hex(),
        )  # fmt: skip
        journal.db.execute(
            "INSERT INTO audit_signature VALUES (?, ?, ?, ?, ?)",
            (made.seq, made.link, made.at_s, made.key, made.signature),
        )
    return made


def signatures(db: sqlite3.Connection) -> Iterator[Signed]:
    """All of them, oldest first; none where the journal is older than they are."""
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'audit_signature'").fetchone():
        columns = "seq, link, at_s, key, signature"
        for row in db.execute(f"SELECT {columns} FROM audit_signature ORDER BY seq"):
            yield Signed(*row)


def signature_faults(
    rows: Iterable[Entry], signed: Iterable[Signed], key: str = ""
) -> Iterator[str]:
    """What signatures say is wrong with a log, in words. `key`: the only one that counts, hex."""
    links = {row.seq: row.link for row in rows}
    last = max(links, default=0)
    for each in signed:
        if key and each.key != key.lower():
            yield f"signature {each.seq} is of another key, {each.key[:16]}..."
            continue
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(each.key)).verify(
                bytes.fromhex(each.signature), _text(each.seq, each.link, each.at_s)
            )
        except (InvalidSignature, ValueError, TypeError):
            yield f"signature {each.seq} is not good: it was changed"
            continue
        if each.seq not in links:
            yield f"entry {each.seq} was signed and is missing: the log ends at {last}, it was cut"
        elif links[each.seq] != each.link:
            yield f"entry {each.seq} is not the one that was signed: the log was made anew"
