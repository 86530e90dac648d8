"""The group key as the controller changes it: the newest, and for a while the one before.

    GroupKey --> wanted --slow_work--> flash --> newest --> GroupProof
                                                 newest --> older, until a group frame opens
                                                            under the new key, or for 24 h

Only the newest is in flash: after a reset in the middle of a change a node opens what comes under
the new key and is told the time by frames of its own until the controller uses it too. Each key
has a replay window of its own; that of a new key begins at zero, so that whoever held the old one
cannot have raised it.
"""

import struct

from micropython import const

from pbal_protocol import frames, records

_FMT = const("<II32s")  # site, generation, key
_LEN = const(40)
_OLDER_MS = const(86400000)


def kept(slot, site: int, generation: int, key: bytes) -> tuple:
    """(generation, key) to use: those in flash when they are newer than the identity's."""
    raw = slot.load()
    if raw is not None and len(raw) == _LEN:
        flash_site, flash_generation, flash_key = struct.unpack(_FMT, raw)
        if flash_site == site and flash_generation > generation:
            return flash_generation, flash_key
    return generation, key


class GroupKeys:
    """`key`: the group frames' key of `generation`; `slot`: where the next one is kept;
    `floor`: what flash has of this generation's counters (counters.Floors).
    """

    def __init__(
        self, site: int, address: int, generation: int, key: bytes, slot, floor: int = 0
    ) -> None:
        self._site = site
        self._address = address
        self._slot = slot
        self.generation = generation
        self.newest = self._opener(key, floor)
        self.older: "frames.Opener | None" = None
        self._older_ms = 0  # when `older` began to be the older one
        self._wanted: "records.GroupKey | None" = None

    def _opener(self, key: bytes, floor: int = 0) -> "frames.Opener":
        return frames.Opener(key, frames.GROUP, self._site, 0, floor)

    def order(self, r) -> "bytes | None":
        """Take a GroupKey: the proof for a challenge; None for a key, which waits for flash.

        Raises ValueError when it is neither.
        """
        n = len(r.group_key)
        if n == 0:
            return self._proof(r.challenge)
        if n != 32:
            raise ValueError
        self._wanted = r
        return None

    def _proof(self, challenge: int) -> bytes:
        return records.GroupProof(
            generation=self.generation,
            challenge=challenge,
            proof=self.newest.proof(self._address, challenge),
        ).encode()

    def slow_work(self, now_ms: int) -> "bytes | None":
        """Take a key that waits: flash first, then use, then the proof. None: nothing to prove."""
        if self.older is not None and now_ms - self._older_ms >= _OLDER_MS:
            self.older = None
        r = self._wanted
        if r is None:
            return None
        self._wanted = None
        opener = self._opener(r.group_key)
        same = opener.proof(0, r.challenge) == self.newest.proof(0, r.challenge)
        if not same or r.generation != self.generation:
            raw = struct.pack(_FMT, self._site, r.generation, r.group_key)
            if not self._slot.save(raw, True):
                return None  # no proof: the controller tells it again
            self.generation = r.generation
        if not same:
            # A key under which no frame came yet is not the one in use: `older` stays.
            if self.older is None:
                self.older = self.newest
                self._older_ms = now_ms
            self.newest = opener
        return self._proof(r.challenge)
