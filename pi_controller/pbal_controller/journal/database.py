"""What must not be lost: one SQLite file in WAL mode, flushed to the disk on every commit.

`Journal` is plain and synchronous; the controller runs it on a thread (thread.py). Opening one
brings it to this version's schema (migration.py).
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pbal_controller.errors import JournalError, JournalUnavailable, NumbersSpentError
from pbal_controller.journal import chain, pages
from pbal_controller.journal.file import is_damage, made_private, transaction, trouble
from pbal_controller.journal.migration import migrate
from pbal_controller.journal.numbers import LANE, Numbers, NumbersUsedUp
from pbal_controller.journal.vault import CLEAR_BLOBS, Vault, place_of, rewrite, seal_all

COUNTER_BLOCK = LANE  # the most that fits one block of a lane
_LANE = "lane"
_REWRITTEN = "vault_rewritten"
_READ_AT_START = ("quarantine", "counters", "meta", "stand_down", "commands", "blobs",
                  "first_phases", "hq_commands", "rollouts", "rollout_homes")  # fmt: skip
_NUMBERS = ("command_id", "generation")  # of meta
OPEN_STATES = ("journaled", "sent", "accepted", "done")


@dataclass(frozen=True)
class CommandRow:
    """One ordered move as the journal has it."""

    id: int
    address: int
    from_phase: int
    to_phase: int
    issued_s: int
    expires_s: int
    reason: str
    saving: float
    state: str = "journaled"
    attempts: int = 0
    detail: str = ""
    transfer_ms: int = 0
    updated_s: float = 0.0


_COMMAND_COLUMNS = ", ".join(CommandRow.__dataclass_fields__)


class Journal:
    """The journal, synchronous. Used from one thread only, except `:memory:` in tests."""

    def __init__(
        self,
        path: Path | str,
        wall: Callable[[], float] = time.time,
        vault: Vault | None = None,
    ) -> None:
        """Open or create. Raises JournalError: unwritable, damaged, or of a newer version.

        `wall` gives unix time for ids and counters. With a `vault` the values that it is for are
        sealed and opened with it; without one they are what the file holds.
        """
        self._vault = vault
        self.path = path
        self.is_new = False  # this opening created it
        self._numbers = Numbers()
        self.wall = wall
        try:
            if str(path) != ":memory:":
                made_private(Path(path))
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            chain.equip(self._db)
            self._db.execute("PRAGMA busy_timeout = 5000")
            self._db.execute("PRAGMA journal_mode = WAL")
            # FULL flushes the WAL on each commit: a journaled command survives a power cut.
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self.is_new = migrate(self._db, path)
            told = self.meta(_LANE)
            self._numbers.lane = None if told is None else int(told)
            self._find_damage()
            # A file that can only be read is found out here, not at the first order.
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("UPDATE meta SET value = value WHERE key = 'command_id'")
            self._db.execute("ROLLBACK")
            if vault is not None:
                self._seal_what_is_clear(vault)
        except (sqlite3.Error, ValueError) as error:
            # A number that is none; SQLite's own message, where it holds damaged text.
            kind = JournalError if is_damage(error) else JournalUnavailable
            raise kind(trouble(path, error)) from None

    def _seal_what_is_clear(self, vault: Vault) -> None:
        # What is deleted from now on is overwritten.
        self._db.execute("PRAGMA secure_delete = ON")
        if seal_all(self._db, vault):
            self._db.execute("DELETE FROM meta WHERE key = ?", (_REWRITTEN,))
        if self.meta(_REWRITTEN) is None and rewrite(self._db):
            self.set_meta(_REWRITTEN, "1")

    def sealed(self, table: str, key: object, value: bytes) -> bytes:
        """A value as it is kept at its place: sealed where there is a vault."""
        if self._vault is None or (table == "blobs" and key in CLEAR_BLOBS):
            return value
        return self._vault.seal(place_of(table, key), value)

    def opened(self, table: str, key: object, value: bytes) -> bytes:
        """The value of what is kept at its place; of what is no bytes, for damage, none."""
        if not isinstance(value, bytes):
            return b""
        return value if self._vault is None else self._vault.open(place_of(table, key), value)

    def _find_damage(self) -> None:
        """Find damage now: in a row of every table, and in all that is read at a start."""
        tables = self._db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (name,) in tables.fetchall():
            self._db.execute(f'SELECT * FROM "{name}" LIMIT 1').fetchall()
        for name in _READ_AT_START:
            (said,) = self._db.execute(f"PRAGMA integrity_check({name})").fetchone()
            if said != "ok":
                raise sqlite3.DatabaseError(f"{name} is malformed: {said}")
            self._db.execute(f"SELECT * FROM {name}").fetchall()  # also what is no text
        for name in _NUMBERS:
            int(self.meta(name) or 0)

    @property
    def db(self) -> sqlite3.Connection:
        """For parts that keep tables of their own (updates/store.py, standing/store.py)."""
        return self._db

    def close(self) -> None:
        """Close the file; the WAL is folded back into it."""
        with contextlib.suppress(sqlite3.Error):
            self._db.execute("PRAGMA optimize")
        self._db.close()

    def transaction(self) -> contextlib.AbstractContextManager[None]:
        """All of the statements inside, or none."""
        return transaction(self._db)

    # -- commands ------------------------------------------------------------------------

    def new_command(
        self,
        address: int,
        from_phase: int,
        to_phase: int,
        issued_s: int,
        expires_s: int,
        reason: str,
        saving: float,
    ) -> CommandRow:
        """Give the command an id and write it down. On return it is on the disk."""
        now = self.wall()
        with self.transaction():
            last = int(self.meta("command_id") or 0)
            row = CommandRow(
                self._next("command", last + 1, now), address, from_phase, to_phase, issued_s,
                expires_s, reason, saving, updated_s=now,
            )  # fmt: skip
            self.set_meta("command_id", str(row.id))
            self._db.execute(
                f"INSERT INTO commands ({_COMMAND_COLUMNS}) "
                f"VALUES ({', '.join('?' * len(CommandRow.__dataclass_fields__))})",
                tuple(getattr(row, name) for name in CommandRow.__dataclass_fields__),
            )
        return row

    def update_command(
        self, command_id: int, state: str, attempts: int, detail: str = "", transfer_ms: int = 0
    ) -> None:
        """Record how far a command has come."""
        self._db.execute(
            "UPDATE commands SET state = ?, attempts = ?, detail = ?, transfer_ms = ?, "
            "updated_s = ? WHERE id = ?",
            (state, attempts, detail, transfer_ms, time.time(), command_id),
        )

    def open_commands(self) -> list[CommandRow]:
        """Commands whose outcome is not known yet, oldest first."""
        marks = ", ".join("?" * len(OPEN_STATES))
        rows = self._db.execute(
            f"SELECT {_COMMAND_COLUMNS} FROM commands WHERE state IN ({marks}) ORDER BY id",
            OPEN_STATES,
        )
        return [CommandRow(*row) for row in rows]

    def recent_commands(self, limit: int = 100) -> list[CommandRow]:
        """The latest commands, newest first."""
        rows = self._db.execute(
            f"SELECT {_COMMAND_COLUMNS} FROM commands ORDER BY id DESC LIMIT ?", (limit,)
        )
        return [CommandRow(*row) for row in rows]

    def command_counts(self) -> dict[str, int]:
        """How many commands ended in each state, since the journal began."""
        return dict(self._db.execute("SELECT state, COUNT(*) FROM commands GROUP BY state"))

    def add_result(
        self,
        command_id: int,
        address: int,
        outcome: int,
        reason: int,
        phase: int,
        transfer_ms: int,
        vout_v: float,
        node_time_s: int,
    ) -> bool:
        """Store a SwitchResult. False when this very result was stored before."""
        done = self._db.execute(
            "INSERT INTO results VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (command_id, address, outcome, reason, phase, transfer_ms, vout_v, node_time_s,
             time.time()),
        )  # fmt: skip
        return done.rowcount == 1

    # -- events --------------------------------------------------------------------------

    def add_events(self, rows: Iterable[tuple[int, int, int, int, int, int, int, int]]) -> int:
        """Store events (address, boots, seq, code, severity, node_time_s, arg0, arg1).

        Returns how many were new. On return they are on the disk and may be acknowledged.
        """
        now = time.time()
        with self.transaction():
            before = self._db.total_changes
            self._db.executemany(
                "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                [(*row, now) for row in rows],
            )
            return self._db.total_changes - before

    def recent_events(self, limit: int = 100) -> list[dict[str, Any]]:
        """The latest events, newest first."""
        names = [
            "address",
            "boots",
            "seq",
            "code",
            "severity",
            "node_time_s",
            "arg0",
            "arg1",
            "received_s",
        ]
        rows = self._db.execute(
            f"SELECT {', '.join(names)} FROM events ORDER BY received_s DESC LIMIT ?", (limit,)
        )
        return [dict(zip(names, row, strict=True)) for row in rows]

    # -- single values, copies -----------------------------------------------------------

    def meta(self, key: str) -> str | None:
        """One value by its name, or None."""
        row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Keep one value under a name."""
        self._db.execute(
            "INSERT INTO meta (key, value) VALUES (?, ?) "
            "ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            (key, value),
        )

    def back_up(self, path: Path) -> None:
        """Copy the journal as it is now, also while a controller uses it. Raises JournalError."""
        try:
            with contextlib.closing(sqlite3.connect(path)) as target:
                self._db.backup(target)
        except sqlite3.Error as error:
            raise JournalError(f"{path}: the copy cannot be written ({error})") from None

    # -- counters ------------------------------------------------------------------------

    def use_lane(self, lane: int | None) -> None:
        """From now on, and whoever opens this journal, take numbers from this lane only (numbers).

        None: from all. Kept in the journal, so that other programs keep to it.
        """
        with self.transaction():
            if lane is None:
                self._db.execute("DELETE FROM meta WHERE key = ?", (_LANE,))
            else:
                self.set_meta(_LANE, str(lane))
        self._numbers.lane = lane

    def _next(
        self, sequence: object, stored: int, now: float, at_least: int = 1, count: int = 1
    ) -> int:
        try:
            return self._numbers.next(sequence, stored, now, at_least, count)
        except NumbersUsedUp:
            raise NumbersSpentError(
                f"{self.path}: the numbers of {sequence} are used up; give the nodes new keys "
                "(pbal provision) and start a new journal"
            ) from None

    def counter(self, address: int, kind: int, key_id: str) -> int:
        """The first counter value not yet given out (0 for a new key)."""
        row = self._db.execute(
            "SELECT reserved FROM counters WHERE address = ? AND kind = ? AND key_id = ?",
            (address, kind, key_id),
        ).fetchone()
        return int(row[0]) if row else 0

    def reserve(self, address: int, kind: int, key_id: str, at_least: int, count: int) -> int:
        """Reserve `count` values none of which was given out before; returns the first.

        `at_least` lifts the start (a node's reported floor); numbers.py says what else does.
        Returns only after the reservation is on the disk. Raises JournalError: none is left.
        """
        with self.transaction():
            stored = self.counter(address, kind, key_id)
            start = self._next((address, kind, key_id), stored, self.wall(), at_least, count)
            self.set_counter(address, kind, key_id, start + count)
        return start

    def down_counters(self) -> dict[int, tuple[str, int]]:
        """How far frames to each address were reserved, and of which key: (key_id, end)."""
        rows = self._db.execute("SELECT address, key_id, reserved FROM counters WHERE kind = 2")
        return {address: (key_id, value) for address, key_id, value in rows}

    def set_counter(self, address: int, kind: int, key_id: str, value: int) -> None:
        """Store a counter as it is (used for the highest up counter seen)."""
        self._db.execute(
            "INSERT INTO counters VALUES (?, ?, ?, ?) ON CONFLICT (address, kind) "
            "DO UPDATE SET key_id = excluded.key_id, reserved = excluded.reserved",
            (address, kind, key_id, value),
        )

    def up_counters(self) -> dict[int, tuple[str, int]]:
        """The highest up counter seen of each address, and of which key: (key_id, counter)."""
        rows = self._db.execute("SELECT address, key_id, reserved FROM counters WHERE kind = 1")
        return {address: (key_id, value) for address, key_id, value in rows}

    def set_up_counters(self, rows: Iterable[tuple[int, str, int]]) -> None:
        """Store the highest up counters seen: (address, key_id, counter)."""
        with self.transaction():
            for address, key_id, value in rows:
                self.set_counter(address, 1, key_id, value)

    # -- telemetry, quarantine --------------------------------------------------------------

    def add_minutes(self, rows: Iterable[tuple[Any, ...]]) -> None:
        """Store minute aggregates (`MinuteBook.take`), and seal some of an older version's."""
        with self.transaction():
            pages.add(self, rows)
            if self._vault is not None:
                pages.take_over(self)

    def minutes(self, address: int, since_s: int) -> list[tuple[Any, ...]]:
        """Minute aggregates of one home since a time, oldest first."""
        return pages.of_home(self, address, since_s)

    def quarantine(self, address: int, reason: str) -> None:
        """No commands to this home until a person lifts it."""
        self._db.execute(
            "INSERT INTO quarantine VALUES (?, ?, ?) ON CONFLICT (address) "
            "DO UPDATE SET reason = excluded.reason",
            (address, time.time(), reason),
        )

    def lift_quarantine(self, address: int) -> bool:
        """Lift a quarantine. False when there was none."""
        return (
            self._db.execute("DELETE FROM quarantine WHERE address = ?", (address,)).rowcount == 1
        )

    def quarantined(self) -> dict[int, str]:
        """Quarantined addresses and why."""
        return dict(self._db.execute("SELECT address, reason FROM quarantine"))

    def put_blob(self, key: str, value: bytes) -> None:
        """Keep one value under a name, instead of what was there."""
        self._db.execute(
            "INSERT INTO blobs VALUES (?, ?, ?) ON CONFLICT (key) "
            "DO UPDATE SET value = excluded.value, updated_s = excluded.updated_s",
            (key, self.sealed("blobs", key, value), time.time()),
        )

    def get_blob(self, key: str) -> bytes | None:
        """The value under a name, or None."""
        row = self._db.execute("SELECT value FROM blobs WHERE key = ?", (key,)).fetchone()
        return None if row is None else self.opened("blobs", key, bytes(row[0]))
