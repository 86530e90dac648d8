"""What the database and the portal's pages cost with fleets of several sizes."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import psycopg

from bench import portal
from bench._hq_engines import tree_cpu_s
from pbal_sim.hq import Postgres

# A day of windows of the first hundred transformers is in the tables: what a row takes is theirs.
_TABLES = {"summary": 288, "summary_hourly": 24, "summary_daily": 1}


def measured(transformers: int, days: int, times: int) -> dict[str, Any]:
    """A fleet of this size with so many days of hours, and each page asked so many times."""
    server = Postgres()
    try:
        began = time.monotonic()
        asyncio.run(portal.fill(server.url, transformers, days))
        filled_s = time.monotonic() - began
        found = sizes(server.url)
        pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
        pages = asyncio.run(portal.measure(
            server.url, times, lambda: time.process_time() + tree_cpu_s(pid)
        ))  # fmt: skip
        each = [took["cpu_ms"] for by_page in pages.values() for took in by_page.values()]
        return found | {
            "transformers": transformers, "days": days, "filled_s": filled_s, "pages": pages,
            "page_ms": sum(each) / len(each), "largest_page_ms": max(each),
            "folder_gb": _folder_gb(server.folder),
        }  # fmt: skip
    finally:
        server.stop()


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
