"""A utility's list against the registry: what is new, what changes, what is absent; then taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from psycopg import sql

from pbal_hq.database import Connection
from pbal_hq.registry.listing import OPTIONAL, Listed
from pbal_hq.registry.tree import area_path

_PLACE = "place"


@dataclass(frozen=True)
class Change:
    """One value of one transformer. `old` None: not known before."""

    code: str
    what: str
    old: object
    new: object


@dataclass
class Difference:
    """What taking the list would do."""

    new: list[Listed] = field(default_factory=list)
    changed: list[Change] = field(default_factory=list)
    same: int = 0
    absent: list[str] = field(default_factory=list)  # in service here, and not on the list

    @property
    def changes(self) -> int:
        """How many transformers change."""
        return len({change.code for change in self.changed})


_KNOWN = """
    SELECT t.code, t.in_service, a.code, b.code, c.code, d.code, {optional}
    FROM transformer t JOIN area d ON d.id = t.feeder_id JOIN area c ON c.id = d.parent_id
    JOIN area b ON b.id = c.parent_id JOIN area a ON a.id = b.parent_id
"""


async def differ(db: Connection, listed: Sequence[Listed]) -> Difference:
    """Compare; changes nothing."""
    optional = sql.SQL(", ").join(sql.Identifier("t", name) for name in OPTIONAL)
    cursor = await db.execute(sql.SQL(_KNOWN).format(optional=optional))
    known = {row[0]: row for row in await cursor.fetchall()}
    out = Difference()
    for row in listed:
        old = known.pop(row.code, None)
        if old is None:
            out.new.append(row)
            continue
        found = _changes(row, old)
        out.changed += found
        out.same += not found
    out.absent = sorted(code for code, row in known.items() if row[1])
    return out


def _changes(row: Listed, old: Sequence[object]) -> list[Change]:
    out = []
    if tuple(old[2:6]) != row.path:
        out.append(Change(row.code, _PLACE, "/".join(map(str, old[2:6])), "/".join(row.path)))
    if not old[1]:
        out.append(Change(row.code, "in_service", False, True))
    for name, before in zip(OPTIONAL, old[6:], strict=True):
        if name in row.values and not _equal(before, row.values[name]):
            out.append(Change(row.code, name, before, row.values[name]))
    return out


def _equal(before: object, now: object) -> bool:
    if isinstance(before, float) and isinstance(now, int | float):
        return abs(before - now) <= 1e-6 * max(1.0, abs(now))  # rated_kva is kept as real
    return before == now


async def take(
    db: Connection, listed: Sequence[Listed], difference: Difference, *, retire: bool
) -> None:
    """Take the list, all of it or none. `retire`: what it lacks is out of service."""
    touched = {row.code for row in difference.new} | {each.code for each in difference.changed}
    feeders: dict[tuple[str, ...], int] = {}
    columns = ["code", "feeder_id", *OPTIONAL]
    # What the list does not say stays as it is.
    keep = sql.SQL(", ").join(
        sql.SQL("{0} = coalesce(EXCLUDED.{0}, transformer.{0})").format(sql.Identifier(name))
        for name in OPTIONAL
        if name != "name"
    )
    statement = sql.SQL(
        "INSERT INTO transformer ({columns}) VALUES ({values}) ON CONFLICT (code) DO UPDATE SET "
        "feeder_id = EXCLUDED.feeder_id, in_service = true, updated_at = now(), "
        "name = coalesce(nullif(EXCLUDED.name, ''), transformer.name), {keep}"
    ).format(
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        values=sql.SQL(", ").join(sql.Placeholder() * len(columns)),
        keep=keep,
    )
    async with db.transaction():
        # Two lists at once: one after the other.
        await db.execute("SELECT pg_advisory_xact_lock(hashtext('pbal transformers'))")
        rows = []
        for row in listed:
            if row.code not in touched:
                continue
            if row.path not in feeders:
                feeders[row.path] = await area_path(db, "/".join(row.path))
            values = {"name": "", **row.values}
            rows.append([row.code, feeders[row.path], *(values.get(name) for name in OPTIONAL)])
        async with db.cursor() as cursor:
            await cursor.executemany(statement, rows)
        if retire:
            await db.execute(
                "UPDATE transformer SET in_service = false, updated_at = now() "
                "WHERE code = ANY(%s)",
                (difference.absent,),
            )
