"""The application slots as the application sees them; start.py decides between them at each boot.

/app/state.0 and .1 hold, as a `store.Slot`, eight bytes, which start.py reads as well and which
therefore never change their places:

    0 good    the slot that has proven itself: 0 factory (/lib), 1 a, 2 b
    1 prev    the one before it, 0 when there is none to go back to
    2 trial   the slot on trial, 0 none
    3 left    boots left of a trial; crashes left before a good slot is given up
    4 failed  the slot that was given up last, 0 none
    5 why     and for what (WHY_* of the protocol)
    6 needs   bit 0: the meter worked before the trial and must work again
    7 told    bit 0: the event about `failed` is logged

Loaded only on a node that has taken an update.
"""

import struct
import sys

from micropython import const

from pbal_node.store import FlashStats, Slot, makedirs
from pbal_node.version import VERSION_CODE

_AT_GOOD = const(0)
_AT_PREV = const(1)
_AT_TRIAL = const(2)
_AT_LEFT = const(3)
_AT_FAILED = const(4)
_AT_WHY = const(5)
_AT_NEEDS = const(6)
_AT_TOLD = const(7)
_TRIAL_BOOTS = const(3)
_GOOD_CRASHES = const(8)

_EV_UPDATE_DONE = const(18)
_EV_UPDATE_FAILED = const(19)
_INFO = const(0)
_ALARM = const(2)


def folder(slot: int) -> str:
    """Where a slot's files are."""
    return "/app/" + " ab"[slot] if slot else "/lib"


def minimum() -> int:
    """The version code below which nothing is taken: signed with a release that proved itself."""
    raw = Slot("/cfg/minimum", FlashStats()).load()
    return struct.unpack("<I", raw)[0] if raw is not None and len(raw) == 4 else 0


def _signed_minimum(slot: int) -> int:
    """What the slot's manifest says, which was signed; 0 when it says nothing."""
    with open(folder(slot) + "/manifest") as lines:
        for line in lines:
            if line.startswith("minimum "):
                a, b, c = line[8:].split(".")
                return int(a) << 16 | int(b) << 8 | int(c)
            if len(line) > 64:
                break
    return 0


class Refused(Exception):
    """The update cannot be taken; the argument is the WHY_* number."""


class Slots:
    """`stats` of the store; `s` are the eight bytes."""

    def __init__(self, stats) -> None:
        self.stats = stats
        self._slot = Slot("/app/state", stats)
        raw = self._slot.load()
        self.s = bytearray(raw) if raw is not None and len(raw) == 8 else bytearray(8)
        path = sys.path[0]
        self.running = 1 if path == "/app/a" else 2 if path == "/app/b" else 0

    @property
    def planned(self) -> bool:
        """True when an update, and no crash, caused this boot."""
        return self.s[_AT_TRIAL] > 0 or (self.s[_AT_FAILED] > 0 and not self.s[_AT_TOLD])

    @property
    def on_trial(self) -> bool:
        return self.running > 0 and self.s[_AT_TRIAL] == self.running

    def save(self) -> bool:
        try:
            makedirs("/app")
        except OSError:
            return False
        return self._slot.save(bytes(self.s))

    def spare(self) -> int:
        """The slot that the next update may fill."""
        return 2 if self.running == 1 else 1

    def give_back(self, slot: int) -> bool:
        """Before a slot is emptied: nothing may refer to it any more."""
        s = self.s
        if s[_AT_PREV] == slot or s[_AT_FAILED] == slot:
            if s[_AT_PREV] == slot:
                s[_AT_PREV] = 0
            if s[_AT_FAILED] == slot:
                s[_AT_FAILED] = s[_AT_WHY] = 0
            return self.save()
        return s[_AT_GOOD] != slot and s[_AT_TRIAL] != slot

    def begin_trial(self, slot: int, meter_works: bool) -> bool:
        s = self.s
        s[_AT_TRIAL] = slot
        s[_AT_LEFT] = _TRIAL_BOOTS
        s[_AT_FAILED] = s[_AT_WHY] = s[_AT_TOLD] = 0
        s[_AT_NEEDS] = 1 if meter_works else 0
        if self.save():
            return True
        s[_AT_TRIAL] = 0
        return False

    def tell(self, emit) -> None:
        """Log once that an update was given up."""
        s = self.s
        if s[_AT_FAILED] and not s[_AT_TOLD]:
            s[_AT_TOLD] = 1
            if self.save():
                emit(_EV_UPDATE_FAILED, _ALARM, s[_AT_WHY], s[_AT_FAILED])

    def crashed(self) -> None:
        """The running application ended by its own error: too many of these in a row, and it is
        given up. A trial counts its boots instead.
        """
        s = self.s
        if not s[_AT_TRIAL] and self.running and s[_AT_GOOD] == self.running and s[_AT_LEFT]:
            s[_AT_LEFT] -= 1
            self.save()

    def stable(self) -> None:
        """This boot was no crash: the next crashes count from the start again."""
        s = self.s
        if not s[_AT_TRIAL] and s[_AT_GOOD] == self.running and s[_AT_LEFT] != _GOOD_CRASHES:
            s[_AT_LEFT] = _GOOD_CRASHES
            self.save()

    def prove(self, now_ms: int, proven_ms: int, heard: bool, metered: bool, emit) -> bool:
        """On trial: True once the new application is confirmed, which is then on flash.

        It must have run for `proven_ms`, opened an authentic frame of the controller, and
        metered, if the one before it did.
        """
        s = self.s
        if now_ms < proven_ms or not heard or (s[_AT_NEEDS] & 1 and not metered):
            return False
        try:
            # First: once the release counts as proven, its minimum must hold.
            least = _signed_minimum(self.running)
            if least > minimum():
                floor = Slot("/cfg/minimum", self.stats)
                floor.load()
                if not floor.save(struct.pack("<I", least)):
                    return False
        except (OSError, ValueError):
            return False
        before = bytes(s)
        s[_AT_PREV] = s[_AT_GOOD]
        s[_AT_GOOD] = self.running
        s[_AT_TRIAL] = 0
        s[_AT_LEFT] = _GOOD_CRASHES
        if not self.save():
            s[:] = before
            return False
        emit(_EV_UPDATE_DONE, _INFO, VERSION_CODE, self.running)
        return True
