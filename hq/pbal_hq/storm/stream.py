"""The detectors over summaries as they come on the bus: no clock, no database.

What they say depends on a site's windows alone, and those are on the bus: who has lost its memory
reads them again. Nothing is remembered of which alarms are open; that is the table's business, so
each judgement holds what counts where an alarm is open and where none is. It equals what
`watch` finds in the database at the moment when HQ had the latest window.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pbal_hq.alarms import detect
from pbal_hq.ingest.wording import Judged, Message
from pbal_hq.store import forms
from pbal_uplink import Summary

_HOUR_S = 3600


@dataclass
class _Kept:
    """A window on its way through. `loud`: something was found when it was the latest."""

    fields: dict[str, Any]
    window: detect.Window
    loud: bool = True

    @property
    def sampled(self) -> int:
        return int(self.fields["length_s"] * self.fields["complete_percent"])


@dataclass
class _Site:
    windows: dict[int, _Kept] = field(default_factory=dict)  # by start_s
    at_ms: int = 0


class Stream:
    """The latest windows of many sites."""

    def __init__(self) -> None:
        self._sites: dict[tuple[str, int], _Site] = {}

    def take(self, key: str, value: bytes) -> Judged | None:
        """One record of hq.summary; what is to be said now.

        None while a site is well, but once an hour; and of what is not live. Records of a key come
        in order, and may come again. Raises BadRecord.
        """
        message = Message.decode(value)
        fields = message.fields
        forms.check(Summary, fields)
        site = self._sites.setdefault((key, fields["site"]), _Site())
        start_s = fields["start_s"]
        late = any(start_s < each for each in site.windows)
        _keep(site, fields)
        site.at_ms = max(site.at_ms, message.received_ms)
        newest = max(site.windows)
        now_s = site.at_ms / 1000
        counted = [
            site.windows[start]
            for start in sorted(site.windows)
            if now_s - detect.LOOK * site.windows[start].fields["length_s"] < start <= now_s
        ]
        longest = max((each.fields["length_s"] for each in counted), default=0)
        if newest <= now_s - detect.live_s(longest) or not counted:
            return None
        said = _judged(fields["site"], newest, site.at_ms, [each.window for each in counted])
        before = max((start for start in site.windows if start < newest), default=None)
        site.windows[newest].loud = loud = bool(said.raises or said.keeps)
        _forget(site, newest)
        # What is over is said once; again where records come again, for the first may be lost.
        was_loud = before is None or before not in site.windows or site.windows[before].loud
        new_hour = before is None or newest // _HOUR_S != before // _HOUR_S
        return said if loud or was_loud or new_hour or late else None


def _keep(site: _Site, fields: dict[str, Any]) -> None:
    """As the store does: of two summaries of a window the one with more samples, else the later."""
    start_s = fields["start_s"]
    start_at = datetime.fromtimestamp(start_s, UTC)
    made = _Kept(fields, detect.window({**fields, "start_at": start_at}))
    there = site.windows.get(start_s)
    if there is None or made.sampled >= there.sampled:
        site.windows[start_s] = made


def _forget(site: _Site, newest: int) -> None:
    for start in list(site.windows):
        if start <= newest - detect.LOOK * site.windows[start].fields["length_s"]:
            del site.windows[start]


def _judged(site: int, start_s: int, at_ms: int, windows: list[detect.Window]) -> Judged:
    def found(*, is_open: bool) -> dict[str, tuple[int, str]]:
        all_ = ((kind, look(windows, is_open)) for kind, look in detect.DETECTORS.items())
        return {kind: (each.severity, each.words) for kind, each in all_ if each is not None}

    return Judged(site, start_s, at_ms, found(is_open=False), found(is_open=True))
