"""What must be changed in a restored journal before it is used."""

from __future__ import annotations

from pbal_controller.journal.database import Journal
from pbal_controller.journal.numbers import JUMP, LAST, time_base


def lift_numbers(journal: Journal, now_s: float) -> None:
    """Every sequence goes on above what was given out since the copy was made.

    Numbers follow the clock, and each opening adds a chance below JUMP (numbers.py). What the
    journal's original has given out until `now_s` lies below the clock's number and one JUMP,
    and the restored one begins above that. Only where it was started again and again, faster than
    the clock follows, may it be further: then chance keeps the two apart, and a home's own floor,
    above which the controller goes on. Heard counters (kind 1) are left: they only say what would
    be a replay.
    """
    floor = min(time_base(now_s) + JUMP, LAST)
    with journal.transaction():
        journal.db.execute(
            "UPDATE counters SET reserved = MAX(MIN(reserved + ?, ?), ?) WHERE kind != 1",
            (JUMP, LAST, floor),
        )
        told = journal.meta("command_id")
        if told is not None:
            journal.set_meta("command_id", str(max(min(int(told) + JUMP, LAST), floor)))
