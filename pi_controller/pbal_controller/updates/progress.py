"""How far a rollout is, and each home in it; the journal has the same in words.

waiting -> sending -> ready -> trial -> watched -> done
              |                  |         |
              +------------------+---------+----> failed: the rollout stops
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from pbal_controller.homes import Home
from pbal_controller.updates.delivery import Delivery
from pbal_controller.updates.release import Release
from pbal_controller.updates.store import RolloutRow, State
from pbal_protocol.flags import FAULTS

_BEFORE = "faults before it: 0x"


class Step(enum.Enum):
    """Of one home in a rollout."""

    WAITING = "waiting"
    SENDING = "sending"
    READY = "ready"
    TRIAL = "trial"
    WATCHED = "watched"
    DONE = "done"
    FAILED = "failed"

    @property
    def under_way(self) -> bool:
        """Whether this home counts in the present wave."""
        return self in (Step.SENDING, Step.READY, Step.TRIAL, Step.WATCHED)

    @property
    def spoken_to(self) -> bool:
        """Whether the home is still sent Updates."""
        return self.under_way and self is not Step.WATCHED


@dataclass
class Progress:
    """One home in the rollout that is under way."""

    home: Home
    step: Step = Step.WAITING
    detail: str = ""
    delivery: Delivery | None = None  # while Updates are sent to it
    since: float = 0.0
    boots: int = 0
    flags_before: int = 0
    not_before: float = 0.0

    @property
    def new_faults(self) -> int:
        """The home's fault flags, once one is among them that it had not before the update."""
        faults = self.home.flags & FAULTS
        return faults if faults & ~self.flags_before else 0

    @property
    def old_faults(self) -> str:
        """Its detail while it is updated: the faults that it had already are no failure of the
        release, and a restart of the controller must not forget them.
        """
        faults = self.flags_before & FAULTS
        return f"{_BEFORE}{faults:04x}" if faults else ""

    def recall_faults(self) -> None:
        """Take up again from the detail what `old_faults` said."""
        known = self.detail.startswith(_BEFORE)
        self.flags_before = int(self.detail.removeprefix(_BEFORE), 16) if known else 0


@dataclass
class Rollout:
    """The rollout that is under way."""

    row: RolloutRow
    release: Release
    homes: dict[int, Progress] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Whether it goes on: neither paused nor ended."""
        return self.row.state == State.RUNNING.value

    def count(self, *steps: Step) -> int:
        """How many homes are at one of these steps."""
        return sum(p.step in steps for p in self.homes.values())

    def restarting(self, besides: Progress) -> int:
        """How many other homes restart into a trial, or were ordered to."""
        return sum(
            q.step is Step.TRIAL or (q.delivery is not None and q.delivery.commit)
            for q in self.homes.values() if q is not besides
        )  # fmt: skip
