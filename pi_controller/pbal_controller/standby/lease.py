"""The lease of a site's buses: which of two controllers may send. Pure, with a clock handed in.

The medium itself is the lease, so that no network is needed to keep it and none can split it:

- who holds it sends something at least every `sign_s`, and that is how it is kept;
- who has sent nothing for `hold_s` has lost it, whatever the reason (a process that stood still, a
  port that is gone), and sends nothing more before it has got it again;
- who follows may take it after it heard nothing on any of its buses for `take_s`, more than
  `hold_s`, and nobody answered its own signs during `CLAIM_S`.

`may_send` is asked directly before each write, so a process that wakes up after a long pause finds
that its lease is over. The clock goes on while the computer sleeps (CLOCK_BOOTTIME).

```
FOLLOW --silence, claim()--> CLAIM --nothing heard--> HOLD --serve()--> serving
   ^                           |                        |
   +---------somebody heard----+      nothing sent for hold_s: lost, for good
```

A lease that was lost stays lost: the controller around it is made anew and follows.
"""

from __future__ import annotations

import enum
import random
import time
from collections.abc import Callable

CLAIM_S = 1.0
# A tick that comes so late: nobody knows what was on the line meanwhile.
_STALL_S = 1.0
# Use of the line by others is told apart from a stray byte by its length.
_USE_S = 3.0
_PAUSE_S = 1.0
SECOND = 1.5  # the second member waits this much longer, so that not both claim at once


def boot_time() -> float:
    """Seconds since the computer's start, sleep included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Role(enum.StrEnum):
    """What this controller is for its site's buses."""

    FOLLOW = "follow"
    CLAIM = "claim"
    HOLD = "hold"
    LOST = "lost"


class Lease:
    """One controller's share in it. Times are of `clock`, s."""

    def __init__(
        self,
        buses: list[str],
        take_s: float,
        *,
        second: bool,
        clock: Callable[[], float] = boot_time,
        draw: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """`take_s`: silence after which it may be taken; `second`: the member that waits longer."""
        self.take_s = take_s * (SECOND if second else 1.0)
        self.hold_s = take_s / 2
        self.sign_s = take_s / 8
        self.role = Role.FOLLOW
        self.serving = False
        self.why = ""  # it was lost, or the claim failed
        self._clock = clock
        self._draw = draw
        self._buses = set(buses)
        self._open: set[str] = set()
        now = clock()
        self._silent_from = now
        self._ticked = now
        self._used_from = self._used_at = -1e9
        self._renewed = now
        self._sent: dict[str, float] = {}
        self._claim_until = 0.0
        self._next_sign: dict[str, float] = {}

    # -- what the bearers say and ask ----------------------------------------------------

    def opened(self, name: str) -> None:
        """This bus is listened to from now on."""
        self._open.add(name)
        self._silent_from = self._clock()

    def closed(self, name: str) -> None:
        """This bus is not heard any more: its silence means nothing."""
        self._open.discard(name)
        self._silent_from = self._clock()

    def heard(self, name: str) -> None:
        """Somebody else sent something."""
        now = self._clock()
        if now - self._used_at > _PAUSE_S:
            self._used_from = now
        self._used_at = self._silent_from = now
        if self.role is Role.CLAIM:
            self.role, self.why = Role.FOLLOW, f"bus {name} was used while it was claimed"
        elif self.role is Role.HOLD and not self.serving:
            self.lose(f"bus {name} is used by somebody else")

    def may_send(self) -> bool:
        """Asked directly before each write, which renews it."""
        now = self._clock()
        if self.role is Role.CLAIM:
            return True
        if self.role is not Role.HOLD or self._over(now):
            return False
        self._renewed = now
        return True

    def sign_due(self, name: str) -> bool:
        """Whether this bus must show a sign now; call it again after the sign was sent."""
        now = self._clock()
        if self.role is Role.CLAIM:
            if now < self._next_sign.get(name, 0.0):
                return False
            self._next_sign[name] = now + self._draw(0.1, 0.3)
            return True
        if self.role is not Role.HOLD:
            return False
        since = now - (self._renewed if self.serving else self._next_sign.get(name, 0.0))
        if since < self.sign_s:
            return False
        self._next_sign[name] = now
        return True

    # -- what the controller does --------------------------------------------------------

    def tick(self) -> None:
        """Several times a second: what time alone decides."""
        now = self._clock()
        if now - self._ticked > _STALL_S:
            self._silent_from = now
        self._ticked = now
        if self._open != self._buses:
            self._silent_from = now
        if self.role is Role.CLAIM and now >= self._claim_until:
            self.role, self._renewed = Role.HOLD, now
        elif self.role is Role.HOLD:
            self._over(now)

    def _over(self, now: float) -> bool:
        if now - self._renewed <= self.hold_s:
            return False
        self.lose(f"nothing was sent for {now - self._renewed:.1f} s")
        return True

    @property
    def silent_s(self) -> float:
        """For how long all buses have been heard to be silent."""
        return self._clock() - self._silent_from

    @property
    def used_by_others(self) -> bool:
        """Whether somebody else uses the buses, now and for some time."""
        now = self._clock()
        return now - self._used_at <= _PAUSE_S and now - self._used_from >= _USE_S

    def claim(self) -> bool:
        """Try to get it. False while the silence has not lasted for long enough."""
        if self.role is not Role.FOLLOW or self.silent_s < self.take_s:
            return False
        self.role, self.why = Role.CLAIM, ""
        self._claim_until = self._clock() + CLAIM_S + self._draw(0.0, 0.5)
        self._next_sign.clear()
        return True

    def serve(self) -> bool:
        """Everything is ready: the traffic may go. False when it was lost meanwhile."""
        if self.role is Role.HOLD and not self._over(self._clock()):
            self.serving = True
        return self.serving

    def lose(self, why: str) -> None:
        """It is over, for good."""
        self.role, self.serving, self.why = Role.LOST, False, why
