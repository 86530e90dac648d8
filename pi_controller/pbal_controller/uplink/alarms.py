"""Alarms of the site itself, while they last: reported to HQ once, when they begin."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pbal_controller.uplink.facts import event_id, shortened
from pbal_uplink import Event, names

# One that comes back within this time is the same alarm still.
SAME_S = 600.0


@dataclass(frozen=True)
class SiteAlarm:
    """What is wrong now. `key` is the same as long as it is the same alarm."""

    kind: int  # names.KIND_*
    key: str
    text: str
    address: int = 0


class AlarmBook:
    """Which alarms were reported to HQ."""

    def __init__(self, site: int) -> None:
        self._site = site
        self._seen_s: dict[tuple[int, str], float] = {}

    def begun(self, alarms: Iterable[SiteAlarm], wall: float) -> list[Event]:
        """Events of the alarms that were not there before. `wall`: site time, s."""
        out = []
        for alarm in alarms:
            key = alarm.kind, alarm.key
            if not 0 <= wall - self._seen_s.get(key, float("-inf")) <= SAME_S:
                out.append(
                    Event(
                        site=self._site,
                        event_id=event_id("alarm", *key, int(wall)),
                        at_s=int(wall),
                        kind=alarm.kind,
                        severity=names.ALARM,
                        address=alarm.address,
                        detail=shortened(alarm.text),
                    )
                )
            self._seen_s[key] = wall
        return out
