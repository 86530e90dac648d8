"""Frame counters that a commissioning has given out, in a file of their own.

A counter that was used once with a key is never used again. Over a radio they are reserved while
the steps write their record, so they do not stand in it.
"""

import threading
from pathlib import Path
from typing import Any

from pbal_controller.documents import dump_json, read_json
from pbal_controller.errors import KeyStoreError
from pbal_controller.keys import atomic_write

from ..errors import InputError

FILE = "counters.json"


class Reserved:
    """The counters of one folder. `earlier`: what a record of an older version holds."""

    def __init__(self, folder: Path, earlier: dict[str, Any]) -> None:
        self._path = folder / FILE
        self._lock = threading.Lock()
        self._next: dict[str, Any] = dict(earlier)
        self._read = False

    def _load(self) -> None:
        if not self._read and self._path.exists():
            try:
                found = read_json(self._path)
            except (OSError, ValueError) as exc:
                raise InputError(f"{self._path} cannot be read: {exc}.", "Restore it.") from None
            if not isinstance(found, dict):
                raise InputError(f"{self._path} is no list of counters.", "Restore it.")
            self._next |= found
        self._read = True

    def reserve(self, who: str, key: str, at_least: int, count: int) -> int:
        """Reserves `count` counters for `who` under a key; returns the first, once that is on the
        disk. Raises InputError.
        """
        with self._lock:
            self._load()
            row = self._next.get(who, {})
            start = max(int(row.get("next", 0)) if row.get("key") == key else 0, at_least)
            self._next[who] = {"key": key, "next": start + count}
            try:
                atomic_write(self._path, dump_json(self._next, indent=1).encode() + b"\n")
            except KeyStoreError as exc:
                raise InputError(f"{exc}", "Free some space, or name another folder.") from None
            return start
