"""One transformer's hours, and its homes as numbers: what was told of each, nothing personal."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from pbal_hq.auth import IN_SCOPE, Permission, Who
from pbal_hq.database import Connection
from pbal_hq.errors import NothingToDo
from pbal_uplink import names

DAYS = 28


@dataclass(frozen=True)
class HourSum:
    """One hour: mean current of the neutral, A, and of the phases together."""

    start_at: datetime
    neutral_a: float | None
    phases_a: float | None


@dataclass(frozen=True)
class Home:
    """One home in the last 30 days, by its address on the bus."""

    address: int
    moved: int
    not_moved: int
    quarantines: int
    doubts: int
    last_at: datetime
    last_detail: str


async def _seen(conn: Connection, who: Who, transformer_id: int) -> None:
    row = await (
        await conn.execute(
            f"SELECT 1 FROM transformer t WHERE t.id = %(id)s AND {IN_SCOPE}",
            who.scope(Permission.TREE_READ).parameters() | {"id": transformer_id},
        )
    ).fetchone()
    if row is None:
        raise NothingToDo("There is no such transformer.")


async def hours(conn: Connection, who: Who, transformer_id: int) -> list[HourSum]:
    """The last DAYS days, oldest first. Raises NotAllowed, NothingToDo."""
    await _seen(conn, who, transformer_id)
    async with conn.cursor(row_factory=class_row(HourSum)) as cursor:
        await cursor.execute(
            "SELECT start_at, in_mean_a AS neutral_a, ia_mean_a + ib_mean_a + ic_mean_a"
            " AS phases_a FROM summary_hourly WHERE transformer_id = %s"
            " AND start_at > now() - make_interval(days => %s) ORDER BY start_at",
            (transformer_id, DAYS),
        )
        return await cursor.fetchall()


async def homes(conn: Connection, who: Who, transformer_id: int) -> list[Home]:
    """The homes of which anything was told in 30 days, the most troubled first. Raises NotAllowed,
    NothingToDo."""
    await _seen(conn, who, transformer_id)
    async with conn.cursor(row_factory=class_row(Home)) as cursor:
        await cursor.execute(
            "SELECT * FROM (SELECT address,"
            " (count(*) FILTER (WHERE kind = %(moved)s AND outcome = %(ok)s))::int AS moved,"
            " (count(*) FILTER (WHERE kind = %(moved)s AND outcome <> %(ok)s))::int AS not_moved,"
            " (count(*) FILTER (WHERE kind = %(quarantine)s))::int AS quarantines,"
            " (count(*) FILTER (WHERE kind = %(doubt)s))::int AS doubts, max(at) AS last_at,"
            " (array_agg(detail ORDER BY at DESC))[1] AS last_detail FROM event"
            " WHERE transformer_id = %(id)s AND address > 0 AND at > now() - interval '30 days'"
            " GROUP BY address) h ORDER BY quarantines + doubts + not_moved DESC, moved DESC,"
            " address LIMIT 200",
            {
                "id": transformer_id, "moved": names.KIND_SWITCHING,
                "ok": names.OUTCOME_CONFIRMED, "quarantine": names.KIND_QUARANTINE,
                "doubt": names.KIND_DOUBT,
            },
        )  # fmt: skip
        return await cursor.fetchall()
