"""Rows that are done, kept while the fleet runs, so that a killed run resumes.

`rows.jsonl` in the output folder holds a line per station: a key and the row. The key is a digest
of all that the row depends on: options, the station, and size and time of every file that is read
for it. A line is on the disk before the next row is waited for; an incomplete last line, after a
kill, is dropped.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from ..errors import InputError, MissingError
from ..feeder.dssfiles import files_of
from ..run import Options
from .job import Row
from .stations import Station

FILE = "rows.jsonl"
_SCHEMA = 1


def key_of(options: Options, station: Station, shared: Iterable[Path]) -> str:
    """What a row depends on, as a digest. shared: files that every row depends on."""
    files = [*shared, *(p for p in (station.homes_list, station.profiles) if p is not None)]
    if station.feeder is not None and station.feeder.is_file():
        files += files_of(station.feeder)
    stamps = []
    for path in files:
        try:
            at = path.stat()
            stamps.append((str(path), at.st_size, at.st_mtime_ns))
        except OSError:
            stamps.append((str(path), -1, 0))
    # The coordinates of a station do not change its figures.
    said = {**vars(station), "longitude": None, "latitude": None}
    text = json.dumps([_SCHEMA, options.as_dict(), said, stamps], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


class Store:
    """The file of rows, held by one run at a time."""

    def __init__(self, folder: Path) -> None:
        """Opens or makes it. Raises MissingError where another run holds it, InputError where the
        file has another format."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / FILE
        self.rows: dict[str, Row] = {}
        self._file: IO[bytes] = self._path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise MissingError(
                f"Another fleet study writes into {folder}.",
                "Wait for it, or give --out another folder.",
            ) from None
        try:
            self._read()
        except BaseException:
            self._file.close()
            raise

    def _read(self) -> None:
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            self._file.truncate(whole)
        for number, line in enumerate(data[:whole].splitlines(), start=1):
            try:
                said: Any = json.loads(line)
                self.rows[said["key"]] = said["row"]
            except (ValueError, TypeError, KeyError):
                raise InputError(
                    f"{self._path} line {number} is no row of a fleet.",
                    "Remove that file to begin anew, or give --out another folder.",
                ) from None

    def add(self, key: str, row: Row) -> None:
        """Keeps a row; it is on the disk when this returns. Raises MissingError where there is no
        room."""
        self.rows[key] = row
        line = json.dumps({"key": key, "row": row}, allow_nan=True) + "\n"
        try:
            self._file.write(line.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as exc:
            raise MissingError(
                f"{self._path} cannot be written: {exc.strerror}.",
                "Make room and start the same command again: it goes on from here.",
            ) from exc

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
