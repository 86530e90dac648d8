"""The chain of the audit log, computed a second time and compared.

    hash = SHA-256 over  id, at, actor, action, object, detail, previous hash
    each as  LENGTH ":" TEXT ","  (length in bytes of UTF-8; at in microseconds of the unix clock;
    detail as PostgreSQL prints its jsonb; the previous hash as hex digits, 64 zeros at first)

An entry that was changed or taken out of the middle breaks it. That entries are missing at the end
only shows against a hash that was kept elsewhere: `verify` gives the last one, and takes one back.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from psycopg.rows import class_row

from pbal_hq.database import Connection
from pbal_hq.errors import HqError

ZERO = bytes(32)
COLUMNS = (
    "id, (extract(epoch FROM at) * 1000000)::bigint AS at_us, actor, action, object,"
    " detail::text AS detail, prev, hash"
)


@dataclass(frozen=True)
class Entry:
    """One entry as it is stored. `at_us`: microseconds, unix; `detail`: JSON text."""

    id: int
    at_us: int
    actor: str
    action: str
    object: str
    detail: str
    prev: bytes
    hash: bytes


class BrokenChain(HqError):
    """The audit log was changed."""

    exit_code = 9


@dataclass(frozen=True)
class Verdict:
    """What `verify` found. `wrong`: empty, or which entry does not fit and why."""

    entries: int
    last_id: int
    last_hash: bytes
    wrong: str

    @property
    def ok(self) -> bool:
        """Whether all entries fit."""
        return not self.wrong


def link(entry: Entry) -> bytes:
    """The hash that an entry should have."""
    parts = (
        str(entry.id), str(entry.at_us), entry.actor, entry.action, entry.object, entry.detail,
        entry.prev.hex(),
    )  # fmt: skip
    text = "".join(f"{len(part.encode())}:{part}," for part in parts)
    return hashlib.sha256(text.encode()).digest()


async def _all(conn: Connection) -> AsyncGenerator[Entry, None]:
    # A named cursor: the log may be longer than memory.
    async with conn.transaction(), conn.cursor("audit", row_factory=class_row(Entry)) as cursor:
        await cursor.execute(f"SELECT {COLUMNS} FROM audit ORDER BY id")
        async for entry in cursor:
            yield entry


async def verify(conn: Connection, known: tuple[int, bytes] | None = None) -> Verdict:
    """Check every entry. `known`: (id, hash) of an entry that was noted elsewhere."""
    count, prev, seen_known = 0, ZERO, known is None
    async with contextlib.aclosing(_all(conn)) as entries:
        async for entry in entries:
            count += 1
            wrong = ""
            if entry.id != count:
                wrong = f"entry {count} is missing"
            elif entry.prev != prev:
                wrong = f"entry {entry.id} does not follow the one before it"
            elif entry.hash != link(entry):
                wrong = f"entry {entry.id} was changed"
            elif known is not None and entry.id == known[0]:
                seen_known = True
                if entry.hash != known[1]:
                    wrong = f"entry {entry.id} has another hash than the one noted"
            if wrong:
                return Verdict(count, entry.id, entry.hash, wrong)
            prev = entry.hash
    wrong = "" if seen_known or known is None else f"entry {known[0]} is missing at the end"
    return Verdict(count, count, prev, wrong)


async def export(conn: Connection) -> AsyncIterator[str]:
    """Every entry as a line of JSON."""
    async for entry in _all(conn):
        yield json.dumps(
            {
                "id": entry.id,
                "at_us": entry.at_us,
                "actor": entry.actor,
                "action": entry.action,
                "object": entry.object,
                "detail": entry.detail,
                "prev": entry.prev.hex(),
                "hash": entry.hash.hex(),
            },
            ensure_ascii=False,
        )
