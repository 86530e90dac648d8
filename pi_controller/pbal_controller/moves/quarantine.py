"""Homes that get no orders until a person lifts the quarantine: in force at once, then listed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from pbal_controller.homes import Fleet, Home
from pbal_controller.journal import AsyncJournal, Journal

log = logging.getLogger(__name__)


class Quarantine:
    """The homes in quarantine, `Home.quarantined`, and their list in the journal.

    `lifted` is called with each home whose quarantine a person has lifted.
    """

    def __init__(
        self,
        fleet: Fleet,
        journal: AsyncJournal,
        publish: Callable[[str, dict[str, Any]], None],
        lifted: Callable[[int], None],
    ) -> None:
        self.to_be_marked = False  # a copy of the journal from before this moment must show
        self._fleet = fleet
        self._journal = journal
        self._publish = publish
        self._lifted = lifted
        self._unlisted: dict[int, str] = {}  # what a failing journal has not taken yet

    async def recover(self) -> None:
        """Put the listed homes back into quarantine at a start."""
        for address, why in (await self._journal.call(Journal.quarantined)).items():
            home = self._fleet.get(address)
            if home is not None:
                home.quarantined = why

    def put(self, home: Home, why: str) -> None:
        """In force at once; listed as soon as the journal takes it."""
        home.quarantined = self._unlisted[home.address] = why
        log.error("home quarantined", extra={"home": home.address, "why": why})
        self._publish("quarantine", {"home": home.address, "why": why})

    async def write(self) -> None:
        """List what is not listed yet. Raises JournalError; the next call tries again."""
        for address, why in list(self._unlisted.items()):
            await self._journal.call(Journal.quarantine, address, why)
            del self._unlisted[address]
            self.to_be_marked = True

    async def look(self) -> None:
        """A person may have lifted one (`pbal-controller lift`)."""
        await self.write()
        listed = await self._journal.call(Journal.quarantined)
        for home in self._fleet:
            if home.quarantined and home.address not in listed:
                log.info("quarantine lifted", extra={"home": home.address})
                home.quarantined = ""
                self._lifted(home.address)
