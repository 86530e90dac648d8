"""A past for dashboards to show: windows, hours, days, alarms, orders, dead letters."""

from __future__ import annotations

from pbal_hq.config import DatabaseConfig
from pbal_hq.database import Connection, connected, pool
from pbal_hq.store import sum_due
from rigs import people


async def filled(url: str) -> None:
    """Some windows of two transformers, their hours and days, an alarm, a dead letter."""
    async with connected(DatabaseConfig(url=url)) as conn:
        fleet = await people.make(conn)
        await past(conn, fleet, "T1", "T2")
        await people.alarm(conn, fleet, "T1")
        await conn.execute(
            "INSERT INTO dead_letter (at, source, kind, reason, payload, origin)"
            " VALUES (now(), 'a/b', 'NDATA', 'no payload', 'x', '1')"
        )
        await conn.execute(
            "UPDATE site_live SET seen_at = now() - interval '2 hours' WHERE site_id = %s",
            (people.SITES["T2"],),
        )
    await summed(url)


async def past(conn: Connection, fleet: people.Fleet, *where: str) -> None:
    """The last windows of these transformers, to be summed up."""
    for each in where:
        await people.summaries(conn, fleet, each)
    await conn.execute(
        "INSERT INTO summary_due SELECT DISTINCT transformer_id, date_trunc('hour', start_at)"
        " FROM summary ON CONFLICT DO NOTHING"
    )


async def summed(url: str) -> None:
    """Hours and days of what is due."""
    async with pool(DatabaseConfig(url=url)) as database:
        await sum_due(database, lambda: None)


async def second_district(url: str) -> None:
    """TSR beside EKM in KL, with T3 in it: site 9, an alarm of its own and an order."""
    people.SITES.setdefault("T3", 9)
    async with people.connected(url) as conn:
        fleet = people.Fleet()
        above = await people.one(conn, "SELECT id FROM area WHERE code = 'KL'")
        for level, code in (("district", "TSR"), ("division", "D3"), ("feeder", "F3")):
            above = await people.one(
                conn, "INSERT INTO area (parent_id, level, code, name) VALUES (%s, %s, %s, '')"
                " RETURNING id", above, level, code,
            )  # fmt: skip
        fleet.transformers["T3"] = await people.one(
            conn, "INSERT INTO transformer (code, feeder_id, rated_kva) VALUES ('T3', %s, 100)"
            " RETURNING id", above,
        )  # fmt: skip
        await conn.execute(
            "INSERT INTO site (id, transformer_id, group_id, node) VALUES (9, %s, 'north', '9')",
            (fleet.transformers["T3"],),
        )
        await past(conn, fleet, "T3")
        await people.alarm(conn, fleet, "T3")
        for site in (7, 9):
            await people.command(conn, site, "ana", "T1")
        await conn.execute(
            "INSERT INTO dead_letter (at, source, kind, reason, payload, origin)"
            " VALUES (now(), 'north/9', 'NDATA', 'no payload', 'x', '2')"
        )
    await summed(url)
