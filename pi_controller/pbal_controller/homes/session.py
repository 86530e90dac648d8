"""One node's secure conversation: counters, sealing and opening, and setting its clock.

Counters of frames to a node are handed out from blocks that the journal has already
reserved, so that no crash repeats one (a repeated counter would reveal both messages). The block is
renewed well before it is spent; a session whose block is spent raises IndexError and sends nothing
until the journal has answered.
"""

from __future__ import annotations

import secrets
import struct
import time
from collections import deque
from collections.abc import Iterable

from pbal_controller.journal import COUNTER_BLOCK
from pbal_protocol.codec import Record
from pbal_protocol.errors import RemoteError
from pbal_protocol.frames import (
    DOWN,
    GROUP,
    TAG_LEN,
    UP,
    VERSION,
    WINDOW,
    Opener,
    Sealer,
)
from pbal_protocol.kdf import group_key, node_keys
from pbal_protocol.records import TimeSync, decode_all

# Range of the random skip above another controller's counters: two of them coincide about once in
# so many times.
SKIP = 1 << 16
# Frame counters of beacons have this bit.
BEACONS = 1 << 31
# So many of the last beacons are known again when they come back: an echo, another radio of ours.
_BEACONS_KEPT = 64


class CounterBlock:
    """Counters reserved in the journal: `first`..`end - 1` may be used, each once."""

    def __init__(self) -> None:
        self.next_value = 0
        self.end = 0
        self.floor = 0
        self.spent = False  # the journal has none above the floor

    @property
    def left(self) -> int:
        """How many counters may still be used without asking the journal."""
        return max(0, self.end - max(self.next_value, self.floor))

    @property
    def wants_more(self) -> bool:
        """Whether it is time to reserve the next block."""
        return not self.spent and self.left < COUNTER_BLOCK // 2

    def take(self) -> int:
        """The next counter. Raises IndexError when none is left."""
        value = max(self.next_value, self.floor)
        if value >= self.end:
            raise IndexError("no reserved counter is left")
        self.next_value = value + 1
        return value

    def extend(self, first: int, count: int) -> None:
        """The journal reserved `count` counters from `first`."""
        if first != self.end:  # a gap: what was left of the old block is given up
            self.next_value = first
        self.end = first + count

    def raise_floor(self, floor: int) -> None:
        """Never use a counter below `floor` again (the node would refuse it)."""
        self.floor = max(self.floor, floor)

    def node_floor(self, floor: int, skip: int | None = None) -> None:
        """The node accepts nothing up to `floor`.

        When those were not our frames, another controller may use the next counters: go on `skip`
        above, by default drawn from WINDOW..SKIP.
        """
        if floor >= max(self.next_value, self.floor):
            if skip is None:
                skip = WINDOW + secrets.randbelow(SKIP - WINDOW)
            self.floor = floor + 1 + skip


class Session:
    """The sealed conversation with one node."""

    def __init__(self, site_id: int, address: int, root: bytes, key_id: str) -> None:
        up, down = node_keys(root, site_id, address)
        self.address = address
        self.key_id = key_id
        self.counters = CounterBlock()
        self.stored = 0  # what the journal had reserved before this start; 0: nothing
        self._sealer = Sealer(down, DOWN, site_id, address)
        self._opener = Opener(up, UP, site_id, address)
        self._newest: dict[int, int] = {}  # record id -> the counter it came with last

    @property
    def sealed(self) -> int:
        """The highest counter sealed since the start, 0 for none."""
        return self._sealer.last

    def hello_request(self) -> bytes:
        """A frame that no key has sealed, to which the node answers with a Hello.

        Counter 0 is below every floor: the node refuses it without opening it, and sends a Hello,
        as to a controller that lost its counters. So its floor is known before anything is sealed
        for it.
        """
        head = struct.pack("<BHI", VERSION << 4 | DOWN, self.address, 0)
        return head + secrets.token_bytes(TAG_LEN + 1)

    @property
    def up_floor(self) -> int:
        """The highest counter accepted from the node."""
        return self._opener.floor

    def raise_up_floor(self, counter: int) -> None:
        """Refuse every counter of the node up to this one."""
        self._opener.raise_floor(counter)

    def open(self, frame: bytes) -> list[Record]:
        """The records of an authentic, unseen frame. Raises pbal_protocol RemoteErrors."""
        return decode_all(self._opener.open(frame), "up")

    def overtaken(self, record: Record, counter: int) -> bool:
        """Whether one of the same kind came before in a later frame of the node. `counter`: of the
        frame that brings this one, which is remembered otherwise.
        """
        if counter < self._newest.get(record.ID, 0):
            return True
        self._newest[record.ID] = counter
        return False

    def seal(self, records: Iterable[Record]) -> bytes:
        """One frame with these records. Raises IndexError when no counter is left."""
        return self.seal_payload(b"".join(record.encode() for record in records))

    def seal_payload(self, payload: bytes) -> bytes:
        """One frame with these records, encoded. Raises IndexError when no counter is left."""
        return self._sealer.seal(self.counters.take(), payload)


class GroupSession:
    """The site's group frames: time and measure-now, to everybody on a bearer."""

    def __init__(self, site_id: int, site_group_key: bytes, key_id: str) -> None:
        self.key_id = key_id
        self.counters = CounterBlock()
        # Beacons come many times a minute. With counters of their own, which have the highest bit,
        # they do not wear the flash of the nodes that keep the others' floor.
        self.beacons = CounterBlock()
        self._site_id = site_id
        self._sent: deque[bytes] = deque(maxlen=_BEACONS_KEPT)
        self.use(site_group_key)

    def use(self, site_group_key: bytes) -> None:
        """Seal with this group root from now on. The counters go on where they are."""
        key = group_key(site_group_key, self._site_id)
        self._sealer = Sealer(key, GROUP, self._site_id, 0)
        self._beacons = Sealer(key, GROUP, self._site_id, 0)
        self._key = key

    def opens(self, frame: bytes) -> bool:
        """Whether somebody with this group key sealed it, now or earlier."""
        try:
            Opener(self._key, GROUP, self._site_id, 0).open(frame)
        except RemoteError:
            return False
        return True

    def is_foreign(self, frame: bytes) -> bool:
        """Whether somebody sealed this beacon with the group key, and not this session lately."""
        return frame not in self._sent and self.opens(frame)

    def seal_beacon(self, record: Record) -> bytes:
        """One beacon. Raises IndexError when no counter is left."""
        frame = self._beacons.seal(BEACONS | self.beacons.take(), record.encode())
        self._sent.append(frame)
        return frame

    def seal(self, record: Record) -> bytes:
        """One group frame. Raises IndexError when no counter is left."""
        return self._sealer.seal(self.counters.take(), record.encode())


def time_sync(nonce: int, now_s: float | None = None) -> TimeSync:
    """The site time now, answering a node's nonce (0 in a group frame)."""
    now = time.time() if now_s is None else now_s
    ms = int(now * 1000)
    return TimeSync(time_s=ms // 1000, time_ms=ms % 1000, nonce=nonce)
