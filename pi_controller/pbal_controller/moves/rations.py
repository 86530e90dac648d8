"""How much one home may have written into the journal.

Events and results come from a home alone, and it could send new ones in every frame. A node with
our program logs at most 12 events of one code an hour (events.py there), so at most some 300 in
all: that much is stored of each home, and a backlog at once. What comes above it is not stored and
not acknowledged, so an honest node sends it again; no other home is delayed by it.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass, field

log = logging.getLogger(__name__)

BURST = 256
REFILL_S = 12.0  # one more
_REMEMBERED = 64  # a node holds 16 events that are not acknowledged, and sends them in each answer
_TELL_EVERY_S = 3600.0

Key = tuple[int, ...]


@dataclass
class _Home:
    at: float
    left: float = BURST
    seen: deque[Key] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    waits: tuple[int, int] | None = None  # boots and number of the first event put off
    told_at: float = -_TELL_EVERY_S


class Rations:
    """Of all homes. Times are of one monotonic clock, s."""

    def __init__(self) -> None:
        self._homes: dict[int, _Home] = {}
        self.put_off_total = 0

    def event(self, address: int, boots: int, seq: int, key: Key, now: float) -> bool:
        """Whether an event may be stored, and acknowledged, now; in the order of their numbers.

        An acknowledgment covers all numbers below it: none is stored above one that was put off.
        """
        home = self._home(address, now)
        if home.waits is not None and home.waits[0] == boots and seq > home.waits[1]:
            return False
        if not self._take(address, home, (boots, seq, *key), now):
            home.waits = (boots, seq)
            return False
        if home.waits is not None and (home.waits[0] != boots or seq == home.waits[1]):
            home.waits = None
        return True

    def result(self, address: int, key: Key, now: float) -> bool:
        """Whether a result of no open command may be stored, and acknowledged, now."""
        return self._take(address, self._home(address, now), (-1, *key), now)

    def _home(self, address: int, now: float) -> _Home:
        home = self._homes.setdefault(address, _Home(now))
        home.left = min(BURST, home.left + (now - home.at) / REFILL_S)
        home.at = now
        return home

    def _take(self, address: int, home: _Home, key: Key, now: float) -> bool:
        if key in home.seen:
            return True  # sent again, until the acknowledgment reaches it
        if home.left < 1.0:
            self.put_off_total += 1
            if now - home.told_at >= _TELL_EVERY_S:
                home.told_at = now
                log.warning(
                    "home says more than its share: its events wait",
                    extra={"home": address, "per_hour": 3600 / REFILL_S},
                )
            return False
        home.left -= 1.0
        home.seen.append(key)
        return True
