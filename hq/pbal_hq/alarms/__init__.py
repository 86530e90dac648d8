"""Alarms: raised once for one fault, handled by people, closed when it is over.

take     events of sites become alarms;  watch: detectors over summaries become alarms
handle   acknowledge, comment, shelve, close: by people
detect   detectors over the last windows, trends over hours and days: pure functions with
         hysteresis;  past: what trends look at, from the database;  band: EN 50160's for a week
"""

from pbal_hq.alarms.band import Band, bands
from pbal_hq.alarms.detect import KINDS as _WINDOW_KINDS
from pbal_hq.alarms.handle import (
    Alarm,
    Note,
    acknowledge,
    close,
    comment,
    get,
    listed,
    notes,
    shelve,
    traces,
)
from pbal_hq.alarms.take import CHANNEL, close_quiet, raise_alarm, settle, take_events, wait_turn
from pbal_hq.alarms.trends import TRENDS
from pbal_hq.alarms.watch import apply, open_alarms, watch, watch_trends

# What a detector keeps open.
KINDS = [*_WINDOW_KINDS, *TRENDS]

__all__ = [
    "CHANNEL",
    "KINDS",
    "Alarm",
    "Band",
    "Note",
    "acknowledge",
    "apply",
    "bands",
    "close",
    "close_quiet",
    "comment",
    "get",
    "listed",
    "notes",
    "open_alarms",
    "raise_alarm",
    "settle",
    "shelve",
    "take_events",
    "traces",
    "wait_turn",
    "watch",
    "watch_trends",
]
