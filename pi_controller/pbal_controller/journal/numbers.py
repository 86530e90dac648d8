"""Numbers that are never given out twice: command ids and frame counters.

The journal keeps how far each sequence has come. A journal can be lost, restored from an older
copy, or copied to a second computer together with its keys; so its content alone is never enough:

- Time. Numbers also follow the clock, at `PER_S` a second since 2025. A sequence is used far more
  slowly than that, so a journal that knows nothing starts above all that was used before.
- Chance. Each opening of a journal draws one jump below `JUMP` and adds it to the first number of
  every sequence, so that two copies that start in the same second go apart. For two sequences of
  n numbers each the chance to meet is about 2n / JUMP: 6 in 100,000 for 30 frames each.

- Lanes. Of two controllers that stand by for each other each has a lane: every second block of
  `LANE` numbers of every sequence. Those two never meet, whatever their clocks and journals say.

32 bits last until 2058 at this rate. Jumps that come faster than the clock can catch up with (a
controller that restarts all the time) become small once a sequence is `FAR_AHEAD` of the clock.
"""

from __future__ import annotations

import secrets

# 2025-01-01 in unix seconds.
EPOCH_S = 1735689600
PER_S = 4
JUMP = 1 << 20
FAR_AHEAD = 1 << 26  # 194 days of the clock
SMALL_JUMP = 1 << 10
LAST = 0xFFFFFFFF
LANE = 256
# A clock that says more than this (2058) is wrong: nothing is derived from it.
_LATEST = LAST - FAR_AHEAD


def clock_is_set(now_s: float) -> bool:
    """Whether this unix time, in seconds, may be sent to nodes and put into commands.

    Before 2025 a clock was never set; a time that leaves the 32 bits of the wire no day is wrong.
    """
    return EPOCH_S <= now_s < LAST - 86400


class NumbersUsedUp(Exception):
    """A sequence has come to the end of its 32 bits."""


def time_base(now_s: float) -> int:
    """The lowest number that may be given out at this unix time, in seconds; 1 without a clock."""
    base = int((now_s - EPOCH_S) * PER_S)
    return base if 0 < base <= _LATEST else 1


def in_lane(first: int, count: int, lane: int) -> int:
    """The lowest number from `first` on with which `count` numbers lie in one block of the lane.

    `count` is at most LANE; raises ValueError when it is not.
    """
    if not 0 < count <= LANE:
        raise ValueError(f"{count} numbers do not fit a block of {LANE}")
    block = first // LANE
    if block % 2 == lane and (first + count - 1) // LANE == block:
        return first
    return (block + 1 + (block + 1 + lane) % 2) * LANE


class Numbers:
    """One opening of a journal: where each of its sequences goes on."""

    def __init__(self, draw: int | None = None, lane: int | None = None) -> None:
        """`draw`: the jump of this opening; by default it is drawn, below JUMP. `lane`: 0 or 1."""
        self._draw = secrets.randbelow(JUMP) if draw is None else draw
        self.lane = lane
        self._begun: set[object] = set()

    def next(
        self, sequence: object, stored: int, now_s: float, at_least: int = 1, count: int = 1
    ) -> int:
        """The first of `count` numbers of a sequence; none of them was given out before.

        `stored` is the first number that the journal has not given out. Raises NumbersUsedUp.
        """
        base = time_base(now_s)
        first = max(stored, base, at_least, 1)
        if sequence not in self._begun:
            self._begun.add(sequence)
            far = first - base > FAR_AHEAD
            first += self._draw % SMALL_JUMP if far else self._draw
        if self.lane is not None:
            first = in_lane(first, count, self.lane)
        if first + count - 1 > LAST:
            raise NumbersUsedUp
        return first
