"""Which home to poll next over one bearer. Pure: no clock of its own, no port.

- A home that flagged an event, or that has a command waiting, goes first, but such urgent
  turns alternate with the regular round, so that no home can starve the others.
- Healthy homes go round in order of their last turn.
- A home that did not answer is asked again at once, once: one damaged frame costs it no round, and
  a disturbance with the period of the round misses the second poll.
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
class _Home:
    address: int
    backoff: Backoff
    misses: int = 0
    dead: bool = False
    urgent: bool = False
    last_turn: float = float("-inf")
    next_try: float = 0.0


class PollScheduler:
    """Decides the order of polls over one bearer."""

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
        self._homes: dict[int, _Home] = {}
        self._round: deque[int] = deque()
        self._urgent: deque[int] = deque()
        self._dead: list[tuple[float, int]] = []
        self._dead_not_before = float("-inf")
        self._urgent_turn = True

    def add(self, address: int) -> None:
        """Start polling the home at this address."""
        if address not in self._homes:
            self._homes[address] = _Home(address, self._make_backoff(*self._backoff_s))
            self._round.append(address)

    def remove(self, address: int) -> None:
        """Never poll this home again."""
        del self._homes[address]
        for queue in (self._round, self._urgent):
            if address in queue:
                queue.remove(address)
        self._dead = [entry for entry in self._dead if entry[1] != address]
        heapq.heapify(self._dead)

    def is_dead(self, address: int) -> bool:
        """Whether a home is backed off."""
        return self._homes[address].dead

    def last_turn(self, address: int) -> float:
        """When a home was last polled."""
        return self._homes[address].last_turn

    @property
    def healthy(self) -> int:
        """Units in the regular round."""
        return len(self._round)

    def request(self, address: int) -> None:
        """This home has something to report, or a command waits for it: poll it out of turn.

        A home that is backed off keeps its back-off.
        """
        state = self._homes[address]
        if not state.urgent and not state.dead:
            state.urgent = True
            self._urgent.append(address)

    def wanted(self, address: int) -> bool:
        """Whether it is to be polled out of turn."""
        return self._homes[address].urgent

    def turn(self, address: int, now: float) -> None:
        """This home is polled now, whoever is next."""
        state = self._homes[address]
        if state.urgent:
            state.urgent = False
            self._urgent.remove(address)
        self._take(address, now)

    def next(self, now: float) -> int | float:
        """The address to poll now (int), or the time (float) before which none is due."""
        if self._urgent and (self._urgent_turn or not self._round):
            self._urgent_turn = False
            address = self._urgent.popleft()
            self._homes[address].urgent = False
            return self._take(address, now)
        self._urgent_turn = True
        dead_due = self._dead[0][0] if self._dead else float("inf")
        if self._round:
            dead_due = max(dead_due, self._dead_not_before)
        if dead_due <= now:
            _, address = heapq.heappop(self._dead)
            return self._take(address, now)
        if self._round:
            address = self._round[0]
            due = self._homes[address].last_turn + self.min_interval_s
            if due <= now:
                return self._take(address, now)
        else:
            due = float("inf")
        if self._urgent:
            self._urgent_turn = False
            address = self._urgent.popleft()
            self._homes[address].urgent = False
            return self._take(address, now)
        return min(due, dead_due)

    def _take(self, address: int, now: float) -> int:
        state = self._homes[address]
        state.last_turn = now
        if not state.dead:
            # To the back of the round, also when it had its turn out of order. A home polled
            # in order is at the front, so this is cheap in the usual case.
            if self._round[0] == address:
                self._round.rotate(-1)
            else:
                self._round.remove(address)
                self._round.append(address)
        return address

    def answered(self, address: int, *, more: bool = False) -> None:
        """The home answered; `more` when it flagged an event or pending records."""
        state = self._homes[address]
        state.misses = 0
        if state.dead:
            state.dead = False
            state.backoff.reset()
            self._round.append(address)
        if more:
            self.request(address)

    def silent(self, address: int, now: float) -> None:
        """It is known to be silent, and no time was spent on it: back it off at once."""
        state = self._homes[address]
        if not state.dead:
            state.misses = max(state.misses, self.dead_after)
            self._rest(state, now)

    def missed(self, address: int, now: float, cost_s: float) -> None:
        """The home did not answer; `cost_s` of line time was spent waiting for it."""
        state = self._homes[address]
        state.misses += 1
        if not state.dead and state.misses < self.dead_after:
            if state.misses == 1:
                self.request(address)
            return
        self._rest(state, now)
        share = self.dead_share
        self._dead_not_before = now + (cost_s / share if share > 0 else 3600.0)

    def _rest(self, state: _Home, now: float) -> None:
        if not state.dead:
            state.dead = True
            self._round.remove(state.address)
            if state.urgent:
                state.urgent = False
                self._urgent.remove(state.address)
        state.next_try = now + state.backoff.next()
        heapq.heappush(self._dead, (state.next_try, state.address))
