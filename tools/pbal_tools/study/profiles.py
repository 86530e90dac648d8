"""Reads load profiles: one row per time step, one column of watts per home.

    time,home_01,home_02
    2026-01-12T00:00,312,48
    2026-01-12T00:01,305,-1200        (negative: the home feeds in)

Plain or gzip. Any regular step; finer than a minute is averaged to a minute. A gap is refused
by default, because every way to fill it is a guess that the reader of the report should know.
"""

import gzip
import io
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

_BLOCK_ROWS = 8192
_MINUTE = 60
_HOUR = 3600
_TIME_NAMES = ("time", "timestamp", "datetime", "date_time", "utc")
_MISSING = ("", "na", "n/a", "null", "none")  # and nan, which float() knows

Progress = Callable[[int], None]


@dataclass(frozen=True)
class Profiles:
    """Watts per home: `watts` float32 [T, N], rows `step_s` apart from `start` on."""

    start: np.datetime64
    step_s: int
    names: tuple[str, ...]
    watts: NDArray[np.float32]
    notes: tuple[str, ...] = ()

    @property
    def days(self) -> float:
        """Length of the profiles in days."""
        return len(self.watts) * self.step_s / 86400

    @property
    def seconds_of_day(self) -> NDArray[np.int64]:
        """Clock time of each row, seconds since midnight."""
        first = int((self.start - self.start.astype("datetime64[D]")) / np.timedelta64(1, "s"))
        return (first + np.arange(len(self.watts), dtype=np.int64) * self.step_s) % 86400

    @property
    def day_of_year(self) -> NDArray[np.int64]:
        """Day of the year of each row, 1..366."""
        times = self.start + np.arange(len(self.watts)) * np.timedelta64(self.step_s, "s")
        day = times.astype("datetime64[D]")
        return np.asarray((day - day.astype("datetime64[Y]")).astype(np.int64) + 1)


def read_profiles(
    path: Path,
    *,
    days: float | None = None,
    skip_days: float = 0.0,
    fill_gaps: bool = False,
    progress: Progress | None = None,
) -> Profiles:
    """Reads a profile file; raises InputError that names the row and says what to do."""
    if not path.is_file():
        raise InputError(f"No such profile file: {path}", "Check the path given with --profiles.")
    stamps: list[NDArray[np.int64]] = []
    blocks: list[NDArray[np.float32]] = []
    first: int | None = None
    clock = _Clock(path)
    try:
        with _open(path) as lines:
            names = _header(path, lines.readline())
            for row, block in _blocks(lines):
                times, watts = _parse(path, row, block, names, clock)
                first = int(times[0]) if first is None else first
                # Both ends of the wanted stretch are known as soon as the first row is.
                keep = times >= first + skip_days * 86400
                if days is not None:
                    keep &= times < first + (skip_days + days) * 86400
                stamps.append(times[keep])
                blocks.append(watts[keep])
                if progress is not None:
                    progress(len(block))
                if days is not None and times[-1] >= first + (skip_days + days) * 86400:
                    break
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as exc:
        raise InputError(
            f"{path} cannot be read: {exc}", "It must be a CSV file in UTF-8, plain or gzip."
        ) from exc
    if not blocks or sum(map(len, blocks)) < 2:
        raise InputError(
            f"{path} has fewer than two rows in the wanted stretch.",
            "Check --days and --skip-days.",
        )
    return _regular(path, names, np.concatenate(stamps), np.vstack(blocks), fill_gaps)


def _open(path: Path) -> io.TextIOWrapper:
    raw = path.open("rb")
    magic = raw.read(2)
    raw.seek(0)
    stream = gzip.GzipFile(fileobj=raw) if magic == b"\x1f\x8b" else raw
    return io.TextIOWrapper(io.BufferedReader(stream, 1 << 20), encoding="utf-8-sig")


def _header(path: Path, line: str) -> tuple[str, ...]:
    cells = [cell.strip().strip('"') for cell in line.strip().split(",")]
    if cells[0].lower() not in _TIME_NAMES:
        hint = "Separate the columns with commas." if ";" in line else ""
        raise InputError(
            f"{path}: the first column is {cells[0][:40]!r}, not 'time'.",
            f"The first line must read: time,home_01,home_02,... {hint}".strip(),
        )
    names = tuple(cells[1:])
    if not names or "" in names:
        raise InputError(f"{path}: a column has no name.", "Name every column after its home.")
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise InputError(f"{path}: column {twice[0]!r} appears twice.", "Rename one of them.")
    return names


def _blocks(lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """Blocks of non-empty lines with the number of their first row (the header is row 1)."""
    block: list[str] = []
    row = first = 2
    for line in lines:
        if not line.isspace():
            if not block:
                first = row
            block.append(line)
            if len(block) == _BLOCK_ROWS:
                yield first, block
                block = []
        row += 1
    if block:
        yield first, block


def _parse(
    path: Path, row: int, block: list[str], names: tuple[str, ...], clock: "_Clock"
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    stamps, values = [], []
    for line in block:
        stamp, _, rest = line.partition(",")
        stamps.append(stamp)
        values.append(rest.rstrip("\r\n"))
    times = clock.seconds(row, stamps)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            flat = np.fromstring(",".join(values), dtype=np.float64, sep=",")
        except (DeprecationWarning, ValueError):
            flat = np.empty(0)
    commas = len(names) - 1
    if flat.size == len(block) * len(names) and all(v.count(",") == commas for v in values):
        table = flat.reshape(len(block), len(names))
    else:
        table = np.array([_row(path, row + k, v, names) for k, v in enumerate(values)])
    if np.isinf(table).any():
        at = np.argwhere(np.isinf(table))[0]
        raise InputError(
            f"{path} row {row + at[0]}: {names[at[1]]} is infinite.", "Give watts as a number."
        )
    return times, table.astype(np.float32)


def _row(path: Path, row: int, text: str, names: tuple[str, ...]) -> list[float]:
    """One row the careful way: blank cells become NaN, anything else unreadable is an error."""
    cells = text.split(",")
    if len(cells) != len(names):
        raise InputError(
            f"{path} row {row}: {len(cells)} values, but the header names {len(names)} homes.",
            "Every row needs one value per column; leave a cell empty where a value is missing.",
        )
    out = []
    for name, raw in zip(names, cells, strict=True):
        cell = raw.strip().strip('"')
        try:
            out.append(np.nan if cell.lower() in _MISSING else float(cell))
        except ValueError:
            raise InputError(
                f"{path} row {row}: {name} is {cell[:40]!r}, not a number of watts.",
                "Use a point as the decimal sign and no unit; leave the cell empty if unknown.",
            ) from None
    return out


class _Clock:
    """Reads time stamps as seconds since 1970 in the file's own clock: ISO 8601, or plain Unix
    seconds. Offsets from UTC are honoured, and the first one is taken as the file's clock, so
    that evenings stay evenings."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset: timedelta | None = None
        self._started = False

    def seconds(self, row: int, stamps: list[str]) -> NDArray[np.int64]:
        """One block of stamps, the first of them in row `row`."""
        try:
            if stamps[0].strip().lstrip("-").replace(".", "", 1).isdigit():
                return self._unix(row, [float(s) for s in stamps])
            if any(mark in stamps[0][10:] for mark in "Zz+-"):
                raise ValueError  # with an offset from UTC: the careful way below
            if self._offset is None:
                out = np.array(stamps, dtype="datetime64[s]").astype(np.int64)
                self._started = True
                return out
        except ValueError:
            pass
        return np.array(
            [self._careful(row + k, stamp.strip().strip('"')) for k, stamp in enumerate(stamps)],
            dtype=np.int64,
        )

    def _unix(self, row: int, values: list[float]) -> NDArray[np.int64]:
        if abs(values[0]) > 1e11:  # the year 5138
            raise InputError(
                f"{self._path} row {row}: {values[0]:.0f} looks like milliseconds.",
                "Give Unix seconds: divide the times by 1000.",
            )
        return np.array([round(v) for v in values], dtype=np.int64)

    def _careful(self, row: int, text: str) -> int:
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise InputError(
                f"{self._path} row {row}: {text[:40]!r} is not a time.",
                "Write times as 2026-01-31T18:05 or as Unix seconds.",
            ) from None
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


def _regular(
    path: Path,
    names: tuple[str, ...],
    times: NDArray[np.int64],
    watts: NDArray[np.float32],
    fill_gaps: bool,
) -> Profiles:
    notes: list[str] = []
    steps = np.diff(times)
    if (steps <= 0).any():
        k = int(np.argmax(steps <= 0))
        raise InputError(
            f"{path}: {_iso(times[k + 1])} does not come after {_iso(times[k])}.",
            "Sort the rows by time, keep one per time; use UTC where the clocks change.",
        )
    step = int(np.median(steps))
    place = (times - times[0]) / step
    if not np.allclose(place, np.round(place), atol=0.01):
        k = int(np.argmax(np.abs(place - np.round(place)) > 0.01))
        raise InputError(
            f"{path}: most rows are {step} s apart, but {_iso(times[k])} is off that grid.",
            "Resample the profiles to a regular step.",
        )
    index = np.round(place).astype(np.int64)
    full = np.full((int(index[-1]) + 1, len(names)), np.nan, dtype=np.float32)
    full[index] = watts
    missing = np.isnan(full)
    if missing.any():
        row, column = np.argwhere(missing)[0]
        count = int(missing.sum())
        if not fill_gaps:
            raise InputError(
                f"{path}: {count} values are missing, first {names[column]} at "
                f"{_iso(times[0] + int(row) * step)}.",
                "Repair the profiles, or use --fill-gaps (same clock time of the nearest day).",
            )
        _fill(path, full, missing, names, max(1, round(86400 / step)))
        notes.append(f"{count} missing values ({missing.mean():.2%}) were filled in.")
    if step < _MINUTE:
        n = _MINUTE // step if _MINUTE % step == 0 else 0
        if n == 0:
            raise InputError(
                f"{path}: a step of {step} s does not divide a minute.", "Resample to 60 s."
            )
        full = full[: len(full) // n * n].reshape(-1, n, len(names)).mean(axis=1)
        notes.append(f"Profiles at {step} s were averaged to one minute.")
        step = _MINUTE
    if step > _HOUR:
        raise InputError(
            f"{path}: one value every {step / 3600:g} hours says nothing about balancing.",
            "Give at least hourly profiles; one value a minute shows what pbal does.",
        )
    if len(full) < 2:
        raise InputError(f"{path}: less than two time steps.", "Give at least an hour of profiles.")
    peak = float(np.abs(full).max())
    if peak == 0:
        raise InputError(
            f"{path}: every value is zero.", "Check the export, and --days and --skip-days."
        )
    if peak < 50:
        raise InputError(
            f"{path}: no value exceeds {peak:.3g}; the profiles look like kilowatts.",
            "Give watts: multiply the values by 1000.",
        )
    start = np.datetime64(int(times[0]), "s")
    return Profiles(start, step, names, np.ascontiguousarray(full), tuple(notes))


def _iso(seconds: int | np.int64) -> str:
    return str(np.datetime64(int(seconds), "s"))


def _fill(
    path: Path,
    full: NDArray[np.float32],
    missing: NDArray[np.bool_],
    names: tuple[str, ...],
    per_day: int,
) -> None:
    """Fills gaps: up to half an hour by a straight line, longer ones from the nearest day."""
    short = max(1, per_day // 48)
    for column in np.flatnonzero(missing.any(axis=0)):
        values, gone = full[:, column], missing[:, column]
        if gone.all():
            raise InputError(
                f"{path}: {names[column]} has no values at all.", "Remove that column."
            )
        known = np.flatnonzero(~gone)
        for run in np.split(
            np.flatnonzero(gone), np.flatnonzero(np.diff(np.flatnonzero(gone)) > 1) + 1
        ):
            if len(run) <= short:
                values[run] = np.interp(run, known, values[known])
                continue
            for k in run:
                same = known[(known - k) % per_day == 0]
                pool = same if same.size else known
                values[k] = values[pool[np.argmin(np.abs(pool - k))]]
