"""Which journal this is, and why its controller stands down, kept in the journal itself."""

from __future__ import annotations

import secrets
import time

from pbal_controller.journal import Journal
from pbal_controller.standing.mark import Mark


def mark(journal: Journal, *, count: bool = False) -> Mark:
    """Which journal this is and its count of marks; with `count` one more, on the disk."""
    with journal.transaction():
        name = journal.meta("journal_id")
        if name is None:
            name = secrets.token_hex(8)
            journal.set_meta("journal_id", name)
        generation = int(journal.meta("generation") or 0) + count
        journal.set_meta("generation", str(generation))
    return Mark(name, generation)


def is_fresh(journal: Journal) -> bool:
    """Whether this journal never gave out a command id, and no person has adopted it."""
    adopted = journal.db.execute("SELECT 1 FROM stand_down WHERE lifted_s IS NOT NULL").fetchone()
    return journal.meta("command_id") is None and adopted is None


def stand_down(journal: Journal, reason: str, detail: str) -> None:
    """Nothing is commanded until a person lifts this; known reasons stay as they are."""
    if reason not in stood_down(journal):
        journal.db.execute(
            "INSERT INTO stand_down VALUES (?, ?, ?, NULL)", (reason, time.time(), detail)
        )


def stood_down(journal: Journal) -> dict[str, str]:
    """Reasons not to command that no person has lifted, and their details."""
    return dict(journal.db.execute("SELECT reason, detail FROM stand_down WHERE lifted_s IS NULL"))


def adopt(journal: Journal) -> dict[str, str]:
    """A person decided that this controller commands. Returns what was lifted."""
    lifted = stood_down(journal)
    if not lifted:
        return {}  # nothing was decided on: what is found later is new
    journal.set_meta("pardon", "1")
    journal.db.execute("UPDATE stand_down SET lifted_s = ? WHERE lifted_s IS NULL", (time.time(),))
    return lifted


def take_clearing(journal: Journal) -> bool:
    """Whether a person has adopted since this was asked last: what homes accepted from others until
    then is not new.
    """
    clearing = journal.meta("pardon") == "1"
    if clearing:
        journal.set_meta("pardon", "0")
    return clearing
