"""What the homes of a street draw: from a CSV file, or from the built-in household generator.

A CSV (plain or .gz) has the columns `time,home_01,home_02,...`; `time` is ISO 8601 or seconds,
in steps of any one size; values are watts, negative = generation (PV). Power holds until the
next row; after the last row the file starts again.

`python -m pbal_sim.loads --compare` shows the generator beside published statistics.
"""

from __future__ import annotations

import csv
import gzip
import io
import math
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from pbal_sim.errors import LoadsError

Float = npt.NDArray[np.float64]
_MAX_W = 100_000.0


class Loads(Protocol):
    """Watts per home at a time."""

    homes: int

    def at(self, t_s: float) -> Float:
        """Watts of every home at `t_s` seconds of load time; negative = generation."""
        ...


class TableLoads:
    """Loads held in a table: `watts[row, home]`, one row every `step_s` seconds."""

    def __init__(self, watts: Float, step_s: float, names: list[str], start_s: float = 0.0) -> None:
        self.watts = watts
        self.step_s = step_s
        self.names = names
        self.homes = watts.shape[1]
        self.start_s = start_s  # time of day of the first row, when known

    def at(self, t_s: float) -> Float:
        row = int(t_s // self.step_s) % len(self.watts)
        result: Float = self.watts[row]
        return result

    @property
    def duration_s(self) -> float:
        """Time until the table starts again."""
        return len(self.watts) * self.step_s


def header(path: Path) -> list[str]:
    """The names of the homes in a loads file, without its values. Raises LoadsError."""
    first = next(csv.reader(io.StringIO(_text(path))), [])
    return [c.strip() for c in first[1:]]


def read_csv(path: Path, homes: int | None = None) -> TableLoads:
    """Reads a loads file.

    `homes`: only the first so many columns are read. Raises LoadsError, naming the line and what
    to do, for a missing file, missing columns, gaps in time, empty or impossible values.
    """
    return _parse(str(path), csv.reader(io.StringIO(_text(path))), homes)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise LoadsError(f"cannot read {path}: {e.strerror}; give a CSV or CSV.gz file") from e
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError) as e:
            raise LoadsError(f"{path} is a damaged gzip file ({e}); fetch it again") from e
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise LoadsError(f"{path} is not text (byte {e.start}); save it as UTF-8 CSV") from e


def _parse(name: str, rows: Iterator[list[str]], homes: int | None) -> TableLoads:
    header = next(rows, None)
    if not header or header[0].strip().lower() != "time":
        raise LoadsError(f"{name}: the first line must be `time,home_01,home_02,...`")
    names = [c.strip() for c in header[1:]]
    if not names:
        raise LoadsError(f"{name}: no home columns after `time`; add at least home_01")
    if len(set(names)) != len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise LoadsError(f"{name}: the column {twice!r} occurs twice; give each home its own")
    if homes is not None and homes > len(names):
        raise LoadsError(
            f"{name} has {len(names)} homes, {homes} were asked for; use --homes {len(names)}"
        )
    width = len(names)
    times: list[float] = []
    values: list[list[float]] = []
    for line, row in enumerate(rows, start=2):
        if not row or (len(row) == 1 and not row[0].strip()):
            continue
        if len(row) != width + 1:
            raise LoadsError(f"{name}, line {line}: {len(row)} columns, expected {width + 1}")
        times.append(_time(name, line, row[0]))
        try:
            watts = [float(c) for c in row[1:]]
        except ValueError:
            bad = next(i for i, c in enumerate(row[1:]) if not _is_number(c))
            raise LoadsError(
                f"{name}, line {line}: {names[bad]} is {row[bad + 1]!r}, expected watts; "
                "fill gaps before use"
            ) from None
        for i, w in enumerate(watts):
            if not math.isfinite(w) or abs(w) > _MAX_W:
                raise LoadsError(
                    f"{name}, line {line}: {names[i]} is {w:g} W; a home is within "
                    f"+-{_MAX_W:g} W, and NaN is not a load: fill gaps before use"
                )
        values.append(watts)
    if not values:
        raise LoadsError(f"{name}: no rows after the header")
    step = _step(name, times)
    table = np.asarray(values, dtype=np.float64)
    if homes is not None:
        table, names = table[:, :homes], names[:homes]
    return TableLoads(table, step, names, times[0] % 86400.0)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _time(name: str, line: int, text: str) -> float:
    text = text.strip()
    if _is_number(text):
        return float(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise LoadsError(
            f"{name}, line {line}: time {text!r} is neither seconds nor ISO 8601 (2026-01-31T18:05)"
        ) from None
    # Wall time without a zone is taken as it is written: load profiles mean local time of day.
    if moment.tzinfo is None:
        return (moment - datetime(1970, 1, 1)).total_seconds()
    return moment.timestamp()


def _step(name: str, times: list[float]) -> float:
    if len(times) == 1:
        return 60.0
    step = times[1] - times[0]
    if step <= 0:
        raise LoadsError(f"{name}, line 3: time does not grow; sort the rows by time")
    for i in range(1, len(times)):
        gap = times[i] - times[i - 1]
        if abs(gap - step) > 1e-3 * step:
            what = "goes back" if gap <= 0 else f"jumps by {gap:g} s"
            raise LoadsError(
                f"{name}, line {i + 2}: time {what}, expected steps of {step:g} s; "
                "fill the gap or resample"
            )
    return step


def main(argv: list[str] | None = None) -> int:
    """`python -m pbal_sim.loads`: prints the generator's statistics beside published ones."""
    import argparse

    parser = argparse.ArgumentParser(prog="python -m pbal_sim.loads", description=main.__doc__)
    parser.add_argument("--compare", action="store_true", help="print the comparison (default)")
    parser.add_argument("--homes", type=int, default=100)
    parser.add_argument("--days", type=int, default=28, help="spread over the four seasons")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    from pbal_sim.statistics import compare, table

    rows = compare(options.homes, options.days, options.seed)
    if options.json:
        import json

        print(json.dumps([vars(r) for r in rows], indent=1))
    else:
        print(table(rows))
    return 0 if all(r.inside for r in rows) else 1


if __name__ == "__main__":
    raise SystemExit(main())
