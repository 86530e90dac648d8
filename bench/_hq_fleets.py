"""What the database and the portal's pages cost with fleets of several sizes."""

from __future__ import annotations

import asyncio
import datetime
import random
import time
from pathlib import Path
from typing import Any

import psycopg

from bench import portal
from bench._hq_sites import varied_summary
from bench._processors import tree_cpu_s
from pbal_hq.config import DatabaseConfig
from pbal_hq.database import connected, pool
from pbal_hq.fleet import sum_present
from pbal_hq.store import series, sum_feeders, sums
from pbal_sim.hq import Postgres

# A day of windows of the first hundred transformers is in the tables: what a row takes is theirs.
_MORE, _AT_ONCE = 20_000, 500  # rows, and in one transaction
_TABLES = {"summary": 288, "summary_hourly": 24, "summary_daily": 1}


def measured(
    transformers: int, days: int, hours: int, times: int, kept: Path | None = None
) -> dict[str, Any]:
    """A fleet of this size with so many days of hours, and each page asked so many times. `hours`:
    of most transformers no more than so many; 0: all. `kept`: a folder for filled databases, which
    are used again; else it is deleted."""
    folder = kept and kept / f"{transformers}-{days}-{hours}"
    if folder is not None:
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    server = Postgres(folder)
    try:
        note = server.folder / "filled_s"
        if not note.exists():
            began = time.monotonic()
            asyncio.run(portal.fill(server.url, transformers, days, hours))
            note.write_text(str(time.monotonic() - began))
        found = sizes(server.url)
        pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
        pages = asyncio.run(portal.measure(
            server.url, times, lambda: time.process_time() + tree_cpu_s(pid)
        ))  # fmt: skip
        found |= asyncio.run(rows_more(server.url, transformers, pid))
        found |= asyncio.run(feeders_anew(server.url, pid))
        each = [took["cpu_ms"] for by_page in pages.values() for took in by_page.values()]
        return found | {
            "transformers": transformers, "days": days, "hours": hours, "times": times,
            "feeders": portal.feeders(transformers), "filled_s": float(note.read_text()),
            "pages": pages,
            "page_ms": sum(each) / len(each), "largest_page_ms": max(each),
            "folder_gb": _folder_gb(server.folder),
        }  # fmt: skip
    finally:
        server.stop()


async def rows_more(url: str, transformers: int, pid: int) -> dict[str, float]:
    """What a row more costs beside what is there: the next window of transformers here and there,
    as the store writes them, then their hours and days. us of a row, HQ's and PostgreSQL's."""
    at = datetime.datetime.fromtimestamp(time.time() // 300 * 300, datetime.UTC)
    chosen = random.Random(1).sample(range(1, transformers + 1), min(_MORE, transformers))
    said = {site: varied_summary(site, 0).as_dict() for site in chosen}
    async with connected(DatabaseConfig(url=url)) as db:
        rows = [series.Row(site, at, site, False, at, said[site]) for site in chosen]
        own, theirs = time.process_time(), tree_cpu_s(pid)
        for begin in range(0, len(rows), _AT_ONCE):
            async with db.transaction():
                await series.insert(db, rows[begin : begin + _AT_ONCE])
        own_more, theirs_more = time.process_time(), tree_cpu_s(pid)
        while await sums.sum_up(db):
            await db.commit()
        summed = time.process_time() - own_more + tree_cpu_s(pid) - theirs_more
    each = 1e6 / len(rows)
    return {
        "store_us": (own_more - own + theirs_more - theirs) * each,
        "store_postgres_us": (theirs_more - theirs) * each, "sums_us": summed * each,
    }  # fmt: skip


async def feeders_anew(url: str, pid: int) -> dict[str, float]:
    """Processor time of adding all feeders up as they are now, ms, and of their last day, us for
    each day of a transformer."""

    def used_s() -> float:
        return time.process_time() + tree_cpu_s(pid)

    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as db:
        began = used_s()
        await sum_present(db, 0.0)
        present_s = used_s() - began
        await db.execute(
            "INSERT INTO feeder_due (start_at, feeder_id) SELECT l.at, t.feeder_id FROM (SELECT"
            " max(start_at) AS at FROM feeder_daily) l, (SELECT DISTINCT feeder_id FROM"
            " transformer) t"
        )
        cursor = await db.execute(
            "SELECT count(*) FROM summary_daily WHERE start_at = (SELECT max(start_at)"
            " FROM feeder_due)"
        )
        row = await cursor.fetchone()
        async with pool(DatabaseConfig(url=url)) as database:
            began = used_s()
            await sum_feeders(database, lambda: None)
            days_s = used_s() - began
    return {"present_ms": 1e3 * present_s, "feeders_us": 1e6 * days_s / (row[0] if row else 1)}


def _folder_gb(folder: Path) -> float:
    return sum(each.stat().st_blocks * 512 for each in folder.rglob("*") if each.is_file()) / 1e9


def sizes(url: str) -> dict[str, float]:
    """Bytes of a row of each table with its indexes, and all of it."""
    with psycopg.connect(url, autocommit=True) as db:

        def one(sql: str) -> float:
            row = db.execute(sql).fetchone()
            return float(row[0]) if row else 0.0

        bytes_a_row = {}
        for table in _TABLES:
            rows = one(f"SELECT count(*) FROM {table}")
            size = one(
                "SELECT coalesce(sum(pg_total_relation_size(relid)), 0) "
                f"FROM pg_partition_tree('{table}')"
            ) or one(f"SELECT pg_total_relation_size('{table}')")
            bytes_a_row[table] = size / rows
        return {
            **{f"{table}_bytes": size for table, size in bytes_a_row.items()},
            "bytes_transformer_day": sum(n * bytes_a_row[t] for t, n in _TABLES.items()),
            "gb": one("SELECT pg_database_size(current_database())") / 1e9,
        }
