"""Frame counters: reserved in the journal before they are used, and written down when heard."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from pbal_controller.errors import NumbersSpentError
from pbal_controller.homes.fleet import Fleet
from pbal_controller.homes.inbox import Doubtful, Inbox
from pbal_controller.homes.session import BEACONS, GroupSession
from pbal_controller.journal import COUNTER_BLOCK, AsyncJournal, Journal
from pbal_protocol.frames import DOWN, GROUP

log = logging.getLogger(__name__)

_TICK_S = 0.2
# How often the highest counters heard are written down (an SD card wears with every write); a
# start takes them up again. A frame replayed from within this time after a crash is refused by
# its age (polling.max_delay_s); results and events change nothing when they come again.
_WRITE_EVERY_S = 60.0
_BEACONS = 1  # beside the group's other frames, which are at address 0


class Counters:
    """Of all homes and of the group."""

    def __init__(
        self,
        fleet: Fleet,
        group: GroupSession,
        journal: AsyncJournal,
        inbox: Inbox,
        now: Callable[[], float],
        beacons: bool = False,
    ) -> None:
        """`beacons`: whether the site has a radio that sends them."""
        self._fleet = fleet
        self._group = group
        self._journal = journal
        self._inbox = inbox
        self._now = now
        self._beacons = beacons

    async def restore(self) -> None:
        """What was heard before this start is refused as a replay; how far we had reserved."""
        heard = await self._journal.call(Journal.up_counters)
        reserved = await self._journal.call(Journal.down_counters)
        for home in self._fleet:
            session = home.session
            if session is None:
                continue
            key_id, counter = heard.get(home.address, ("", 0))
            if key_id == session.key_id:
                session.raise_up_floor(counter)
            key_id, counter = reserved.get(home.address, ("", 0))
            if key_id == session.key_id:
                session.stored = counter

    async def reserve(self) -> None:
        """The next block for each session that needs one. Raises JournalError."""
        for home in self._fleet:
            session = home.session
            # Not before its Hello, which is compared with what the journal holds until then.
            if session is not None and home.hello is not None and session.counters.wants_more:
                try:
                    first = await self._journal.call(
                        Journal.reserve, home.address, DOWN, session.key_id,
                        max(1, session.counters.floor), COUNTER_BLOCK,
                    )  # fmt: skip
                except NumbersSpentError:
                    # Its floor is its own claim: a wrong one must not stop the others.
                    session.counters.spent = True
                    why = "its floor leaves no frame counters; give it new keys (pbal provision)"
                    self._inbox.put(Doubtful(home.address, why))
                    continue
                session.counters.extend(first, COUNTER_BLOCK)
        if self._group.counters.wants_more:
            first = await self._journal.call(
                Journal.reserve, 0, GROUP, self._group.key_id, 1, COUNTER_BLOCK
            )
            self._group.counters.extend(first, COUNTER_BLOCK)
        if self._beacons and self._group.beacons.wants_more:
            first = await self._journal.call(
                Journal.reserve, _BEACONS, GROUP, self._group.key_id, 1, COUNTER_BLOCK
            )
            if first + COUNTER_BLOCK > BEACONS:
                # One more would have the counter, so the nonce, of an old one.
                self._group.beacons.spent = True
                log.error("no counters are left for beacons: the radio stays silent")
            else:
                self._group.beacons.extend(first, COUNTER_BLOCK)

    async def write_heard(self) -> None:
        """The highest counters heard go to the journal. Raises JournalError."""
        rows = [
            (home.address, home.session.key_id, home.session.up_floor)
            for home in self._fleet
            if home.session is not None and home.session.up_floor
        ]
        await self._journal.call(Journal.set_up_counters, rows)

    async def run(self, beat: Callable[[], None]) -> None:
        """Reserve ahead of need, write down what was heard; until cancelled."""
        written = self._now()
        while True:
            await self.reserve()
            if self._now() - written >= _WRITE_EVERY_S:
                written = self._now()
                await self.write_heard()
            beat()
            await asyncio.sleep(_TICK_S)
