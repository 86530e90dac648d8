"""What the journal drops: what is old, and what exceeds one home's share of the disk."""

from __future__ import annotations

import time

from pbal_controller.journal import pages
from pbal_controller.journal.database import OPEN_STATES, Journal

#: Events, and results, of one home; more than 50 a day for as long as they are kept by default.
EVENTS_KEPT = 20_000


def prune(journal: Journal, keep_days: int, now_s: float | None = None) -> bool:
    """Drop aggregates, results, events and closed commands older than this.

    Of each home's events and results the latest EVENTS_KEPT stay, whatever their age. Drops
    nothing else and returns False when what is kept would be less than half as old as it
    may be: then the clock has jumped, or there was a long pause.
    """
    _thin(journal)
    now = time.time() if now_s is None else now_s
    limit = now - keep_days * 86400
    oldest = [
        journal.db.execute(f"SELECT MIN({c}) FROM {t} WHERE {c} >= ?", (limit,)).fetchone()[0]
        for t, c in (("telemetry_minute", "minute_s"), (pages.TABLE, "minute_s"),
                     ("events", "received_s"), ("commands", "updated_s"))
    ]  # fmt: skip
    if min((x for x in oldest if x is not None), default=now) > now - keep_days * 43200:
        return False
    marks = ", ".join("?" * len(OPEN_STATES))
    with journal.transaction():
        for table in ("telemetry_minute", pages.TABLE):
            journal.db.execute(f"DELETE FROM {table} WHERE minute_s < ?", (int(limit),))
        journal.db.execute("DELETE FROM events WHERE received_s < ?", (limit,))
        journal.db.execute("DELETE FROM results WHERE received_s < ?", (limit,))
        journal.db.execute(
            f"DELETE FROM commands WHERE updated_s < ? AND state NOT IN ({marks})",
            (limit, *OPEN_STATES),
        )
    return True


def _thin(journal: Journal) -> None:
    """Drop a home's oldest events and results above EVENTS_KEPT."""
    with journal.transaction():
        for table in ("events", "results"):
            many = journal.db.execute(
                f"SELECT address FROM {table} GROUP BY address HAVING COUNT(*) > ?",
                (EVENTS_KEPT,),
            ).fetchall()
            for (address,) in many:
                (oldest,) = journal.db.execute(
                    f"SELECT received_s FROM {table} WHERE address = ? "
                    "ORDER BY received_s DESC LIMIT 1 OFFSET ?",
                    (address, EVENTS_KEPT - 1),
                ).fetchone()
                journal.db.execute(
                    f"DELETE FROM {table} WHERE address = ? AND received_s < ?",
                    (address, oldest),
                )
