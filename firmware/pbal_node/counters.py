"""What no reset may lose or use twice: frame counters, starts and crashes, floors of time.

Up counters are reserved in flash in blocks before they are used, floors are raised before a frame
is acted on. A flash that is set back to an older copy does not have what was used since. So
until site time is proven, and while counters are ahead of it, frames carry a nonce of their own
(`Counters.wants_nonce`); from the first proven time on counters follow the time (`follow`). A
frame sealed with a counter alone had a counter below the clock of that moment, so none above
today's was used. A radio's short frames have no room for a nonce and wait until then, so a node
with a radio does not go far ahead of the clock (`keep_near`). Another's start jumps ahead at
random, and each uses every fourth number only until site time is proven: with a flash that was
set back it passes sooner what its controller has heard.
"""

import os
import struct

from micropython import const

from pbal_node.store import FlashStats, Slot

_UP_BLOCK = const(4096)  # up counters reserved per flash write
_DOWN_BLOCK = const(256)  # the down floor is raised in steps of this, and the group floor
_LAST = const(0xFFFFFFFF)  # no counter is above this
_EPOCH_S = const(1735689600)  # 2025-01-01: up counters follow site time from here on ...
_PER_S = const(6)  # ... faster than a node is polled
_CLOCK_BLOCK = const(32768)  # reserved where it did: 1.5 hours of site time
_NEAR_BLOCK = const(1024)  # always, by a node with a radio: 171 s of it
_SKIP = const(131072)  # more than one write reserves, a start's jump with it
_LANE = const(4)  # multiples of it are for frames before the first proven time of a start
_SPENT_UP = const(1)  # bits of Counters.spent, as in the event COUNTERS_SPENT
_SPENT_DOWN = const(2)
_GROUP_EVERY_MS = const(600000)  # jumping group counters may not wear the flash faster than this
_PROVEN_EVERY_S = const(21600)  # how far proven time in flash may fall behind
STREAK = const(0x3F)  # the crash byte: how many in a row, and two marks
_YOUNG = const(0x40)
_NOTED = const(0x80)


class Counters:
    """Frame counters that no reboot may reuse, the boot count and the crash streak.

    `crashes` counts the starts in a row that did not last. A crash that the application saw itself
    is counted when it happens (shutdown.py), because the next boot (build.py) cannot tell it from a
    reset that a person asked for: the port reports both as HARD_RESET.
    """

    _FMT = "<IIIB"

    def __init__(self, path: str, stats: FlashStats) -> None:
        self._slot = Slot(path, stats)
        raw = self._slot.load()
        self.up_ceiling = self.down_floor = self.boots = self.crashes = 0
        if raw is not None and len(raw) >= struct.calcsize(self._FMT):
            self.up_ceiling, self.down_floor, self.boots, self.crashes = struct.unpack_from(
                self._FMT, raw, 0
            )
            if self._slot.damaged:
                # The copy that is lost may have been the newer one: what it reserved may be used.
                self.up_ceiling = min(self.up_ceiling + _SKIP, _LAST)
                self.down_floor = min(self.down_floor + 2 * _DOWN_BLOCK, _LAST)
        elif self._slot.damaged:
            # Nothing is known: start at random, where most likely no counter was used.
            self.up_ceiling = 0x40000000 | int.from_bytes(os.urandom(4), "little") >> 2
        self.damaged = self._slot.damaged
        self.noted = self.crashes & _NOTED > 0  # the last crash is counted already
        self.young = self.crashes & _YOUNG > 0  # that start had not proven itself yet
        self.crashes &= STREAK
        # The rest of the last block is lost, never reused; nor are the counters that a flash set
        # back to an older copy does not have.
        self._up = min(self.up_ceiling + struct.unpack("<H", os.urandom(2))[0], _LAST)
        self._proven = False  # site time, since this start
        self._near = False

    def keep_near(self) -> None:
        """Call before the first frame where frames are short: no jump at this start, and small
        blocks, so that the clock soon is ahead of the counters after a start.
        """
        self._near = True
        self._up = self.up_ceiling

    @property
    def spent(self) -> int:
        """1: no up counter is left, nothing is sealed any more; 2: no down counter can follow."""
        return (_SPENT_UP if self._up + _LANE > _LAST else 0) | (
            _SPENT_DOWN if self.down_floor >= _LAST else 0
        )

    def save(self, asked: bool = False) -> bool:
        marks = (_NOTED if self.noted else 0) | (_YOUNG if self.young else 0)
        return self._slot.save(
            struct.pack(
                self._FMT, self.up_ceiling, self.down_floor, self.boots, self.crashes | marks
            ),
            asked,
        )

    def settle(self, crashes: int = 0) -> None:
        """This start has proven itself, or a person looks after it: crashes are counted from zero,
        or from `crashes`.
        """
        if self.crashes != crashes or self.young or self.noted:
            self.crashes = crashes
            self.young = self.noted = False
            self.save()

    def next_up(self) -> int:
        """The next up counter (1..2**32-1); 0 when flash refuses the reservation, or none is left:
        a counter never starts again from the beginning.
        """
        if self._up + _LANE > self.up_ceiling and not self._reserve():
            return 0
        if self._proven:
            self._up += 2 if self._up % _LANE == _LANE - 1 else 1
        else:
            self._up += _LANE - self._up % _LANE
        return self._up

    def wants_nonce(self, site_s: int) -> bool:
        """True when the next up counter is not to be a nonce: it may have been used before this
        start.
        """
        return not self._proven or self._up + 2 > (site_s - _EPOCH_S) * _PER_S

    def _reserve(self) -> bool:
        before = self.up_ceiling
        if self._up + _LANE > _LAST:
            return False
        if self._near:
            self.up_ceiling = min(max(self._up, before) + _NEAR_BLOCK, _LAST)
        elif self._up > before or not self._proven:  # it went past the reserve, or steps by four
            self.up_ceiling = min(self._up + _CLOCK_BLOCK, _LAST)
        else:
            self.up_ceiling = min(before + _UP_BLOCK, _LAST)
        if self.save():
            return True
        self.up_ceiling = before
        return False

    def follow(self, site_s: int) -> None:
        """Site time was proven: up counters go on above all that was used before it, so that a node
        whose flash was set back to an older copy uses none again.
        """
        base = (site_s - _EPOCH_S) * _PER_S
        if self._up >= base or base + _LANE > _LAST:
            self._proven = True
        elif base + _LANE <= self.up_ceiling or self._slot.may():
            # Beyond what is reserved it costs a write, and whoever has the keys can prove any time.
            self._proven = True
            self._up = base

    def prepare(self, room: int, highest_down: int) -> None:
        """Reserve ahead, at a quiet moment, what the next frames will need."""
        if self.up_ceiling - self._up < room:
            self._reserve()
        if self.down_floor - highest_down < _DOWN_BLOCK // 4 and self.down_floor < _LAST:
            self.accept_down(self.down_floor + 1)

    def accept_down(self, counter: int) -> bool:
        """Call before acting on a frame: True when no reboot can accept this counter again."""
        if counter <= self.down_floor:
            return True
        before = self.down_floor
        self.down_floor = min(counter + _DOWN_BLOCK, _LAST)
        if not self.save(True):
            self.down_floor = before
            return False
        return True


class Floors:
    """What no reset may forget of the group's frames and of site time (S4).

    `group`: no group frame of `generation` up to this counter is accepted after a reset.
    `proven_s`: see `SiteClock.settled_s`; commands expire by it. In a slot of its own, so that an
    application from before it still reads its counters.
    """

    _FMT = "<III"

    def __init__(self, path: str, stats: FlashStats) -> None:
        self._slot = Slot(path, stats)
        self.generation = self.group = self.proven_s = 0
        self._saved_ms = -_GROUP_EVERY_MS
        raw = self._slot.load()
        if raw is not None and len(raw) >= struct.calcsize(self._FMT):
            self.generation, self.group, self.proven_s = struct.unpack_from(self._FMT, raw, 0)
            if self._slot.damaged:
                self.group = min(self.group + 2 * _DOWN_BLOCK, _LAST)

    def of(self, generation: int) -> int:
        """The floor of a group key's counters: a new key begins at zero."""
        return self.group if generation == self.generation else 0

    def _save(self, generation: int, group: int, proven_s: int) -> bool:
        if not self._slot.save(struct.pack(self._FMT, generation, group, proven_s), True):
            return False
        self.generation = generation
        self.group = group
        self.proven_s = proven_s
        return True

    def accept_group(self, generation: int, counter: int, settled_s: int, now_ms: int) -> bool:
        """Call before a group frame is used: True when no reset can accept it again.

        A counter above the floor costs a write, and whoever holds the group key can make counters
        jump: one write in ten minutes, frames that would need more are refused.
        """
        if counter <= self.of(generation):
            return True
        if generation == self.generation and now_ms - self._saved_ms < _GROUP_EVERY_MS:
            return False
        self._saved_ms = now_ms
        return self._save(generation, min(counter + _DOWN_BLOCK, _LAST), settled_s or self.proven_s)

    def keep(self, settled_s: int) -> None:
        """At a quiet moment: proven time, when it went on for hours or had to give way."""
        ahead = settled_s - self.proven_s
        if settled_s and (ahead >= _PROVEN_EVERY_S or ahead < 0):
            self._save(self.generation, self.group, settled_s)
