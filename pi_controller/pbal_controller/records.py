"""Slow records: ages, the neutral current's history, each home's minutes in the journal."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from pbal_controller.homes import Fleet
from pbal_controller.journal import AsyncJournal, Journal, MinuteBook, Row

_HISTORY = 900  # seconds of the neutral current
_KEPT = 20_000  # minutes of all homes together: some hours of a failing journal


class Records:
    """`neutral_history`: (unix time, A), the latest. `sample` once a second, `write` after it."""

    def __init__(
        self, fleet: Fleet, journal: AsyncJournal, max_age_s: float, wall: Callable[[], float]
    ) -> None:
        """`max_age_s`: how old a reading may be in the neutral current."""
        self._fleet = fleet
        self._journal = journal
        self._max_age_s = max_age_s
        self._wall = wall
        self.neutral_history: deque[tuple[float, float]] = deque(maxlen=_HISTORY)
        self._minutes = MinuteBook()
        self._left: list[Row] = []
        self._seen: dict[int, float] = {}  # by address: the reading that was counted last

    def sample(self, now: float) -> None:
        """What homes told since the last call."""
        self._fleet.sample_ages(now)
        if any(home.telemetry is not None for home in self._fleet):
            neutral = self._fleet.neutral_a(now, self._max_age_s)
            self.neutral_history.append((self._wall(), neutral))
        for home in self._fleet:
            if home.telemetry is not None and self._seen.get(home.address) != home.sampled_at:
                self._seen[home.address] = home.sampled_at
                self._minutes.add(home.address, home.telemetry, self._wall())

    async def write(self, *, everything: bool = False) -> None:
        """Minutes that are over go to the journal; while it fails the latest are kept."""
        rows = self._left + self._minutes.take(self._wall(), everything=everything)
        if rows:
            self._left = rows[-_KEPT:]
            await self._journal.call(Journal.add_minutes, rows)
            self._left = []
