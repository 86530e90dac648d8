"""The spreadsheet of a site's homes, exported as CSV: read once, for every command that takes it.

One line for each home, a line of column names first. Only `address` is required; each command uses
the columns that it knows what to do with.
"""

import codecs
import csv
import io
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pbal_controller.naming import check_name, one_line

from .errors import InputError

COLUMNS = (
    "address", "name", "bus", "feeder", "phase", "bearer", "fixed", "eui", "board", "fuse_a",
    "lat", "lon", "x_m", "y_m",
)  # fmt: skip
_TRUE, _FALSE = {"1", "yes", "true", "y", "x"}, {"0", "no", "false", "n"}
_PHASES = {"": None, "A": 1, "B": 2, "C": 3, "1": 1, "2": 2, "3": 3}
_MAX_BYTES = 4 * 1024 * 1024
_DIGITS_MAX = 9


@dataclass(frozen=True)
class Row:
    """One home. None or "" where the cell is empty; phase 1..3."""

    line: int
    address: int
    name: str = ""
    bus: str = ""
    feeder: str = ""
    phase: int | None = None
    bearer: str = ""
    fixed: bool | None = None
    eui: str = ""
    board: str = ""
    fuse_a: float | None = None
    lat: float | None = None  # degrees, north and east; both or neither
    lon: float | None = None
    x_m: float | None = None  # metres, east and north; both or neither
    y_m: float | None = None


def is_address(address: int) -> bool:
    """Whether a node can have it: segment * 256 + unit 1..247."""
    return 1 <= address <= 0xFFFF and 1 <= address & 0xFF <= 247


def read(path: Path) -> list[Row]:
    """The homes of a CSV file, in its order. Raises InputError naming the line."""
    text = _text(path)
    first = text.partition("\n")[0]
    if "\t" in first and "," not in first and ";" not in first:
        raise InputError(f"{path} is separated by tabs.", "Separate with commas or semicolons.")
    # An open quote would extend over the lines that follow: strict reports it.
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=";" if first.count(";") else ",", strict=True
    )
    rows: list[Row] = []
    lines: dict[int, int] = {}
    begun = 1
    try:
        columns = _columns(path, next(reader, []))
        for cells in reader:
            line, begun = begun + 1, reader.line_num
            if not any(cell.strip() for cell in cells):
                continue
            row = _row(path, line, columns, cells)
            if row.address in lines:
                raise InputError(
                    f"{path}, line {line}: address {row.address} is also in line "
                    f"{lines[row.address]}.",
                    "Addresses are unique at a site.",
                )
            lines[row.address] = line
            rows.append(row)
    except csv.Error as exc:
        raise InputError(
            f"{path}, line {reader.line_num}: the quotes do not fit ({exc}).",
            "Look at that line and at those above it.",
        ) from None
    if not rows:
        raise InputError(f"{path} names no home.", "Add a line for each.")
    return rows


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise InputError(f"{path} is larger than any list of homes.", "Name another file.")
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.", "Check the path.") from None
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc}.", "Check the file.") from None
    return _decoded(path, data)


def _decoded(path: Path, data: bytes) -> str:
    """The text: UTF-8, or another encoding of spreadsheets. Says so where it had to guess."""
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        remedy = "Save it as 'CSV UTF-8'."
        if utf16 or b"\0" in data:
            raise InputError(f"{path}, line {line}: this is no text.", remedy) from None
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise InputError(f"{path}, line {line}: neither UTF-8 nor Windows-1252.", remedy) from None
    shown = one_line(text.splitlines()[line - 1])[:60]
    print(
        f"pbal: note: {path} is not UTF-8; it is read as Windows-1252, as Excel's plain CSV is. "
        f"Line {line} reads: {shown}",
        file=sys.stderr,
    )
    return text


def _columns(path: Path, cells: list[str]) -> list[str]:
    names = [cell.strip().lower() for cell in cells]
    unknown = sorted(set(names) - set(COLUMNS) - {""})
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if "address" not in names or unknown or twice:
        what = "there is no column 'address'"
        if twice:
            what = f"column {twice[0]!r} is there twice"
        elif unknown:
            what = f"unknown columns {unknown}"
        raise InputError(f"{path}: {what}.", f"Columns: {', '.join(COLUMNS)}.")
    return names


def _row(path: Path, line: int, columns: list[str], cells: list[str]) -> Row:
    def bad(words: str) -> InputError:
        return InputError(f"{path}, line {line}: {words}", "Correct that line.")

    if any(cell.strip() for cell in cells[len(columns) :]):
        raise bad(
            f"{len(cells)} cells, but {len(columns)} columns; a cell with a comma in it goes in "
            "quotes."
        )
    told = {name: one_line(cell) for name, cell in zip(columns, cells, strict=False) if name}
    for name, cell in told.items():
        try:
            check_name(cell)
        except ValueError as exc:
            raise bad(f"{name} {exc}.") from None
    address = _address(told.get("address", ""))
    if address is None:
        raise bad(
            f"{told.get('address', '')!r} is no node address; it is segment * 256 + unit, unit "
            "1..247."
        )
    fixed = told.get("fixed", "").lower()
    if fixed and fixed not in _TRUE | _FALSE:
        raise bad(f"fixed is {fixed!r}, not yes or no.")
    phase = told.get("phase", "").upper()
    if phase not in _PHASES:
        raise bad(f"phase is {phase!r}, not A, B or C.")
    eui = told.get("eui", "").lower().replace("-", "").replace(":", "")
    if eui and not re.fullmatch("[0-9a-f]{16}", eui):
        raise bad(f"eui {eui!r} must be 16 hex digits.")
    fuse = told.get("fuse_a", "").replace(",", ".")
    if fuse and not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3})?", fuse, re.ASCII):
        raise bad(f"fuse_a is {fuse!r}, not the rated current of a fuse, A.")
    lat, lon = _pair(told, "lat", "lon", 90, 180, bad)
    x_m, y_m = _pair(told, "x_m", "y_m", 1e6, 1e6, bad)
    return Row(
        line, address, told.get("name", ""), told.get("bus", ""), told.get("feeder", ""),
        _PHASES[phase], told.get("bearer", ""), fixed in _TRUE if fixed else None, eui,
        told.get("board", ""), float(fuse) if fuse else None, lat, lon, x_m, y_m,
    )  # fmt: skip


def _pair(
    told: dict[str, str], one: str, other: str, most: float, most_other: float,
    bad: Callable[[str], InputError],
) -> tuple[float | None, float | None]:  # fmt: skip
    """Two coordinates that belong together; None for both when the line has neither."""
    found: list[float | None] = []
    for name, limit in ((one, most), (other, most_other)):
        text = told.get(name, "").replace(",", ".")
        if not text:
            found.append(None)
            continue
        if not re.fullmatch(r"[+-]?[0-9]{1,7}(\.[0-9]{1,12})?", text, re.ASCII):
            unit = "degrees" if name in ("lat", "lon") else "metres"
            raise bad(f"{name} is {text!r}, not a number of {unit}.")
        if abs(float(text)) > limit:
            raise bad(f"{name} is {text}; at most {limit:g} either way.")
        found.append(float(text))
    if (found[0] is None) != (found[1] is None):
        raise bad(f"{one} and {other} belong together; one of them is missing.")
    return found[0], found[1]


def _address(text: str) -> int | None:
    """An address as people and spreadsheets write it: 12, 012, 12.0, 0x010c."""
    match = re.fullmatch(r"([0-9]+)(?:[.,]0+)?|0x([0-9a-f]+)", text, re.IGNORECASE | re.ASCII)
    if match is None or len(text) > _DIGITS_MAX:
        return None
    address = int(match[1]) if match[1] else int(match[2], 16)
    return address if is_address(address) else None
