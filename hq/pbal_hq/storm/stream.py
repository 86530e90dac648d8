"""The detectors over summaries as they come on the bus: no clock, no database.

What they say depends on a site's windows alone, and those are on the bus: who has lost its memory
reads them again. Nothing is remembered of which alarms are open; that is the table's business, so
each judgement holds what counts where an alarm is open and where none is. It equals what
`watch` finds in the database at the moment when HQ had the latest window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pbal_hq.alarms import detect
from pbal_hq.ingest.wording import Judged, Message
from pbal_hq.store import forms
from pbal_uplink import Summary

_HOUR_S = 3600
_Findings = dict[str, detect.Finding]


@dataclass
class _Kept:
    """A window on its way through. When it was the latest: `loud`, something was found; `keeps`,
    the kinds whose alarms stay open."""

    length_s: int
    sampled: int
    window: detect.Window
    loud: bool = True
    keeps: frozenset[str] = frozenset()


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
            if now_s - detect.LOOK * site.windows[start].length_s < start <= now_s
        ]
        longest = max((each.length_s for each in counted), default=0)
        if newest <= now_s - detect.live_s(longest) or not counted:
            return None
        raises, keeps = _found([each.window for each in counted])
        before = max((start for start in site.windows if start < newest), default=None)
        latest = site.windows[newest]
        # An alarm that stays open because nothing is known is no news again and again.
        latest.loud = bool(raises) or any(each.is_known for each in keeps.values())
        latest.keeps = frozenset(keeps)
        _forget(site, newest)
        # What is over is said once; again where records come again, for the first may be lost.
        last = None if before is None else site.windows.get(before)
        changed = last is None or last.loud or last.keeps != latest.keeps
        new_hour = before is None or newest // _HOUR_S != before // _HOUR_S
        if not (latest.loud or changed or new_hour or late):
            return None
        return Judged(fields["site"], newest, site.at_ms, _said(raises), _said(keeps))


def _keep(site: _Site, fields: dict[str, Any]) -> None:
    """As the store does: of two summaries of a window the one with more samples, else the later."""
    start_s = fields["start_s"]
    start_at = datetime.fromtimestamp(start_s, UTC)
    length_s = fields["length_s"]
    sampled = int(length_s * fields["complete_percent"])
    made = _Kept(length_s, sampled, detect.window(fields, start_at))
    there = site.windows.get(start_s)
    if there is None or made.sampled >= there.sampled:
        site.windows[start_s] = made


def _forget(site: _Site, newest: int) -> None:
    for start in list(site.windows):
        if start <= newest - detect.LOOK * site.windows[start].length_s:
            del site.windows[start]


def _found(windows: Sequence[detect.Window]) -> tuple[_Findings, _Findings]:
    """By kind: where no such alarm is open, and where one is."""

    def ask(kinds: Iterable[str], *, is_open: bool) -> _Findings:
        all_ = ((kind, detect.DETECTORS[kind](windows, is_open)) for kind in kinds)
        return {kind: found for kind, found in all_ if found is not None}

    keeps = ask(detect.DETECTORS, is_open=True)
    return ask(keeps, is_open=False), keeps


def _said(found: _Findings) -> dict[str, tuple[int, str]]:
    return {kind: (each.severity, each.words) for kind, each in found.items()}
