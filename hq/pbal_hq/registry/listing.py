"""A utility's own list of transformers: a CSV file, read and checked, every error with its place.

Text is UTF-8, cells are separated by comma, semicolon or tab (then a decimal comma is understood).
A missing column or an empty cell leaves the value as it is.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pbal_hq.errors import BadInput
from pbal_hq.registry.tree import LEVELS

NEEDED = ("code", *LEVELS)
OPTIONAL = ("name", "latitude", "longitude", "rated_kva", "customers")
COLUMNS = (*NEEDED, *OPTIONAL)
_MAX_BYTES = 200_000_000
_MOST_COMPLAINTS = 20
_TEXT = {"code": 64, "name": 200} | dict.fromkeys(LEVELS, 64)
_RANGE = {
    "latitude": (-90.0, 90.0), "longitude": (-180.0, 180.0), "rated_kva": (0.1, 100_000.0),
    "customers": (0, 1_000_000),
}  # fmt: skip


@dataclass(frozen=True)
class Listed:
    """One transformer of the list. `values`: of OPTIONAL, those that the list says."""

    line: int
    code: str
    path: tuple[str, ...]
    values: dict[str, str | float | int] = field(default_factory=dict)


class _Complaints:
    def __init__(self, where: str) -> None:
        self._where = where
        self.lines: list[str] = []
        self.count = 0

    def add(self, line: int, column: str, why: str) -> None:
        self.count += 1
        if len(self.lines) < _MOST_COMPLAINTS:
            self.lines.append(f"{self._where}: line {line}, {column}: {why}")

    def raise_any(self) -> None:
        if self.count:
            more = self.count - len(self.lines)
            raise BadInput("\n".join([*self.lines, *([f"and {more} more"] if more else [])]))


def read_list(file: Path, names: Mapping[str, str] | None = None) -> list[Listed]:
    """The list of a file; what `read_text` says, with its text."""
    return read_text(file_text(file, _MAX_BYTES), str(file), names)


def read_text(
    text: str, where: str, names: Mapping[str, str] | None = None, *, exact: bool = False
) -> list[Listed]:
    """The list of a text.

    `names`: our column -> the list's own name of it; `where`: the list, in complaints;
    `exact`: a column that is none of ours is a mistake; else it is left out.
    Raises BadInput with every complaint (the first twenty), each with line and column.
    """
    text = text.removeprefix("\ufeff")
    comma = _delimiter(text)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=comma, strict=True)
    try:
        head = [_tidy(cell) for cell in next(rows, [])]
        places = _places(where, head, names or {})
        if exact and (strange := [cell for n, cell in enumerate(head) if n not in places.values()]):
            raise BadInput(
                f"{where}: {strange[0]!r} is no column; columns are {', '.join(COLUMNS)}"
            )
        found = _rows(rows, head, places, _Complaints(where), decimal_comma=comma != ",")
    except csv.Error as error:
        raise BadInput(f"{where}: line {rows.line_num}: {error}") from None
    if not found:
        raise BadInput(f"{where}: lists no transformer")
    return found


def _rows(
    rows: Any, head: list[str], places: Mapping[str, int], complaints: _Complaints, *,
    decimal_comma: bool,
) -> list[Listed]:  # fmt: skip
    found: list[Listed] = []
    seen: dict[str, int] = {}
    for cells in rows:
        line = rows.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(head):
            complaints.add(line, "the row", f"has {len(cells)} cells, the head {len(head)}")
            continue
        row = {name: cells[place] for name, place in places.items()}
        listed = _row(row, line, complaints, decimal_comma=decimal_comma)
        if listed is None:
            continue
        if listed.code in seen:
            complaints.add(line, "code", f"{listed.code} is on line {seen[listed.code]}, too")
        seen[listed.code] = line
        found.append(listed)
    complaints.raise_any()
    return found


def file_text(file: Path, most_bytes: int) -> str:
    """The text of a list's file, UTF-8. Raises BadInput."""
    try:
        if file.stat().st_size > most_bytes:
            raise BadInput(f"{file}: has more than {most_bytes // 1_000_000} MB")
        return file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: is no UTF-8 text ({error.reason} at byte {error.start})") from None


def _delimiter(text: str) -> str:
    head = text.partition("\n")[0]
    return max(",;\t", key=head.count)


def _tidy(cell: str) -> str:
    return " ".join(cell.split())


def _places(file: str, head: list[str], names: Mapping[str, str]) -> dict[str, int]:
    strange = sorted(set(names) - set(COLUMNS))
    if strange:
        raise BadInput(f"there is no column {strange[0]}; columns are {', '.join(COLUMNS)}")
    lower = [cell.lower() for cell in head]
    places = {}
    for column in COLUMNS:
        own = _tidy(names.get(column, column)).lower()
        if lower.count(own) > 1:
            raise BadInput(f"{file}: two columns are named {own!r}")
        if own in lower:
            places[column] = lower.index(own)
        elif column in NEEDED or column in names:
            raise BadInput(
                f"{file}: has no column {own!r}; it has {', '.join(filter(None, head)) or 'none'}. "
                f"Say which one it is: --column {column}=NAME"
            )
    return places


def _row(
    row: Mapping[str, str], line: int, complaints: _Complaints, *, decimal_comma: bool
) -> Listed | None:
    before = complaints.count
    texts: dict[str, str] = {}
    numbers: dict[str, float] = {}
    for column, cell in row.items():
        value = _tidy(cell)
        if any(unicodedata.category(c) in ("Cc", "Cf", "Cs") for c in cell.strip()):
            complaints.add(line, column, "holds a control character")
        elif not value:
            if column in NEEDED:
                complaints.add(line, column, "is empty")
        elif column in _TEXT:
            if len(value) > _TEXT[column]:
                complaints.add(line, column, f"has more than {_TEXT[column]} characters")
            elif column in LEVELS and "/" in value:
                complaints.add(line, column, f"{value!r}: a slash separates areas")
            else:
                texts[column] = value
        else:
            number = _number(column, value, line, complaints, decimal_comma=decimal_comma)
            if number is not None:
                numbers[column] = number
    if ("latitude" in numbers) != ("longitude" in numbers):
        complaints.add(line, "latitude, longitude", "are given both or neither")
    elif numbers.get("latitude") == 0 == numbers.get("longitude"):
        complaints.add(line, "latitude, longitude", "are 0, 0; leave them empty where not known")
    if complaints.count > before:
        return None
    values: dict[str, str | float | int] = {}
    if "name" in texts:
        values["name"] = texts["name"]
    for column, number in numbers.items():
        values[column] = int(number) if column == "customers" else number
    return Listed(line, texts["code"], tuple(texts[level] for level in LEVELS), values)


def _number(
    column: str, text: str, line: int, complaints: _Complaints, *, decimal_comma: bool
) -> float | None:
    try:
        number = float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        complaints.add(line, column, f"{text!r} is no number")
        return None
    low, high = _RANGE[column]
    if not low <= number <= high:  # also for what is no number
        complaints.add(line, column, f"{text} is outside {low:g}..{high:g}")
        return None
    if column == "customers" and number != int(number):
        complaints.add(line, column, f"{text} is no whole number")
        return None
    return number
