"""Whether this controller may command, and if not, why.

A reason that the journal itself proves, or the frames of two homes, is kept in the journal until a
person lifts it (`pbal-controller adopt`).

One home alone can forge all of its reports: a floor of counters, answers to polls of its own. So
one home's report that another controller commands it (`report`) holds commands back for a minute,
in which all homes are asked. A second controller sends to all of them, and another home confirms
it. When none does, the home that reported it is put in quarantine alone, and the others go on. It
gets no second minute until a person has lifted that. A site with one home has no other to confirm
it.

What anybody on the line can bring about (polls, `polled_by_others`) only holds commands back for a
while: of one home, and of the site when two are polled.
"""

from __future__ import annotations

import enum
import logging
import math
from dataclasses import dataclass

log = logging.getLogger(__name__)

ADOPT = "then: pbal-controller adopt"


class Reason(enum.StrEnum):
    """Why a controller stands down; the journal stores the value."""

    RIVAL = "rival"  # another controller with our keys sends to the homes
    LOST = "lost"  # the journal is not the one this site had
    RESTORED = "restored"  # the journal is an older copy of itself


#: For so long commands wait for a second home to confirm what one has reported.
CONFIRM_S = 60.0
#: After another controller was seen to poll homes: no commands for so long.
POLLED_S = 60.0
#: On a wire, each home is sent a sealed frame at least this often. It answers one that a second
#: controller has made it refuse with its floor; once the other is silent nothing else shows it.
LOOK_EVERY_S = 15.0
#: Homes that must report it.
WITNESSES = 2


@dataclass(frozen=True)
class Report:
    """What one home's frames show about another controller that commands it."""

    at: float  # event loop's clock, s
    why: str


class Standing:
    """Shared by the conversations, which find out, and by the parts that order."""

    def __init__(self, homes: int = 1) -> None:
        """`homes`: how many have keys, and so could confirm another's report."""
        self._witnesses = max(1, min(WITNESSES, homes))
        self.reported: dict[int, Report] = {}  # by the homes with these addresses
        self._polled: dict[int, float] = {}  # homes that another controller polls: when it was seen
        self.reasons: dict[str, str] = {}
        self.unwritten: dict[str, str] = {}  # not in the journal yet
        self.follows = ""  # why another controller of this site is at work in this one's place
        self.fresh_journal = False  # it never ordered anything, and no person has adopted it
        self._hold = ""
        self._hold_until = -math.inf

    def stand_down(self, reason: Reason, text: str) -> bool:
        """Command nothing from now on. False when this was known."""
        if reason.value in self.reasons:
            return False
        self.reasons[reason.value] = self.unwritten[reason.value] = text
        log.error("the controller stands down", extra={"reason": reason.value, "why": text})
        return True

    def report(self, address: int, reason: Reason, why: str, now: float, known: bool) -> None:
        """By its own report, a home accepted frames of another controller that has its keys.

        Stands down once enough homes report it. `why` goes on behind "home 257 "; `known`: the home
        is in quarantine, so that its report alone holds nothing back. `now`: event loop's clock, s.
        """
        again = address in self.reported
        if not again:
            self.reported[address] = Report(now, why)
        text = f"home {address} {why}"
        if len(self.reported) >= self._witnesses:
            others = sorted(self.reported.keys() - {address})
            also = f"; so do homes {', '.join(map(str, others[:5]))}" if others else ""
            self.stand_down(
                reason,
                f"{text}{also}: a second controller (a cloned card?), or a journal that was lost "
                f"or restored. Find out which, leave one controller running, {ADOPT}",
            )
        elif not again and not known:
            wait = f"{text}; waiting {CONFIRM_S:.0f} s for another home to confirm it"
            self.hold(wait, now, CONFIRM_S)

    def waiting(self, address: int, now: float) -> bool:
        """Whether a home's report is so new that others are still asked."""
        report = self.reported.get(address)
        return report is not None and now - report.at < CONFIRM_S

    def asking(self, now: float) -> bool:
        """Whether all homes are asked, because one has reported a second controller."""
        return any(self.waiting(address, now) for address in self.reported)

    def alone(self, now: float) -> dict[int, str]:
        """Homes whose report no other has confirmed in time, and the report."""
        if self.reasons:
            return {}
        return {
            address: (
                f"{each.why}. No other home confirms it: somebody may have this home's keys; look "
                "at it, give it new ones (pbal provision)"
            )
            for address, each in self.reported.items()
            if not self.waiting(address, now)
        }

    def lifted(self, address: int) -> None:
        """A person has lifted this home's quarantine: its reports from now on count as new."""
        self.reported.pop(address, None)

    def polled_by_others(self, address: int, now: float) -> bool:
        """Another controller polls this home. Holds commands back when other homes are polled, too.

        Returns whether it does; False when only this home is concerned.
        """
        self._polled[address] = now
        recent = [a for a, at in self._polled.items() if now - at < POLLED_S]
        if len(recent) < self._witnesses:
            return False
        homes = ", ".join(str(a) for a in sorted(recent)[:5])
        self.hold(
            f"somebody else polls home {homes}: a second controller, or a tool on the line",
            now,
            POLLED_S,
        )
        return True

    def hold(self, text: str, now: float, for_s: float) -> None:
        """Command nothing for a while. Times are seconds of the event loop's clock."""
        if now >= self._hold_until:
            log.warning("commands are held back", extra={"why": text, "for_s": for_s})
        self._hold = text
        self._hold_until = now + for_s

    def listed(self, reasons: dict[str, str]) -> list[str]:
        """What the journal lists now: takes it over and returns the reasons that were lifted."""
        lifted = [r for r in self.reasons if r not in reasons and r not in self.unwritten]
        self.reasons = {**reasons, **self.unwritten}
        if lifted:
            self.fresh_journal = False
            # What homes reported until now is what the person has decided on.
            self.reported.clear()
            self._hold_until = -math.inf
        return lifted

    @property
    def rival(self) -> bool:
        """Whether another controller was detected and no person has decided yet."""
        return Reason.RIVAL.value in self.reasons

    def why_not(self, now: float) -> str:
        """Why nothing may be commanded now; empty when it may."""
        if self.follows:
            return self.follows
        if self.reasons:
            return "; ".join(self.reasons.values())
        return self._hold if now < self._hold_until else ""
