"""The utility's own list of transformers as CSV: read, compared, and only then taken over.

Columns, by their names in the first line, in any order: code, state, district, division, feeder are
needed; name, latitude, longitude, rated_kva, customers may be there. A transformer that is in the
database and not in the list stays as it is, and is counted. A list with an error is refused.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from typing import Any

from psycopg.rows import dict_row

from pbal_hq import audit
from pbal_hq.auth import Permission, Who
from pbal_hq.database import Connection
from pbal_hq.errors import BadInput
from pbal_hq.registry import area_path

NEEDED = ("code", "state", "district", "division", "feeder")
NUMBERS = {
    "latitude": (-90.0, 90.0),
    "longitude": (-180.0, 180.0),
    "rated_kva": (0.1, 100_000.0),
    "customers": (0.0, 100_000.0),
}
MOST = 200_000
_SHOWN = 200


@dataclass(frozen=True)
class Entry:
    """One line. `place`: STATE/DISTRICT/DIVISION/FEEDER."""

    code: str
    place: str
    name: str
    latitude: float | None
    longitude: float | None
    rated_kva: float | None
    customers: int | None


@dataclass(frozen=True)
class Change:
    """One transformer of the list that differs. `what`: words; empty for a new one."""

    code: str
    what: str


@dataclass(frozen=True)
class Comparison:
    """What taking the list over would do; the first of the changes."""

    new: int
    changed: int
    same: int
    absent: int
    changes: list[Change]


def read(text: str) -> list[Entry]:
    """The lines. Raises BadInput, which names the line and the column."""
    lines = csv.reader(io.StringIO(text))
    try:
        head = [cell.strip().lower() for cell in next(lines, [])]
        known = {*NEEDED, "name", *NUMBERS}
        for name in NEEDED:
            if name not in head:
                raise BadInput(f"The first line names no column {name}. Needed: {_words(NEEDED)}.")
        strange = sorted(set(head) - known)
        if strange:
            raise BadInput(f"There is no column {strange[0]!r}. There are: {_words(known)}.")
        if len(set(head)) != len(head):
            raise BadInput("A column stands twice in the first line.")
        out: dict[str, Entry] = {}
        for cells in lines:
            if not any(cell.strip() for cell in cells):
                continue
            where = f"Line {lines.line_num}"
            if len(cells) != len(head):
                raise BadInput(f"{where}: {len(cells)} cells, and the first line has {len(head)}.")
            entry = _entry(dict(zip(head, (c.strip() for c in cells), strict=True)), where)
            if entry.code in out:
                raise BadInput(f"{where}: code {entry.code} stands twice.")
            out[entry.code] = entry
            if len(out) > MOST:
                raise BadInput(f"More than {MOST} lines: divide the list.")
    except csv.Error as error:
        raise BadInput(f"Line {lines.line_num}: no CSV: {error}") from None
    if not out:
        raise BadInput("The list has no transformers.")
    return list(out.values())


def _words(names: Any) -> str:
    return ", ".join(sorted(names))


def _entry(cells: dict[str, str], where: str) -> Entry:
    for name in NEEDED:
        if not 1 <= len(cells[name]) <= 64 or ("/" in cells[name] and name != "code"):
            raise BadInput(f"{where}, {name}: 1 to 64 characters, and no slash in an area.")
    if not all(cell.isprintable() for cell in cells.values()):
        raise BadInput(f"{where}: a character that cannot be shown.")
    if len(cells.get("name", "")) > 200:
        raise BadInput(f"{where}, name: at most 200 characters.")
    numbers: dict[str, float | None] = {}
    for name, (low, high) in NUMBERS.items():
        given = cells.get(name, "")
        try:
            value = float(given) if given else None
        except ValueError:
            raise BadInput(f"{where}, {name}: {given!r} is no number; use a point.") from None
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise BadInput(f"{where}, {name}: {given} is not within {low:g} to {high:g}.")
        numbers[name] = value
    customers = numbers["customers"]
    return Entry(
        cells["code"], "/".join(cells[level] for level in NEEDED[1:]), cells.get("name", ""),
        numbers["latitude"], numbers["longitude"], numbers["rated_kva"],
        None if customers is None else round(customers),
    )  # fmt: skip


_KNOWN = """
SELECT t.code, t.name, t.latitude, t.longitude, t.rated_kva::float8 AS rated_kva, t.customers,
    (SELECT string_agg(a.code, '/' ORDER BY area_level(a.level)) FROM area_within w
     JOIN area a ON a.id = w.ancestor_id WHERE w.area_id = t.feeder_id) AS place
FROM transformer t
"""


async def _known(conn: Connection) -> dict[str, dict[str, Any]]:
    async with conn.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_KNOWN)
        return {row["code"]: row for row in await cursor.fetchall()}


def _differs(entry: Entry, row: dict[str, Any]) -> str:
    """What is another, in words. What the list leaves empty is kept."""
    said = []
    for name in ("place", "name", "latitude", "longitude", "rated_kva", "customers"):
        new, old = getattr(entry, name), row[name]
        if new in (None, ""):
            continue
        close = (
            isinstance(new, float) and old is not None and math.isclose(new, old, rel_tol=1e-6)
        )  # fmt: skip
        if not close and new != old:
            said.append(f"{name} {'none' if old in (None, '') else old} becomes {new}")
    return "; ".join(said)


async def compare(conn: Connection, who: Who, text: str) -> Comparison:
    """What taking it over would do. Raises NotAllowed, BadInput."""
    who.scope(Permission.IMPORT)
    return (await _compare(conn, read(text)))[0]


async def _compare(conn: Connection, entries: list[Entry]) -> tuple[Comparison, list[Entry]]:
    known = await _known(conn)
    todo: list[Entry] = []
    changes: list[Change] = []
    new = 0
    for entry in entries:
        row = known.get(entry.code)
        what = "" if row is None else _differs(entry, row)
        if row is not None and not what:
            continue
        new += row is None
        todo.append(entry)
        changes.append(Change(entry.code, what))
    here = {entry.code for entry in entries}
    return Comparison(
        new, len(todo) - new, len(entries) - len(todo), len(set(known) - here), changes[:_SHOWN]
    ), todo  # fmt: skip


async def take(conn: Connection, who: Who, text: str) -> Comparison:
    """Take it over: all of it or nothing. Raises NotAllowed, BadInput."""
    who.scope(Permission.IMPORT)
    entries = read(text)
    async with conn.transaction():
        # Two lists at once: one after the other.
        await conn.execute("SELECT pg_advisory_xact_lock(hashtext('pbal transformers'))")
        done, todo = await _compare(conn, entries)
        feeders = {place: await area_path(conn, place) for place in {e.place for e in todo}}
        async with conn.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO transformer (code, name, feeder_id, latitude, longitude, rated_kva,"
                " customers) VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (code) DO UPDATE SET"
                " name = coalesce(nullif(excluded.name, ''), transformer.name),"
                " feeder_id = excluded.feeder_id,"
                " latitude = coalesce(excluded.latitude, transformer.latitude),"
                " longitude = coalesce(excluded.longitude, transformer.longitude),"
                " rated_kva = coalesce(excluded.rated_kva, transformer.rated_kva),"
                " customers = coalesce(excluded.customers, transformer.customers),"
                " updated_at = now()",
                [(e.code, e.name, feeders[e.place], e.latitude, e.longitude, e.rated_kva,
                  e.customers) for e in todo],
            )  # fmt: skip
        await audit.append(conn, who.name, "transformer.import", "transformers",
                           {"new": done.new, "changed": done.changed, "same": done.same,
                            "changes": [c.code for c in done.changes]})  # fmt: skip
    return done
