"""Entries that this program itself writes into the audit log; chain.py links them.

Commands, decisions and quarantines come into it by triggers (`schema/0008_audit_log.sql`).
"""

from __future__ import annotations

from typing import Any

from pbal_controller.journal.database import Journal


def add_audit(journal: Journal, at_s: float, what: str, subject: str, who: str, why: str) -> None:
    """Write down who did what, when (unix time, s) and why; the same again is written once."""
    journal.db.execute(
        "INSERT INTO audit VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (at_s, what, subject, who, why),
    )


def latest_audit(journal: Journal, limit: int = 100) -> list[dict[str, Any]]:
    """The latest entries, newest first."""
    names = ("at_s", "what", "subject", "who", "why")
    found = journal.db.execute(
        f"SELECT {', '.join(names)} FROM audit ORDER BY at_s DESC LIMIT ?", (limit,)
    )
    return [dict(zip(names, row, strict=True)) for row in found]


def note(journal: Journal, what: str, subject: str, why: str = "") -> None:
    """Write down that something happened."""
    journal.db.execute(
        "INSERT INTO audit_in VALUES (?, ?, ?, ?)", (journal.wall(), what, subject, why)
    )


def note_change(journal: Journal, what: str, subject: str, why: str = "") -> bool:
    """Write down a state that differs from the last one written; whether it was written."""
    if journal.meta(f"noted {what}") == subject:
        return False
    with journal.transaction():
        journal.set_meta(f"noted {what}", subject)
        journal.db.execute(
            "INSERT INTO audit_in VALUES (?, ?, ?, ?)", (journal.wall(), what, subject, why)
        )
    return True
