"""Lists that people keep in spreadsheets, as CSV."""

import csv
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

_OTHER_MARKS = {";": "semicolons", "\t": "tabs"}


def rows(
    path: Path, known: tuple[str, ...], note: str = ""
) -> Iterator[tuple[int, list[str], list[str]]]:
    """Line number, columns in small letters, and cells of each row that is not empty.

    `known`: the columns that there may be; the first must be there. `note` follows their list where
    it is not. Raises InputError.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            first = next(reader, [])
            columns = [cell.strip().lower() for cell in first]
            _check_columns(path, columns, ",".join(first), known, note)
            for cells in reader:
                # Spreadsheets leave rows of empty cells behind the last one.
                if any(cell.strip() for cell in cells):
                    yield reader.line_num, columns, cells
    except (UnicodeDecodeError, csv.Error) as exc:
        raise InputError(
            f"{path} cannot be read: {exc}",
            "It must be a CSV file in UTF-8; in a spreadsheet: save as 'CSV UTF-8'.",
        ) from exc


def _check_columns(
    path: Path, columns: list[str], line: str, known: tuple[str, ...], note: str
) -> None:
    if known[0] not in columns:
        other = next((name for mark, name in _OTHER_MARKS.items() if mark in line), "")
        raise InputError(
            f"{path}: there is no column {known[0]!r}.",
            (f"Separate the cells with commas, not {other}. " if other else "")
            + f"The first line names the columns: {','.join(known)}{note}.",
        )
    odd = [c for c in columns if c not in known]
    if odd:
        raise InputError(
            f"{path}: unknown column {odd[0]!r}.", f"Known columns: {', '.join(known)}."
        )
    twice = [c for c in columns if columns.count(c) > 1]
    if twice:
        raise InputError(f"{path}: column {twice[0]!r} appears twice.", "Keep one of them.")
