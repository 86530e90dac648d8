"""The time stamps of a profile file, in whatever way they are written, as seconds."""

import re
import warnings
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

_EARLY = 315532800  # 1980: no meter reading is older, a count of rows or hours is
_COUNTS = (1, 5, 10, 15, 30)  # steps of rows and hours, and of minutes, read as seconds
_DIGITS = re.compile(r"(19|20)\d\d[01]\d[0-3]\d[0-2]\d[0-5]\d([0-5]\d)?")
_COMPACT = re.compile(r"(19|20)\d\d[01]\d[0-3]\d([0-2]\d([0-5]\d([0-5]\d)?)?)?")
_LATE = 2_240_524_800  # 2041: a date with two digits for its year is later, read as seconds
_MANY = 24  # rows from which on it is worth asking what a count from 0 counts
_OFF = 0.05  # a row's number may be rounded by so much of a step
_MARKED = (
    "Write times as 2026-01-31T18:05 or as Unix seconds; or give the first row's time and the "
    "seconds between rows, as in --start 2026-01-31T18:00 --step 900."
)


class Clock:
    """Reads time stamps as seconds since 1970 in the file's own clock: ISO 8601, or plain Unix
    seconds. Offsets from UTC are honoured, and the first one is taken as the file's clock, so that
    times of day are kept."""

    def __init__(
        self, path: Path, start: np.datetime64 | None = None, step_s: int | None = None
    ) -> None:
        """start, step_s: the time of the first row and between rows, where the first column does
        not tell; rows then count."""
        self._path = path
        self._start, self._step_s, self._rows = start, step_s, 0
        self._offset: timedelta | None = None
        self._started = False
        self._count: tuple[float, float] | None = None  # of the first row, and between rows
        self.notes: list[str] = []

    def seconds(self, row: int, stamps: list[str]) -> NDArray[np.int64]:
        """One block of stamps, the first of them in row `row`."""
        if self._start is not None and self._step_s is not None:
            begin = int(self._start.astype("datetime64[s]").astype(np.int64))
            return begin + self._places(stamps) * self._step_s
        if _DIGITS.fullmatch(stamps[0].strip()):
            return self._compact(row, stamps)
        if _is_number(stamps[0]):
            return self._unix(row, stamps)
        # NumPy would accept blank cells as its own "no time", and it drops offsets.
        if self._offset is None and not any(map(_has_offset, stamps)):
            try:
                with warnings.catch_warnings():
                    # NumPy only warns of a zone that it drops, as in 18:05 CET.
                    warnings.simplefilter("error")
                    out = np.array(stamps, dtype="datetime64[s]")
            except (ValueError, UserWarning, DeprecationWarning):
                pass
            else:
                if not np.isnat(out).any():
                    self._started = True
                    return out.astype(np.int64)
        return np.array(
            [self._careful(row + k, stamp.strip().strip('"')) for k, stamp in enumerate(stamps)],
            dtype=np.int64,
        )

    def _places(self, stamps: list[str]) -> NDArray[np.int64]:
        """Which row of the grid each row is on: by its number, so that a missing one is a gap; one
        after the other where the first column is no number."""
        begin = self._rows
        self._rows += len(stamps)
        if all(map(_is_number, stamps)):
            values = np.array(stamps, dtype=float)
            if self._count is None and len(values) > 1:
                self._count = float(values[0]), float(np.median(np.diff(values)))
            if self._count is not None and self._count[1] > 0:
                places = (values - self._count[0]) / self._count[1]
                if np.abs(places - np.round(places)).max() < _OFF:
                    return np.round(places).astype(np.int64)
        return np.arange(begin, self._rows, dtype=np.int64)

    def _compact(self, row: int, stamps: list[str]) -> NDArray[np.int64]:
        """202601311805 or 20260131180530: a date without marks."""
        marked = []
        for k, stamp in enumerate(stamps):
            d = stamp.strip()
            if not _DIGITS.fullmatch(d):
                raise self._no_time(row + k, d)
            marked.append(f"{d[:4]}-{d[4:6]}-{d[6:8]}T{d[8:10]}:{d[10:12]}:{d[12:14] or '00'}")
        try:
            self._started = True
            return np.array(marked, dtype="datetime64[s]").astype(np.int64)
        except ValueError:
            raise self._no_time(row, stamps[0].strip()) from None

    def _unix(self, row: int, stamps: list[str]) -> NDArray[np.int64]:
        for k, stamp in enumerate(stamps):
            if not _is_number(stamp):
                raise self._no_time(row + k, stamp.strip())
        values = np.array(stamps, dtype=float)
        if _COMPACT.fullmatch(stamps[0].strip()) or _LATE < values[0] < 1e10:
            raise InputError(
                f"{self._path} row {row}: {stamps[0].strip()} looks like a date without marks.",
                _MARKED,
            )
        if abs(values[0]) > 1e11:  # the year 5138
            raise InputError(
                f"{self._path} row {row}: {values[0]:.0f} looks like milliseconds.",
                "Give Unix seconds: divide the times by 1000.",
            )
        if len(values) > 1 and 0 < abs(values[1] - values[0]) < 1:
            raise InputError(
                f"{self._path} row {row + 1}: {stamps[1].strip()} is less than a second after "
                f"{stamps[0].strip()}: these look like days or hours.",
                _MARKED,
            )
        step = values[1] - values[0] if len(values) > 1 else 0
        if abs(values[0]) < _EARLY and step in _COUNTS:
            raise InputError(
                f"{self._path} row {row}: {stamps[0].strip()}, {stamps[1].strip()}, ... would be "
                f"seconds in {1970 + int(values[0] // 31556952)}: these look like row numbers, or "
                "hours or minutes of a year.",
                "Write times as 2026-01-31T18:05 or as Unix seconds: hours times 3600, minutes "
                "times 60; or say --start 2026-01-01 --step SECONDS.",
            )
        if abs(values[0]) < _EARLY and len(values) >= _MANY and not self._started:
            self.notes.append(
                f"Beware: the times {stamps[0].strip()}, {stamps[1].strip()}, ... are taken as "
                f"seconds after {np.datetime64(0, 'm')}. If they count something else, or to give "
                "the date, say --start and --step."
            )
        self._started = True
        return np.round(values).astype(np.int64)

    def _no_time(self, row: int, text: str) -> InputError:
        return InputError(
            f"{self._path} row {row}: {text[:40]!r} is not a time.",
            "Write times as 2026-01-31T18:05 or as Unix seconds, all in one way.",
        )

    def _careful(self, row: int, text: str) -> int:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise self._no_time(row, text) from None
        offset = when.utcoffset()
        if not self._started:
            self._started, self._offset = True, offset
        if (offset is None) != (self._offset is None):
            raise InputError(
                f"{self._path} row {row}: some times have an offset from UTC, others have none.",
                "Give all of them an offset, or none.",
            )
        if offset is not None and self._offset is not None:
            when = when.replace(tzinfo=None) - offset + self._offset
        return round(float(np.datetime64(when, "ms").astype(np.int64)) / 1000)


def _has_offset(stamp: str) -> bool:
    """True for 2026-01-31T18:05Z, ...+01:00, ...-0300."""
    return any(mark in stamp.strip().strip('"')[10:] for mark in "Zz+-")


def _is_number(stamp: str) -> bool:
    return stamp.strip().lstrip("-").replace(".", "", 1).isdecimal()
