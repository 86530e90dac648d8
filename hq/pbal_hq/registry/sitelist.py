"""A list of sites to add at once: a CSV file, read and checked, every error with its line."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pbal_hq.errors import BadInput
from pbal_hq.registry.listing import file_text

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
    lines = csv.DictReader(io.StringIO(file_text(file, _MOST_BYTES)), strict=True)
    try:
        heads = lines.fieldnames or []
        rows = [(lines.line_num, row) for row in lines]
    except csv.Error as error:
        raise BadInput(f"{file}: no CSV: {error}") from None
    lacking = [name for name in _COLUMNS[:2] if name not in heads]
    if lacking:
        raise BadInput(f"{file}: no column {lacking[0]}; needs {', '.join(_COLUMNS[:2])}")
    strange = [name for name in heads if name not in _COLUMNS]
    if strange:
        raise BadInput(
            f"{file}: column {strange[0]!r} is not known; there are: {', '.join(_COLUMNS)}"
        )
    if not rows:
        raise BadInput(f"{file}: lists no site")
    return [_site(file, line, row) for line, row in rows]


def _site(file: Path, line: int, row: dict[Any, Any]) -> ListedSite:
    if None in row:  # where csv puts what has no column
        raise BadInput(f"{file}: line {line}: more cells than the head has")
    cells = {name: (row.get(name) or "").strip() for name in _COLUMNS}
    if not cells["site"].isascii() or not cells["site"].isdigit():
        raise BadInput(f"{file}: line {line}: site {cells['site']!r} is no number")
    if not cells["transformer"]:
        raise BadInput(f"{file}: line {line}: no transformer")
    return ListedSite(
        line, int(cells["site"]), cells["transformer"], cells["group"] or "pbal", cells["node"],
        cells["name"],
    )  # fmt: skip
