"""One transformer: its present state, its last day, its events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row, dict_row

from pbal_hq.auth import IN_SCOPE, Permission, Who
from pbal_hq.database import Connection
from pbal_hq.errors import NothingToDo
from pbal_hq.fleet.ranking import Row, shown


@dataclass(frozen=True)
class Transformer:
    """A transformer with its latest window (`window`: columns of the table summary, or None) and
    what its controller last said of itself (`state`: fields of pbal_uplink.State, or None)."""

    row: Row
    path: str
    customers: int | None
    window: dict[str, Any] | None
    state: dict[str, Any] | None


async def transformer(conn: Connection, who: Who, transformer_id: int) -> Transformer:
    """Raises NotAllowed, NothingToDo."""
    values = who.scope(Permission.TREE_READ).parameters() | {"id": transformer_id}
    async with conn.cursor(row_factory=class_row(Row)) as cursor:
        await cursor.execute(shown(f"{IN_SCOPE} AND t.id = %(id)s"), values)
        row = await cursor.fetchone()
    if row is None:
        raise NothingToDo("There is no such transformer.")
    async with conn.cursor(row_factory=dict_row) as plain:
        await plain.execute(
            "SELECT string_agg(a.name, ' / ' ORDER BY area_level(a.level)) AS path, t.customers"
            " FROM transformer t JOIN area_within w ON w.area_id = t.feeder_id"
            " JOIN area a ON a.id = w.ancestor_id WHERE t.id = %s GROUP BY t.id",
            (transformer_id,),
        )
        place = await plain.fetchone()
        assert place is not None
        await plain.execute(
            "SELECT * FROM summary WHERE transformer_id = %s AND start_at = %s",
            (transformer_id, row.window_at),
        )
        window = await plain.fetchone()
        await plain.execute("SELECT state FROM site_live WHERE site_id = %s", (row.site_id,))
        live = await plain.fetchone()
    return Transformer(
        row, place["path"], place["customers"], window, live["state"] if live else None
    )


@dataclass(frozen=True)
class Day:
    """One window of a day's course: mean currents, A, and the share of homes that were fresh."""

    start_at: datetime
    ia_a: float
    ib_a: float
    ic_a: float
    in_a: float
    confirmed: int
    fresh_percent: float | None


async def day(
    conn: Connection, who: Who, transformer_id: int, since: datetime, until: datetime
) -> list[Day]:
    """The windows from `since` to `until`, oldest first, at most a week of five-minute ones.
    Raises NotAllowed."""
    async with conn.cursor(row_factory=class_row(Day)) as cursor:
        await cursor.execute(
            "SELECT m.start_at, m.ia_mean_a AS ia_a, m.ib_mean_a AS ib_a, m.ic_mean_a AS ic_a,"
            " m.in_mean_a AS in_a, m.confirmed,"
            " 100.0::float8 * m.homes_fresh / nullif(m.homes, 0) AS fresh_percent"
            " FROM summary m JOIN transformer t ON t.id = m.transformer_id"
            f" WHERE t.id = %(id)s AND {IN_SCOPE} AND m.start_at >= %(since)s"
            " AND m.start_at < %(until)s ORDER BY m.start_at LIMIT 2016",
            who.scope(Permission.TREE_READ).parameters()
            | {"id": transformer_id, "since": since, "until": until},
        )
        return await cursor.fetchall()


@dataclass(frozen=True)
class Event:
    """What a site told at once; numbers as in pbal_uplink.names."""

    at: datetime
    kind: int
    severity: int
    address: int
    outcome: int
    from_phase: int
    to_phase: int
    detail: str


async def events(
    conn: Connection, who: Who, transformer_id: int, *, kind: int | None = None, limit: int = 50,
    until: datetime | None = None,
) -> list[Event]:  # fmt: skip
    """The newest events before `until`. Raises NotAllowed."""
    async with conn.cursor(row_factory=class_row(Event)) as cursor:
        await cursor.execute(
            "SELECT e.at, e.kind, e.severity, e.address, e.outcome, e.from_phase, e.to_phase,"
            " e.detail FROM event e JOIN transformer t ON t.id = e.transformer_id"
            f" WHERE t.id = %(id)s AND {IN_SCOPE}"
            " AND (%(kind)s::int IS NULL OR e.kind = %(kind)s)"
            " AND (%(until)s::timestamptz IS NULL OR e.at < %(until)s)"
            " ORDER BY e.at DESC LIMIT %(limit)s",
            who.scope(Permission.TREE_READ).parameters()
            | {"id": transformer_id, "kind": kind, "until": until, "limit": limit},
        )
        return await cursor.fetchall()
