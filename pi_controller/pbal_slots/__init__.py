"""Versions of the controller side by side, and the way from one to the next and back.

Runs on the system's Python with its standard library alone, so that a version that does not even
start cannot keep it from going back. It knows nothing of the controller but one command that
reports its health (`pbal-controller health --json`).
"""

from pbal_slots.layout import SlotError, Slots
from pbal_slots.service import Running, Service, Systemd
from pbal_slots.trial import Health, Limits, Trial, Trials, watch

__all__ = [
    "Health",
    "Limits",
    "Running",
    "Service",
    "SlotError",
    "Slots",
    "Systemd",
    "Trial",
    "Trials",
    "watch",
]
