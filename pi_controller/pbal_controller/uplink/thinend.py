"""A site's end of a thin link: what goes up in brief, and what HQ's items do here.

LoRa and LoRaWAN decide when something goes, how much of it at once, and when the next hop has it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from pbal_controller.journal import AsyncJournal
from pbal_controller.uplink import outbox
from pbal_controller.uplink.briefbox import Briefbox
from pbal_controller.uplink.contracts import Orders
from pbal_uplink import State, Summary, brief, link

_STATE_EVERY_S = 86_400.0
_EXTRAS = 4


class ThinEnd:
    """`box` has the rows of the outbox, `extras` the brief messages that are in no outbox: a state,
    and readings that HQ ordered.
    """

    def __init__(
        self,
        journal: AsyncJournal,
        room: int,
        resend_s: float,
        state: Callable[[int, int], State],
        orders: Orders,
        reading: Callable[[], Awaitable[Summary | None]],
    ) -> None:
        """`room`: bytes of one brief message; `state`: made of (backlog, thinned)."""
        self._journal = journal
        self._room = room
        self._state = state
        self._orders = orders
        self._reading = reading
        self._resend_s = resend_s
        self._joiner = link.Joiner()
        self._state_at = float("-inf")
        self.box = Briefbox(room, resend_s)
        self.extras: list[bytes] = []
        self.acknowledged_total = 0

    @property
    def lacks_parts(self) -> bool:
        """Whether a command is not whole yet."""
        return self._joiner.lacks_parts

    async def begin(self) -> None:
        """Before the first turn: what waits now is historical. Raises JournalError."""
        last = await self._journal.call(outbox.last_id)
        self.box = Briefbox(self._room, self._resend_s, last)

    async def refresh(self) -> None:
        """Take up what is new in the outbox, and the day's state. Raises JournalError."""
        if asyncio.get_running_loop().time() - self._state_at >= _STATE_EVERY_S:
            await self.say_state()
        for above, up_to, most in self.box.wanted():
            rows = await self._journal.call(outbox.rows, above, up_to, most)
            self.box.offer(rows, up_to)

    async def stored(self, tokens: list[int]) -> None:
        """HQ has these messages of the outbox. Raises JournalError."""
        gone = await self._journal.call(outbox.stored, tokens)
        self.box.done(gone)
        self.acknowledged_total += len(gone)

    async def take(self, item: link.Item) -> bool:
        """Carry out one item from HQ; whether it was an order. Raises BadMessage, JournalError."""
        if item.kind == link.STORED:
            await self.stored(self.box.own_tokens(link.stored_tokens(item)))
        elif item.kind == link.ASK:
            await self.say_state()
        elif item.kind == link.PART:
            sealed = self._joiner.put(item)
            if sealed is not None:
                await self._order(sealed)
                return True
        return False

    async def _order(self, sealed: bytes) -> None:
        effect = await self._orders.take(sealed)
        if effect.rebirth:
            await self.say_state()
        if effect.reading and (summary := await self._reading()) is not None:
            self.extras = [*self.extras, brief.encode(summary)][-_EXTRAS:]

    async def say_state(self) -> None:
        """Send the State next. Raises JournalError."""
        self._state_at = asyncio.get_running_loop().time()
        waiting = await self._journal.call(outbox.backlog)
        thinned = await self._journal.call(outbox.thinned_total)
        state = brief.encode(self._state(waiting, thinned), self._room)
        kept = [body for body in self.extras if body[:1] != state[:1]]
        self.extras = [state, *kept][:_EXTRAS]
