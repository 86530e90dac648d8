"""What must not be lost: commands, results, events, numbers and minutes, in SQLite."""

from pbal_controller.journal.audit import add_audit, latest_audit, note, note_change
from pbal_controller.journal.chain import Entry, entries, faults
from pbal_controller.journal.database import COUNTER_BLOCK, CommandRow, Journal
from pbal_controller.journal.minutes import MinuteBook, Row
from pbal_controller.journal.numbers import EPOCH_S, clock_is_set, time_base
from pbal_controller.journal.pruning import EVENTS_KEPT, prune
from pbal_controller.journal.restored import lift_numbers
from pbal_controller.journal.signing import Signed, sign, signature_faults, signatures
from pbal_controller.journal.thread import AsyncJournal, hold
from pbal_controller.journal.vault import Vault

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
    "Signed",
    "Vault",
    "add_audit",
    "clock_is_set",
    "entries",
    "faults",
    "hold",
    "latest_audit",
    "lift_numbers",
    "note",
    "note_change",
    "prune",
    "sign",
    "signature_faults",
    "signatures",
    "time_base",
]
