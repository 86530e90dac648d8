"""What the controller that follows must know to take over: a copy of the journal's small tables.

Functions over a Journal, for its thread. History (minutes, events, the audit log, what waits for
HQ) stays where it was made. Numbers that were given out are copied as marks: with them the other
goes on above, and its own lane (journal/numbers.py) keeps the two apart even where the last marks
are missing.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from pbal_controller.journal import CommandRow, Journal

_META = ("hq_restraint", "uplink_bdseq")
_BLOBS_LEFT = ("probe",)
_ORDERS = 500
_STANDS_DOWN = "SELECT reason, since_s, detail FROM stand_down WHERE lifted_s IS NULL"
Number = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
Text = Annotated[str, Field(max_length=4000)]


class Order(BaseModel):
    """A command whose end is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    id: Number
    address: int
    from_phase: int
    to_phase: int
    issued_s: int
    expires_s: int
    reason: Text
    saving: float
    state: Text
    attempts: int
    detail: Text
    transfer_ms: int
    updated_s: float


class Copy(BaseModel):
    """All of it. `keys` is the encrypted key store's file, base64."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    term: Number
    command_id: Number
    counters: list[tuple[int, int, Text, Number]]  # address, kind, key, reserved or heard
    quarantine: list[tuple[int, float, Text]]
    stand_down: list[tuple[Text, float, Text]]
    orders: list[Order]
    meta: dict[str, Text]
    blobs: dict[str, str]
    first_phases: list[tuple[int, int, float]]
    hq_commands: list[tuple[str, float, Text, Text, Text, str]]
    keys: str


def keys_digest(keys: bytes) -> str:
    """By which two key stores' files are compared."""
    return hashlib.sha256(keys).hexdigest()


def collect(journal: Journal, term: int, keys: bytes) -> Copy:
    """The journal as it is now."""
    db = journal.db
    meta = {key: value for key in _META if (value := journal.meta(key)) is not None}
    return Copy(
        term=term,
        command_id=int(journal.meta("command_id") or 0),
        counters=db.execute("SELECT address, kind, key_id, reserved FROM counters").fetchall(),
        quarantine=db.execute("SELECT address, since_s, reason FROM quarantine").fetchall(),
        stand_down=db.execute(_STANDS_DOWN).fetchall(),
        orders=[Order(**row.__dict__) for row in journal.open_commands()],
        meta=meta,
        blobs={
            key: base64.b64encode(value).decode()
            for key, value in db.execute("SELECT key, value FROM blobs")
            if key not in _BLOBS_LEFT
        },
        first_phases=db.execute("SELECT address, phase, since_s FROM first_phases").fetchall(),
        hq_commands=[
            (*row[:5], base64.b64encode(row[5]).decode())
            for row in db.execute(
                "SELECT id, received_s, kind, outcome, detail, body FROM hq_commands "
                "ORDER BY received_s DESC LIMIT ?",
                (_ORDERS,),
            )
        ],
        keys=base64.b64encode(keys).decode(),
    )


def apply(journal: Journal, copy: Copy) -> None:
    """Take it over, all of it or nothing. Marks only rise. A quarantine or stand-down that either
    of the two knows holds: what was lifted at the other is lifted here by a person, too.
    """
    db = journal.db
    with journal.transaction():
        last = max(int(journal.meta("command_id") or 0), copy.command_id)
        if last:
            journal.set_meta("command_id", str(last))
        for address, kind, key_id, value in copy.counters:
            mine = journal.counter(address, kind, key_id)
            journal.set_counter(address, kind, key_id, max(mine, value))
        db.executemany(
            "INSERT INTO quarantine VALUES (?, ?, ?) ON CONFLICT DO NOTHING", copy.quarantine
        )
        known = {row[0] for row in db.execute(_STANDS_DOWN)}
        db.executemany(
            "INSERT INTO stand_down VALUES (?, ?, ?, NULL)",
            [row for row in copy.stand_down if row[0] not in known],
        )
        names = list(CommandRow.__dataclass_fields__)
        db.executemany(
            f"INSERT INTO commands ({', '.join(names)}) VALUES ({', '.join('?' * len(names))}) "
            "ON CONFLICT (id) DO NOTHING",
            [tuple(getattr(order, name) for name in names) for order in copy.orders],
        )
        for key in _META:
            if key in copy.meta:
                journal.set_meta(key, copy.meta[key])
        for key, blob in copy.blobs.items():
            db.execute(  # as it is: sealed by the key that both have
                "INSERT INTO blobs VALUES (?, ?, ?) ON CONFLICT (key) "
                "DO UPDATE SET value = excluded.value, updated_s = excluded.updated_s",
                (key, base64.b64decode(blob), journal.wall()),
            )
        db.executemany(
            "INSERT INTO first_phases VALUES (?, ?, ?) ON CONFLICT DO NOTHING", copy.first_phases
        )
        db.executemany(
            "INSERT INTO hq_commands (id, received_s, kind, outcome, detail, body) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [(*row[:5], base64.b64decode(row[5])) for row in copy.hq_commands],
        )
