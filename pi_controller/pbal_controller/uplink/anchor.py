"""Signs the audit log's end at intervals and has HQ keep it, where nobody here can alter it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from pbal_controller.journal import AsyncJournal, Journal, sign
from pbal_controller.uplink import outbox
from pbal_controller.uplink.facts import event_id
from pbal_uplink import Event, names

FIRST_S = 60.0  # after the start, which is busy
EVERY_S = 6 * 3600.0
_STEP_S = 20.0


def anchor(journal: Journal, key: Ed25519PrivateKey, site: int, told: bool) -> str:
    """Sign what is new, and queue it for HQ where one is `told`. NUMBER:LINK; empty: nothing new.

    On return both are on the disk; a crash between the two costs this one anchor, no more.
    """
    made = sign(journal, key)
    if made is None:
        return ""
    if told:
        event = Event(
            site=site, event_id=event_id("audit", made.seq, made.link), at_s=int(made.at_s),
            kind=names.KIND_AUDIT, severity=names.INFO, detail=made.words,
        )  # fmt: skip
        outbox.put(journal, event, 0)
    return made.words


class Anchors:
    """The loop: soon after the start, then every few hours while something was written."""

    def __init__(
        self,
        journal: AsyncJournal,
        key: Ed25519PrivateKey,
        site: int,
        told: bool,
        wake: Callable[[], None],
    ) -> None:
        self._journal = journal
        self._key = key
        self._site = site
        self._told = told
        self._wake = wake

    async def run(self, beat: Callable[[], None]) -> None:
        """Until cancelled. Raises JournalError."""
        left = FIRST_S
        while True:
            while left > 0:
                beat()
                await asyncio.sleep(min(left, _STEP_S))
                left -= _STEP_S
            if await self._journal.call(anchor, self._key, self._site, self._told):
                self._wake()
            left = EVERY_S
