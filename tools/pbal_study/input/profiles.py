"""Reads load profiles: one row per time step, one column of watts per home.

    time,home_01,home_02
    2026-01-12T00:00,312,48
    2026-01-12T00:01,305,-1200        (negative: the home feeds in)

Plain or gzip. Any regular step; finer than a minute is averaged to a minute. A gap is refused
by default, because every way to fill it is a guess that the reader of the report should know.
"""

import csv
import gzip
import io
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .clock import Clock
from .grid import check_order, regular
from .quantity import Quantity

_BLOCK_ROWS = 8192
_TIME_NAMES = ("time", "timestamp", "datetime", "date_time", "utc")
_EMPTY = ", \t\r\n"  # spreadsheets leave rows of empty cells behind the last one
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
    quantity: Quantity | None = None,
) -> Profiles:
    """Reads a profile file; raises InputError that names the row and says what to do.

    quantity: what the values are; left out, watts or what the column names say.
    """
    quantity = quantity or Quantity()
    if path.is_dir():
        raise InputError(f"{path} is a folder.", "Give the CSV file in it that holds the profiles.")
    if not path.is_file():
        raise InputError(f"No such profile file: {path}", "Check the path given with --profiles.")
    stamps: list[NDArray[np.int64]] = []
    blocks: list[NDArray[np.floating]] = []
    first: int | None = None
    last: np.int64 | None = None
    clock = Clock(path, quantity.start, quantity.step_s)
    try:
        with _open(path) as lines:
            names = _header(path, lines.readline())
            quantity, names, named = quantity.with_names(path, names)
            for row, block in _blocks(lines):
                times, watts = _parse(path, row, block, names, clock)
                check_order(path, times if last is None else np.append(last, times))
                first, last = int(times[0]) if first is None else first, times[-1]
                # Both ends of the wanted period are known once the first row is.
                keep = times >= first + skip_days * 86400
                if days is not None:
                    keep &= times < first + (skip_days + days) * 86400
                stamps.append(times[keep])
                # A count has more digits than single precision keeps.
                blocks.append(watts[keep] if quantity.cumulative else watts[keep].astype("f4"))
                if progress is not None:
                    progress(len(block))
                if days is not None and times[-1] >= first + (skip_days + days) * 86400:
                    break
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as exc:
        raise InputError(
            f"{path} cannot be read: {exc}",
            "It must be a CSV file in UTF-8, plain or gzip; in a spreadsheet: save as 'CSV UTF-8'.",
        ) from exc
    if sum(map(len, blocks)) < 2:
        raise InputError(
            f"{path} has fewer than two rows of values"
            + (" in the wanted stretch." if days is not None or skip_days else "."),
            "Check --days and --skip-days, and that the export is complete.",
        )
    times, watts = np.concatenate(stamps), np.vstack(blocks)
    blocks.clear()
    step, full, notes = regular(path, names, times, watts, fill_gaps, quantity)
    notes = (*([named] if named else []), *clock.notes, *notes)
    return Profiles(np.datetime64(int(times[0]), "s"), step, names, full, notes)


def _open(path: Path) -> io.TextIOWrapper:
    raw = path.open("rb")
    magic = raw.read(2)
    raw.seek(0)
    if magic == b"PK":
        raw.close()
        raise InputError(
            f"{path} is a spreadsheet or a zip archive.", "Export it as CSV, or unpack it."
        )
    stream = gzip.GzipFile(fileobj=raw) if magic == b"\x1f\x8b" else raw
    return io.TextIOWrapper(io.BufferedReader(stream, 1 << 20), encoding="utf-8-sig")


def _header(path: Path, line: str) -> tuple[str, ...]:
    cells = [cell.strip() for cell in next(csv.reader([line.strip()]), [])] or [""]
    if cells[0].lower() not in _TIME_NAMES:
        other = ";" in line or "\t" in line
        hint = "Separate the columns with commas, write decimals with a point." if other else ""
        raise InputError(
            f"{path}: the first column is {cells[0][:40]!r}, not 'time'.",
            f"The first line must read: time,home_01,home_02,... {hint}".strip(),
        )
    names = tuple(cells[1:])
    if not names or "" in names:
        raise InputError(
            f"{path}: a column has no name.",
            "Name every column after its home; no comma stands at the end of the line.",
        )
    lower = [n.lower() for n in names]  # homes are found without regard to capitals
    twice = [n for k, n in enumerate(names) if n.lower() in lower[:k]]
    if twice:
        raise InputError(f"{path}: column {twice[0]!r} appears twice.", "Rename one of them.")
    return names


def _blocks(lines: Iterator[str]) -> Iterator[tuple[int, list[str]]]:
    """Blocks of non-empty lines with the number of their first row (the header is row 1)."""
    block: list[str] = []
    row = first = 2
    for line in lines:
        if line.strip(_EMPTY):
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
    path: Path, row: int, block: list[str], names: tuple[str, ...], clock: Clock
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
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
    return times, table


def _row(path: Path, row: int, text: str, names: tuple[str, ...]) -> list[float]:
    """One row the careful way: blank cells become NaN, anything else unreadable is an error."""
    cells = text.split(",")
    if len(cells) != len(names):
        raise InputError(
            f"{path} row {row}: {len(cells)} values, but the header names {len(names)} homes.",
            "Write decimals with a point and no separator of thousands."
            if len(cells) > len(names)
            else "Every row needs one value per column; leave a cell empty where it is missing.",
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
