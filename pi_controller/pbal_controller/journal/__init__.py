"""What must not be lost: commands, results, events, numbers and minutes, in SQLite."""

from pbal_controller.journal.chain import Entry, entries, faults
from pbal_controller.journal.database import COUNTER_BLOCK, EVENTS_KEPT, CommandRow, Journal
from pbal_controller.journal.minutes import MinuteBook, Row
from pbal_controller.journal.numbers import EPOCH_S, clock_is_set
from pbal_controller.journal.restored import lift_numbers
from pbal_controller.journal.thread import AsyncJournal

__all__ = [
    "COUNTER_BLOCK",
    "EPOCH_S",
    "EVENTS_KEPT",
    "AsyncJournal",
    "CommandRow",
    "Entry",
    "Journal",
    "MinuteBook",
    "Row",
    "clock_is_set",
    "entries",
    "faults",
    "lift_numbers",
]
