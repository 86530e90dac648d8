"""Whom to ask next on one segment: pure, no clock of its own, no port.

- A home that flagged an event, or that has a command waiting, goes first, but such urgent
  turns alternate with the regular round, so that no home can starve the others.
- Healthy homes go round in order of their last turn.
- A home that did not answer is asked again at once, once: one damaged frame costs it no round,
  and what disturbs the line in the same rhythm as the round meets it at another moment.
- A home that stays silent is backed off. Attempts on silent homes may take only a small
  share of line time, however many of them there are; on an otherwise idle line they are free.

Times are seconds of any monotonic clock.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pbal_controller.loops import Backoff


@dataclass(slots=True)
class _Unit:
    unit: int
    backoff: Backoff
    misses: int = 0
    dead: bool = False
    urgent: bool = False
    last_turn: float = float("-inf")
    next_try: float = 0.0


class PollScheduler:
    """Decides the order of polls on one segment."""

    def __init__(
        self,
        *,
        min_interval_s: float = 0.25,
        dead_after: int = 3,
        dead_backoff_s: float = 1.0,
        dead_backoff_max_s: float = 30.0,
        dead_share: float = 0.05,
        make_backoff: Callable[[float, float], Backoff] = Backoff,
    ) -> None:
        self.min_interval_s = min_interval_s
        self.dead_after = dead_after
        self.dead_share = dead_share
        self._make_backoff = make_backoff
        self._backoff_s = (dead_backoff_s, dead_backoff_max_s)
        self._units: dict[int, _Unit] = {}
        self._round: deque[int] = deque()
        self._urgent: deque[int] = deque()
        self._dead: list[tuple[float, int]] = []
        self._dead_not_before = float("-inf")
        self._urgent_turn = True

    def add(self, unit: int) -> None:
        """Start polling a unit."""
        if unit not in self._units:
            self._units[unit] = _Unit(unit, self._make_backoff(*self._backoff_s))
            self._round.append(unit)

    def remove(self, unit: int) -> None:
        """Never poll this unit again."""
        del self._units[unit]
        for queue in (self._round, self._urgent):
            if unit in queue:
                queue.remove(unit)
        self._dead = [entry for entry in self._dead if entry[1] != unit]
        heapq.heapify(self._dead)

    def is_dead(self, unit: int) -> bool:
        """Whether a unit is backed off."""
        return self._units[unit].dead

    def last_turn(self, unit: int) -> float:
        """When the unit was last polled."""
        return self._units[unit].last_turn

    @property
    def healthy(self) -> int:
        """Units in the regular round."""
        return len(self._round)

    def request(self, unit: int) -> None:
        """This unit has something to say or to be told: poll it out of turn.

        A unit that is backed off keeps its back-off.
        """
        state = self._units[unit]
        if not state.urgent and not state.dead:
            state.urgent = True
            self._urgent.append(unit)

    def next(self, now: float) -> int | float:
        """The unit to poll now (int), or the time (float) before which none is due."""
        if self._urgent and (self._urgent_turn or not self._round):
            self._urgent_turn = False
            unit = self._urgent.popleft()
            self._units[unit].urgent = False
            return self._take(unit, now)
        self._urgent_turn = True
        dead_due = self._dead[0][0] if self._dead else float("inf")
        if self._round:
            dead_due = max(dead_due, self._dead_not_before)
        if dead_due <= now:
            _, unit = heapq.heappop(self._dead)
            return self._take(unit, now)
        if self._round:
            unit = self._round[0]
            due = self._units[unit].last_turn + self.min_interval_s
            if due <= now:
                return self._take(unit, now)
        else:
            due = float("inf")
        if self._urgent:
            self._urgent_turn = False
            unit = self._urgent.popleft()
            self._units[unit].urgent = False
            return self._take(unit, now)
        return min(due, dead_due)

    def _take(self, unit: int, now: float) -> int:
        state = self._units[unit]
        state.last_turn = now
        if not state.dead:
            # To the back of the round, also when it had its turn out of order. A unit polled
            # in order is at the front, so this is cheap in the usual case.
            if self._round[0] == unit:
                self._round.rotate(-1)
            else:
                self._round.remove(unit)
                self._round.append(unit)
        return unit

    def answered(self, unit: int, *, more: bool = False) -> None:
        """The unit answered; `more` when it flagged an event or pending records."""
        state = self._units[unit]
        state.misses = 0
        if state.dead:
            state.dead = False
            state.backoff.reset()
            self._round.append(unit)
        if more:
            self.request(unit)

    def missed(self, unit: int, now: float, cost_s: float) -> None:
        """The unit did not answer; `cost_s` of line time was spent waiting for it."""
        state = self._units[unit]
        state.misses += 1
        if not state.dead:
            if state.misses < self.dead_after:
                if state.misses == 1:
                    self.request(unit)
                return
            state.dead = True
            self._round.remove(unit)
            if state.urgent:
                state.urgent = False
                self._urgent.remove(unit)
        state.next_try = now + state.backoff.next()
        heapq.heappush(self._dead, (state.next_try, unit))
        share = self.dead_share
        self._dead_not_before = now + (cost_s / share if share > 0 else 3600.0)
