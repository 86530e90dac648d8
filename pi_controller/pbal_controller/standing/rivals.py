"""Signs that another controller sends to a home, or that two nodes have one identity. Pure.

Another controller with our keys (a cloned card, a second computer with a copy of the files) shows
in what an honest node reports in authentic frames:

- its floor of down counters is above every counter we have sealed for it: another controller's
  frame was accepted (`floor_verdict`);
- its own counter rose by more than our polls explain: it answered another controller (`answered`).
  Anybody on the line can bring that about with empty polls, so it is no proof of a key.

A second node with the keys of the first (a copied or restored flash) shows in a boot count that
falls, another EUI, or two running times at once.
"""

from __future__ import annotations

from pbal_protocol import records as r

# A node keeps its floor in flash in blocks of 256, ahead of need: after a reset it may report up to
# this much more than it accepted.
NODE_FLOOR_BLOCK = 1024
# After a start: also what `pbal commission` may have used meanwhile, above the floor.
TOOL_ALLOWANCE = 16_384
# Counters of a controller follow the clock since 2025 (numbers.py), those of a commissioning
# begin at 1: a floor above this was made by a controller.
FOOTPRINT = 1 << 24
# Share of answers to others, smoothed, from which on it is not accidental: a repeated or
# doubled frame adds one, another controller adds about one for each of ours.
FOREIGN_SHARE = 0.4
_SMOOTH = 0.1
_RESET_GAP = 1024  # a node that lost the rest of its block of up counters
# Until site time is proven a node uses only the multiples of this for its frames, and from then on
# only the other numbers (firmware/pbal_node/counters.py).
LANE = 4
# Two estimates of when a node booted may differ by this much, s, and by this share of the time
# between them (crystals differ by less).
_BOOT_SLACK_S = 10.0
_DRIFT = 2e-4


def frames_between(before: int, counter: int) -> int:
    """How many frames a node sealed after the one with `before`, up to the one with `counter`."""
    if counter % LANE == 0:
        return counter // LANE - before // LANE
    return (counter - counter // LANE) - (before - before // LANE)


class Signs:
    """What one home's frames have shown since this start."""

    def __init__(self) -> None:
        self.hello: r.Hello | None = None
        self._counter = 0
        self._polls = 0
        self._share = 0.0
        self._cleared = False
        # (boots, loop time of that boot as estimated, when it was estimated)
        self._boot: tuple[int, float, float] | None = None

    def clear(self) -> None:
        """A person has decided: the next floor counts as what the home has accepted until then."""
        self._cleared = True

    def polled(self) -> None:
        """We polled it once more."""
        self._polls += 1

    def heard(self, counter: int) -> None:
        """An authentic frame with this counter, on a medium where a node also sends unasked."""
        if counter > self._counter:
            self._counter = counter
            self._polls = 0

    def answered(self, counter: int) -> bool:
        """An authentic answer with this counter. True when it must be answering others, too."""
        gap = counter - self._counter
        extra = frames_between(self._counter, counter) - self._polls
        known = self._counter > 0
        # Frames may come late, but never twice: a lower counter is no sign of others.
        if counter > self._counter:
            self._counter = counter
            self._polls = 0
        if not known or gap >= _RESET_GAP:
            return False
        self._share += _SMOOTH * (min(max(extra, 0), 3) - self._share)
        if self._share < FOREIGN_SHARE:
            return False
        self._share = 0.0
        return True

    def floor_verdict(self, hello: r.Hello, sealed: int, stored: int, fresh_journal: bool) -> str:
        """What the floor in a Hello shows about other controllers that sealed frames for this home;
        "" nothing.

        `sealed`: the highest counter sealed since the controller's start; `stored`: the end of
        what the journal had reserved before this start, 0 for nothing.
        """
        before, self.hello = self.hello, hello
        floor = hello.down_floor
        if self._cleared:
            self._cleared = False
            return ""
        if before is not None and before.boots == hello.boots:
            # What was reserved before this start may still be on its way, in a bridge or a port: it
            # counts before the first frame sealed since, which is above all of it.
            limit = max(sealed, stored, before.down_floor)
        elif before is None and stored == 0:
            if fresh_journal and floor >= FOOTPRINT:
                return "was commanded before by a controller of which this journal knows nothing"
            return ""
        else:
            known = max(sealed, stored, before.down_floor if before is not None else 0)
            limit = known + NODE_FLOOR_BLOCK + (TOOL_ALLOWANCE if before is None else 0)
        if floor <= limit:
            return ""
        return f"accepted frame {floor} of somebody who has our keys; ours end at {limit}"

    def node_verdict(self, hello: r.Hello) -> str:
        """What a Hello shows about the node itself, compared with the one before; "" nothing.

        Call before `floor_verdict`.
        """
        before = self.hello
        if before is None:
            return ""
        if hello.eui != before.eui:
            return (
                f"two boards answer at this address: {before.eui.hex()} and {hello.eui.hex()}; "
                "one has a copy of the other's keys"
            )
        if hello.boots < before.boots:
            return (
                f"its count of boots fell from {before.boots} to {hello.boots}: its flash was set "
                "back, or two boards hold the same keys"
            )
        return ""

    def uptime_verdict(self, boots: int, uptime_s: float, now: float) -> str:
        """What a Health shows about the node itself; "" nothing."""
        booted = now - uptime_s
        before, self._boot = self._boot, (boots, booted, now)
        if before is None or before[0] != boots:
            return ""
        if abs(before[1] - booted) <= _BOOT_SLACK_S + _DRIFT * (now - before[2]):
            return ""
        return (
            f"two running times in the same life ({uptime_s:.0f} s, "
            f"{now - before[1]:.0f} s expected): two boards hold the same keys"
        )
