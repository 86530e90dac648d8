"""The bus in one SQLite file, for all roles on one computer, in one process or in several.

A commit is on the disk when `append` returns (synchronous = FULL). All calls of a process go
through one thread; several processes take turns by SQLite's own lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from pbal_hq.bus import topics
from pbal_hq.bus.base import Consumer, Done, New, Record
from pbal_hq.errors import BusError

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS topic (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS record (
    topic INTEGER NOT NULL, offset INTEGER NOT NULL, at_ms INTEGER NOT NULL,
    key TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (topic, offset)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS head (topic INTEGER PRIMARY KEY, offset INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS compact (
    topic INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (topic, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS progress (
    grp TEXT NOT NULL, topic INTEGER NOT NULL, offset INTEGER NOT NULL, PRIMARY KEY (grp, topic)
) WITHOUT ROWID;
"""
# How often another process's appends are looked for.
_POLL_S = 0.25
_BUSY_S = 60.0
_TRIM_ROWS = 20_000


class FileBus:
    """One file. An async context; opening raises BusError."""

    def __init__(
        self, path: Path, *, min_free_mb: int = 0, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._min_free = min_free_mb * 1_000_000
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pbal-hq bus")
        self._db: sqlite3.Connection | None = None
        self._topics: dict[str, int] = {}
        self._news = asyncio.Condition()

    async def __aenter__(self) -> FileBus:
        try:
            await self._do(self._open)
        except BaseException:
            self._thread.shutdown()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._do(self._close)
        finally:
            self._thread.shutdown()

    async def _do(self, work: Callable[..., T], *values: object) -> T:
        loop = asyncio.get_running_loop()
        try:
            # The thread finishes a transaction also for a caller that was cancelled.
            return await asyncio.shield(loop.run_in_executor(self._thread, work, *values))
        except KeyError as error:
            raise BusError(f"there is no topic {error}") from None
        except (sqlite3.Error, OSError) as error:
            raise BusError(
                f"{self._path}: {error}; is its disk full, or is it another's?"
            ) from error

    def _open(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self._path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        db = sqlite3.connect(self._path, timeout=_BUSY_S, isolation_level=None)
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # before the first page is written
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(_SCHEMA)
        self._db = db
        for name in (*topics.ALL, *topics.COMPACTED):
            db.execute("INSERT INTO topic (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
        self._topics = {name: number for number, name in db.execute("SELECT id, name FROM topic")}

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()

    @property
    def _opened(self) -> sqlite3.Connection:
        assert self._db is not None, "the bus is not open"
        return self._db

    @contextlib.contextmanager
    def _transaction(self):  # type: ignore[no-untyped-def]
        db = self._opened
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")

    # -- the contract -----------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def consumer(self, group: str, names: Sequence[str]) -> AsyncIterator[Consumer]:
        """The group's consumer: here each group has one."""
        yield _FileConsumer(self, group, names)

    async def append(self, records: Sequence[New], done: Sequence[Done] = ()) -> None:
        """Append records and note progress; on return both are on the disk."""
        await self._do(self._append, records, done)
        async with self._news:
            self._news.notify_all()

    def _append(self, records: Sequence[New], done: Sequence[Done]) -> None:
        if records and self._min_free:
            free = shutil.disk_usage(self._path.parent).free
            if free < self._min_free:
                raise OSError(f"only {free // 1_000_000} MB are free")
        at_ms = int(self._clock() * 1000)
        with self._transaction() as db:
            heads: dict[int, int] = {}
            rows = []
            for new in records:
                topic = self._topics[new.topic]
                if new.topic in topics.COMPACTED:
                    db.execute(
                        "INSERT OR REPLACE INTO compact VALUES (?, ?, ?)",
                        (topic, new.key, new.value),
                    )
                    continue
                if topic not in heads:
                    heads[topic] = self._head(db, topic)
                heads[topic] += 1
                rows.append((topic, heads[topic], at_ms, new.key, new.value))
            db.executemany("INSERT INTO record VALUES (?, ?, ?, ?, ?)", rows)
            db.executemany("INSERT OR REPLACE INTO head VALUES (?, ?)", list(heads.items()))
            db.executemany(
                "INSERT INTO progress VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET "
                "offset = max(offset, excluded.offset)",
                [(each.group, self._topics[each.topic], each.offset) for each in done],
            )

    @staticmethod
    def _head(db: sqlite3.Connection, topic: int) -> int:
        row = db.execute("SELECT offset FROM head WHERE topic = ?", (topic,)).fetchone()
        return int(row[0]) if row else -1

    @staticmethod
    def _done(db: sqlite3.Connection, group: str, topic: int) -> int:
        row = db.execute(
            "SELECT offset FROM progress WHERE grp = ? AND topic = ?", (group, topic)
        ).fetchone()
        return int(row[0]) if row else -1

    # -- beneath it: each topic is one partition ---------------------------------------------

    async def latest(self, topic: str) -> dict[str, bytes]:
        """A compacted topic: the latest value of each key."""

        def work() -> dict[str, bytes]:
            found = self._opened.execute(
                "SELECT key, value FROM compact WHERE topic = ?", (self._topics[topic],)
            )
            return dict(found.fetchall())

        return await self._do(work)

    async def read(self, topic: str, after: int, limit: int) -> list[Record]:
        """Records with an offset above `after`, in order."""

        def work() -> list[Record]:
            found = self._opened.execute(
                "SELECT offset, at_ms, key, value FROM record WHERE topic = ? AND offset > ? "
                "ORDER BY offset LIMIT ?",
                (self._topics[topic], after, limit),
            )
            return [Record(at, ms, key, value, topic) for at, ms, key, value in found]

        return await self._do(work)

    async def committed(self, group: str, topic: str) -> int:
        """Up to where a group is done; -1 at the beginning."""

        def work() -> int:
            return self._done(self._opened, group, self._topics[topic])

        return await self._do(work)

    async def wait(self, names: Sequence[str], seconds: float) -> None:
        """Return soon after something was appended, or when the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(min(seconds, _POLL_S)):
                async with self._news:
                    await self._news.wait()

    # -- house-keeping ----------------------------------------------------------------------

    async def trim(self, groups: Mapping[str, Sequence[str]], keep_s: float) -> int:
        """Delete what is older than `keep_s` and what all consumers are done with; how many.

        `groups`: the groups that take each topic. A topic without any is kept.
        """

        def work() -> int:
            gone = 0
            before = int((self._clock() - keep_s) * 1000)
            for name, consumers in groups.items():
                topic = self._topics[name]
                done = [self._done(self._opened, group, topic) for group in consumers]
                if not done:
                    continue
                with self._transaction() as db:
                    gone += db.execute(
                        "DELETE FROM record WHERE topic = ? AND offset IN (SELECT offset FROM "
                        "record WHERE topic = ? AND offset <= ? AND at_ms < ? ORDER BY offset "
                        "LIMIT ?)",
                        (topic, topic, min(done), before, _TRIM_ROWS),
                    ).rowcount
            self._opened.execute("PRAGMA incremental_vacuum(2000)").fetchall()
            return gone

        return await self._do(work)

    async def lag(self, groups: Mapping[str, Sequence[str]]) -> dict[tuple[str, str], int]:
        """How many records each group has before it, by (group, topic)."""

        def work() -> dict[tuple[str, str], int]:
            db = self._opened
            found = {}
            for name, consumers in groups.items():
                topic = self._topics[name]
                head = self._head(db, topic)
                for group in consumers:
                    found[group, name] = head - self._done(db, group, topic)
            return found

        return await self._do(work)


class _FileConsumer:
    share = 1

    def __init__(self, bus: FileBus, group: str, names: Sequence[str]) -> None:
        self._bus, self._group, self._names = bus, group, names
        self._at: dict[str, int] = {}

    async def take(self, limit: int, seconds: float) -> list[Record]:
        for name in self._names:
            if name not in self._at:
                self._at[name] = await self._bus.committed(self._group, name)
        if not (found := await self._read(limit)):
            await self._bus.wait(self._names, seconds)
            found = await self._read(limit)
        return found

    async def _read(self, limit: int) -> list[Record]:
        found: list[Record] = []
        for name in self._names:
            records = await self._bus.read(name, self._at[name], limit)
            if records:
                self._at[name] = records[-1].offset
            found += records
        return found

    async def latest(self, topic: str) -> dict[str, bytes]:
        return await self._bus.latest(topic)
