"""A list of sites to add at once: a CSV file, read and checked, every error with its line."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from pbal_hq.errors import BadInput

_COLUMNS = ("site", "transformer", "group", "node", "name")
_MOST_BYTES = 20_000_000


@dataclass(frozen=True)
class ListedSite:
    """One line. `transformer`: its code; empty texts: the default."""

    line: int
    site: int
    transformer: str
    group: str
    node: str
    name: str


def read_sites(file: Path) -> list[ListedSite]:
    """The sites of a file (UTF-8; columns site, transformer, and group, node, name).

    Raises BadInput.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise BadInput(f"{file}: cannot be read: {error.strerror}") from None
    if len(data) > _MOST_BYTES:
        raise BadInput(f"{file}: larger than {_MOST_BYTES // 1_000_000} MB; is it a list of sites?")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: byte {error.start} is not UTF-8; save it as CSV UTF-8") from None
    try:
        rows = list(csv.DictReader(io.StringIO(text), strict=True))
    except csv.Error as error:
        raise BadInput(f"{file}: no CSV: {error}") from None
    heads = list(rows[0]) if rows else []
    lacking = [name for name in _COLUMNS[:2] if name not in heads]
    if lacking:
        raise BadInput(f"{file}: no column {lacking[0]}; needs {', '.join(_COLUMNS[:2])}")
    strange = [name for name in heads if name not in _COLUMNS]
    if strange:
        raise BadInput(f"{file}: column {strange[0]!r} is not known; there are: {_COLUMNS}")
    return [_site(file, line, row) for line, row in enumerate(rows, 2)]


def _site(file: Path, line: int, row: dict[str, str | None]) -> ListedSite:
    cells = {name: (row.get(name) or "").strip() for name in _COLUMNS}
    if not cells["site"].isascii() or not cells["site"].isdigit():
        raise BadInput(f"{file}: line {line}: site {cells['site']!r} is no number")
    if not cells["transformer"]:
        raise BadInput(f"{file}: line {line}: no transformer")
    return ListedSite(
        line, int(cells["site"]), cells["transformer"], cells["group"] or "pbal", cells["node"],
        cells["name"],
    )  # fmt: skip
