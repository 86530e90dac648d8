"""One end of the sealed link between a site and its gateway.

Frames are those of the protocol (pbal_protocol.frames): up from the site, down from the gateway,
under keys derived from a root that only these two hold. Counters come from the journal before they
are used (journal/numbers.py), so neither a crash nor a restored copy repeats one; the highest one
heard is in the journal before a frame's content is used, so none is taken twice.
"""

from __future__ import annotations

import enum
import hashlib

from pbal_controller.homes import CounterBlock
from pbal_controller.journal import COUNTER_BLOCK, AsyncJournal, Journal
from pbal_protocol.frames import DOWN, UP, Opener, Sealer
from pbal_protocol.kdf import node_keys

# In the journal's table of counters, beyond the homes' addresses.
_PLACE = 1 << 32
_HEARD, _SENT = 1, 2  # kinds of counters, as of homes


class End(enum.Enum):
    """Which end of the link this is."""

    SITE = 1
    GATEWAY = 2


def link_address(site: int) -> int:
    """The address in the link's frames: what of a site's number fits."""
    return site & 0xFFFF


class SealedLink:
    """One end. `restore` before anything else."""

    def __init__(self, journal: AsyncJournal, site: int, root: bytes, end: End) -> None:
        address = link_address(site)
        up, down = node_keys(root, site, address)
        self.site = site
        self._journal = journal
        self._place = _PLACE + site
        self._key_id = hashlib.sha256(b"pbal link fingerprint" + root).hexdigest()[:16]
        self._counters = CounterBlock()
        if end is End.SITE:
            self._sealer = Sealer(up, UP, site, address)
            self._opener = Opener(down, DOWN, site, address)
        else:
            self._sealer = Sealer(down, DOWN, site, address)
            self._opener = Opener(up, UP, site, address)

    async def restore(self) -> None:
        """Refuse from now on what was taken before. Raises JournalError."""
        floor = await self._journal.call(Journal.counter, self._place, _HEARD, self._key_id)
        self._opener.raise_floor(floor)

    async def seal(self, payload: bytes) -> tuple[int, bytes]:
        """The frame and its counter. Raises JournalError."""
        if self._counters.wants_more:
            first = await self._journal.call(
                Journal.reserve, self._place, _SENT, self._key_id, 1, COUNTER_BLOCK
            )
            self._counters.extend(first, COUNTER_BLOCK)
        counter = self._counters.take()
        return counter, self._sealer.seal(counter, payload)

    async def open(self, frame: bytes) -> tuple[int, bytes]:
        """(counter, payload) of a frame that is authentic and new; the journal knows of it.

        Raises pbal_protocol's RemoteError, and JournalError.
        """
        payload = self._opener.open(frame)
        counter = int.from_bytes(frame[3:7], "little")
        await self._journal.call(
            Journal.set_counter, self._place, _HEARD, self._key_id, self._opener.floor
        )
        return counter, payload
