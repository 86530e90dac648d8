"""Other sites on the channel, and when a round of ours may begin beside theirs.

    A's beacon, slots, ..., end | B's beacon, slots, ..., end | A's beacon ...

Every controller that hears another one's beacons ends its rounds with a beacon that asks nobody
(`tdma.Rounds.end`), and lets the others go first: the frame offsets of both follow from what they
hear, so clocks that drift move nothing. Who heard more rounds of others since its own waits less;
a random part keeps two that heard equally many from meeting for ever.

What is heard proves nothing, as only the other site could open it: its kind, its counter, its
length and its strength are all there is. So a site gives way for `most_s` at most, then it begins
its round whoever seems to speak: forged beacons cost time, and put nobody off the air.
Times are seconds of one clock that does not go back. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pbal_protocol.errors import RemoteError
from pbal_protocol.frames import DOWN, GROUP, peek
from pbal_protocol.radio import tdma
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.follower import CONTENTION, URGENT_BYTES

# Bytes of a sealed beacon that asks nobody; eight slots take one byte more.
EMPTY_BYTES = 35
_LONGEST_BYTES = EMPTY_BYTES + 32
_BEACON_BIT = 1 << 31
# Beacons of one site have counters that rise, mostly by one: some are missed, and counters skip the
# blocks of a standby's lane and follow the clock (journal/numbers.py). Two sites are far apart.
_MISSED = 2048
_MISSED_A_SECOND = 4
_MOST = 8
# Of the homes in a round; and of the rounds, those after which a site that heard nobody listens,
# for so many steps: a busy site hears no other one while it speaks itself.
_ENOUGH = 0.7
_LOOKS = 1 / 8
_LOOK_STEPS = 3
# Without a beacon for so long, a neighbour is gone.
FORGET_S = 300.0
# A frame to a node of another site may be followed by as much as a bridge's batches.
_ANSWERS_S = 4.0
# From the end of a frame until the other end has read it and may send.
_TURN_S = 0.1


def beacon_counter(frame: bytes) -> int | None:
    """The counter of what looks like a beacon, of whichever site; None for another frame."""
    try:
        _version, kind, address, counter = peek(frame)
    except RemoteError:
        return None
    fits = EMPTY_BYTES <= len(frame) <= _LONGEST_BYTES
    return counter if kind == GROUP and address == 0 and counter & _BEACON_BIT and fits else None


def is_command(frame: bytes) -> bool:
    """Whether it looks like a frame from a controller to one node."""
    try:
        return peek(frame)[1] == DOWN
    except RemoteError:
        return False


@dataclass(slots=True)
class Neighbour:
    """One stream of beacons that are not ours."""

    counter: int
    first_s: float
    heard_s: float
    rssi_dbm: float
    beacons: int = 1
    speaks: bool = False  # a round of it is under way ...
    until_s: float = 0.0  # ... until it ends it, and no longer than this


class Neighbours:
    """What is heard of other sites on one channel. `step_s` is how long a beginning round takes to
    be heard: nobody begins within one step of another's turn.
    """

    def __init__(
        self, sf: int, bw_hz: int, guard_s: float, most_s: float, chance: Callable[[], float]
    ) -> None:
        self.sf = sf
        self.most_s = most_s
        self.all: list[Neighbour] = []
        self.overheard = 0  # beacons of others
        self.waited_s = 0.0  # given away since the start
        self.crowded = 0  # rounds that began although somebody seemed to speak
        self._bw_hz = bw_hz
        self._guard_s = guard_s
        self._chance = chance
        self._others = 0  # rounds of others that began since our own one
        self._free_s = 0.0
        self._drawn = 0
        self._own_end_s = 0.0
        self._aside_s = 0.0
        self._looks = False
        self.step_s = self._air_s(_LONGEST_BYTES) + _TURN_S

    def _air_s(self, size: int) -> float:
        return time_on_air_us(size, self.sf, self._bw_hz) / 1e6

    def _window_s(self) -> float:
        return CONTENTION * (self._air_s(URGENT_BYTES) + self._guard_s)

    def near(self, now: float) -> list[Neighbour]:
        """Those that were heard lately."""
        return [each for each in self.all if now - each.heard_s < FORGET_S]

    # -- what is heard ----------------------------------------------------------------------------

    def beacon(self, counter: int, size: int, end_s: float, rssi_dbm: float) -> Neighbour | None:
        """A beacon that is not ours ended; the neighbour, if it is a new one."""
        self.overheard += 1
        one, new = self._stream(counter, end_s, rssi_dbm)
        begins = not one.speaks or end_s >= one.until_s
        if size > EMPTY_BYTES:
            slots = 8 * (size - EMPTY_BYTES)
            one.speaks = True
            longest_s = slots * (self._air_s(tdma.UP_BYTES) + self._guard_s) + self._window_s()
            # The beacon that ends it comes after that.
            one.until_s = end_s + longest_s + self._air_s(EMPTY_BYTES) + 2 * _TURN_S
        elif not begins:
            one.speaks, one.until_s = False, end_s
        else:  # of a site to which no home has come yet: a window follows
            one.speaks, one.until_s = False, end_s + self._window_s()
        if begins:
            self._others += 1
        self._draw(max(each.until_s for each in self.near(end_s)))
        return one if new else None

    def command(self, end_s: float) -> None:
        """A frame to a node of another site ended: that site's round goes on."""
        for each in self.near(end_s):
            if each.speaks:
                each.until_s = max(each.until_s, end_s + _ANSWERS_S)
                self._draw(max(self._free_s, each.until_s))

    def _stream(self, counter: int, now: float, rssi_dbm: float) -> tuple[Neighbour, bool]:
        for each in self.all:
            missed = _MISSED + _MISSED_A_SECOND * (now - each.heard_s)
            if 0 < counter - each.counter <= missed:
                new = now - each.heard_s >= FORGET_S
                each.counter, each.heard_s = counter, now
                each.rssi_dbm, each.beacons = rssi_dbm, each.beacons + 1
                return each, new
        self.all = sorted(self.near(now), key=lambda each: each.heard_s)[-_MOST + 1 :]
        made = Neighbour(counter, now, now, rssi_dbm)
        self.all.append(made)
        return made, True

    # -- when to begin ----------------------------------------------------------------------------

    def says_end(self, now: float) -> bool:
        """Whether our round, which is over, ends with a beacon that says so: where others are near,
        and now and then elsewhere, so that one that was not heard can begin.
        """
        self._looks = self.most_s > 0 and self._chance() < _LOOKS
        return self._looks or (self.most_s > 0 and bool(self.near(now)))

    def ended(self, now: float, heard: float, length_s: float) -> None:
        """A round of ours of `length_s` is over, and its end was said. `heard` is the share of the
        homes that were heard in it: when it is small, somebody may speak at the same time as we
        do, every time, and neither hears the other; so the next begin is moved at random.
        """
        self._own_end_s = now
        aside_s = min(length_s, self.most_s) * self._chance()
        self._aside_s = aside_s if heard < _ENOUGH else 0.0
        self._others = 0
        self._draw(max((each.until_s for each in self.near(now)), default=now))

    def _draw(self, free_s: float) -> None:
        """The channel is free at that time, as far as is known."""
        self._free_s = free_s
        self._drawn = 1 if self._chance() < 0.5 else 0

    def begin_s(self, now: float, due_s: float = 0.0) -> float:
        """The time at which our next round begins, by what is known now; it is due at `due_s`, and
        is put off by no more than `most_s`.
        """
        near = len(self.near(now))
        if not self.most_s:
            return due_s
        due_s = max(due_s, self._own_end_s) + self._aside_s
        if not near:
            return max(due_s, self._own_end_s + _LOOK_STEPS * self.step_s * self._looks)
        before = max(0, near - self._others)  # rounds of others that come first
        free_s = max(self._free_s, self._own_end_s)
        wanted_s = free_s + (2 * before + self._drawn) * self.step_s
        return min(max(wanted_s, due_s), due_s + self.most_s)

    def began(self, now: float, due_s: float) -> None:
        """A round of ours begins."""
        if not self.most_s or not self.near(now):
            return
        self.waited_s += max(0.0, now - max(due_s, self._own_end_s))
        if now < self._free_s:
            self.crowded += 1
