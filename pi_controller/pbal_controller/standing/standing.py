"""Whether this controller may command, and if not, why.

Two kinds of reasons. What authentic frames or the journal itself prove is kept in the journal
until a person lifts it (`pbal-controller adopt`). What anybody on the line can bring about only
holds commands back for a while, so that nobody without a key can stop a site for good.
"""

from __future__ import annotations

import enum
import logging
import math

log = logging.getLogger(__name__)

ADOPT = "then: pbal-controller adopt"


class Reason(enum.StrEnum):
    """Why a controller stands down; the journal stores the value."""

    RIVAL = "rival"  # somebody else with our keys speaks to the homes
    LOST = "lost"  # the journal is not the one this site had
    RESTORED = "restored"  # the journal is an older copy of itself


class Standing:
    """Shared by the segments, who find out, and by those who would command."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {}
        self.unwritten: dict[str, str] = {}  # not in the journal yet
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
        return lifted

    @property
    def rival(self) -> bool:
        """Whether another controller was heard and no person has decided yet."""
        return Reason.RIVAL.value in self.reasons

    def why_not(self, now: float) -> str:
        """Why nothing may be commanded now; empty when it may."""
        if self.reasons:
            return "; ".join(self.reasons.values())
        return self._hold if now < self._hold_until else ""
