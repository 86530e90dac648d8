"""The journal on one thread of its own: an SD card's slow flush never stops the polling."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from pbal_controller.errors import JournalError, JournalUnavailable
from pbal_controller.journal.database import Journal
from pbal_controller.journal.file import Whereabouts, is_damage, trouble
from pbal_controller.journal.vault import Vault

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class _Gone(Exception):
    """A file of the journal is not the one that was opened."""


def _watched(journal: Journal, whereabouts: Whereabouts, call: Callable[[], T]) -> tuple[T, bool]:
    """What a call gave, and whether it wrote something. Raises _Gone before it."""
    gone = whereabouts.gone()
    if gone:
        raise _Gone(gone)
    before = journal.db.total_changes
    return call(), journal.db.total_changes > before


def hold(path: Path | str) -> int:
    """A lock beside the journal until the descriptor is closed: it has one controller at a time.

    -1 where none can be made; opening the journal then gives the better error. Raises
    JournalUnavailable when another controller has it.
    """
    if str(path) == ":memory:":
        return -1
    try:
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return -1
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise JournalUnavailable(
            f"{path}: another controller uses it (systemctl status pbal-controller); stop that "
            "one first, or give this one a journal of its own"
        ) from None
    except OSError:  # a file system without locks
        pass
    return lock


class AsyncJournal:
    """The journal behind one thread: calls are carried out in order, one at a time."""

    def __init__(
        self,
        path: Path | str,
        wall: Callable[[], float] = time.time,
        vault: Vault | None = None,
    ) -> None:
        self._vault = vault
        self._path = path
        self._wall = wall
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._journal: Journal | None = None
        self._whereabouts = Whereabouts(":memory:")
        self._lock = -1
        self._moved = False
        self.trouble = ""  # why the last write failed; empty once one succeeded again

    async def open(self) -> None:
        """Open the file, which no other controller may have open. Raises JournalError."""
        self._lock = hold(self._path)
        loop = asyncio.get_running_loop()
        try:
            self._journal = await loop.run_in_executor(
                self._pool, Journal, self._path, self._wall, self._vault
            )
            self._whereabouts = Whereabouts(self._path)
        except BaseException:
            await self.close()
            raise

    async def call(
        self,
        method: Callable[Concatenate[Journal, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run one journal method, e.g. `await journal.call(Journal.open_commands)`.

        Raises JournalError when the file cannot be written or read (full, damaged, locked), or is
        not where it was opened.
        """
        journal = self._journal
        if journal is None:
            raise JournalError("the journal is not open")
        loop = asyncio.get_running_loop()
        try:
            result, wrote = await loop.run_in_executor(
                self._pool,
                lambda: _watched(
                    journal, self._whereabouts, lambda: method(journal, *args, **kwargs)
                ),
            )
        except _Gone as gone:
            if not self._moved:
                log.error("the journal was removed or replaced", extra={"file": str(gone)})
            self._moved = True
            self.trouble = (
                f"{gone}: removed or replaced while the controller runs; what it wrote since then "
                "is lost when it ends. Put the file back, or restart the controller "
                "(docs/operations.md, Backup). Nothing is ordered meanwhile"
            )
            raise JournalError(self.trouble) from None
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if is_damage(error):
                self.trouble = trouble(self._path, error)
            else:
                self.trouble = (
                    f"{self._path}: the journal failed ({error}); check its disk: free space, "
                    "mounted for writing, healthy. Nothing is ordered without it"
                )
            raise JournalError(self.trouble) from error
        if self._moved:
            self._moved = False
            self.trouble = ""
            log.warning("the journal is in its place again")
        if wrote:  # reading also succeeds on a full disk
            self.trouble = ""
        return result

    def damaged(self, error: Exception) -> JournalError:
        """What the reader of a value raises that is not as it was written."""
        return JournalError(trouble(self._path, ValueError(str(error))))

    async def close(self) -> None:
        """Finish what was asked and close the file."""
        if self._journal is not None:
            journal, self._journal = self._journal, None
            await asyncio.get_running_loop().run_in_executor(self._pool, journal.close)
        self._pool.shutdown(wait=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
