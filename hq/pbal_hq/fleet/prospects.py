"""Where next: the results of `pbal study fleet` (fleet.csv), for transformers without a site."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from pbal_hq import audit
from pbal_hq.auth import IN_SCOPE, Permission, Who
from pbal_hq.database import Connection
from pbal_hq.errors import BadInput

# Columns of fleet.csv that are kept; docs/fleet.md says what each is.
KEPT = (
    "homes", "rated_kva", "neutral_cut", "losses_saved_kwh_per_year", "invested", "net_per_year",
    "pay_back_years", "net_present_value", "capacity_released_kw", "violations_built",
    "violations_gone",
)  # fmt: skip
_NEEDED = ("station", "status", "rank")
_MOST_ROWS = 200_000


@dataclass(frozen=True)
class Prospect:
    """One station of the study. `transformer_id` None: the registry has no such code."""

    code: str
    transformer_id: int | None
    name: str
    has_site: bool
    rank: int | None
    figures: dict[str, float]
    taken_at: datetime


def read(text: str) -> list[tuple[str, int | None, dict[str, float]]]:
    """(station, rank, figures) of a fleet.csv; stations that failed are left out. Raises BadInput
    with the line."""
    lines = csv.DictReader(io.StringIO(text))
    missing = [name for name in _NEEDED if name not in (lines.fieldnames or ())]
    if missing:
        raise BadInput(
            f"There is no column {missing[0]}: this is not fleet.csv of `pbal study fleet`."
        )
    out: dict[str, tuple[str, int | None, dict[str, float]]] = {}
    try:
        for number, row in enumerate(lines, start=2):
            if number > _MOST_ROWS:
                raise BadInput(f"More than {_MOST_ROWS} stations.")
            code = (row["station"] or "").strip()
            if row["status"] != "done":
                continue
            if not code or len(code) > 64:
                raise BadInput(f"line {number}: station: 1 to 64 characters.")
            if code in out:
                raise BadInput(f"line {number}: station {code} is there twice.")
            figures = {name: _number(row.get(name), number, name) for name in KEPT}
            rank = _number(row["rank"], number, "rank")
            known = {name: value for name, value in figures.items() if value is not None}
            out[code] = (code, None if rank is None else int(rank), known)
    except csv.Error as error:
        raise BadInput(f"line {lines.line_num}: {error}") from None
    if not out:
        raise BadInput("No station of this list is done.")
    return list(out.values())


def _number(text: str | None, line: int, column: str) -> float | None:
    if text is None or not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        raise BadInput(f"line {line}: {column}: {text[:20]!r} is no number.") from None
    return value if math.isfinite(value) else None


async def take(conn: Connection, who: Who, text: str) -> int:
    """Put a study in the place of the one before; how many stations. Raises NotAllowed,
    BadInput."""
    who.scope(Permission.IMPORT)
    found = read(text)
    async with conn.transaction():
        await conn.execute("DELETE FROM prospect")
        async with conn.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO prospect (code, transformer_id, rank, figures) VALUES (%s,"
                " (SELECT id FROM transformer WHERE code = %s), %s, %s)",
                [(code, code, rank, Jsonb(figures)) for code, rank, figures in found],
            )
        await audit.append(conn, who.name, "study.import", "prospects", {"stations": len(found)})
    return len(found)


async def prospects(
    conn: Connection, who: Who, *, all_of_them: bool = False, limit: int = 50, offset: int = 0
) -> list[Prospect]:
    """By the study's rank; those without a site, or all. Stations that the registry does not know
    are for those who see the whole tree. Raises NotAllowed."""
    scope = who.scope(Permission.TREE_READ)
    # As conditions that the order by rank can be walked with, until there are enough.
    seen = "true" if scope.whole else f"(t.id IS NOT NULL AND {IN_SCOPE})"
    without = "" if all_of_them else " AND s.id IS NULL"
    values: dict[str, Any] = scope.parameters() | {"limit": limit, "offset": offset}
    async with conn.cursor(row_factory=class_row(Prospect)) as cursor:
        await cursor.execute(
            "SELECT p.code, t.id AS transformer_id, coalesce(t.name, '') AS name,"
            " s.id IS NOT NULL AS has_site, p.rank, p.figures, p.taken_at FROM prospect p"
            " LEFT JOIN transformer t ON t.id = p.transformer_id"
            " LEFT JOIN site s ON s.transformer_id = t.id AND s.removed_at IS NULL"
            f" WHERE {seen}{without}"
            " ORDER BY p.rank NULLS LAST, p.code LIMIT %(limit)s OFFSET %(offset)s",
            values,
        )
        return await cursor.fetchall()
