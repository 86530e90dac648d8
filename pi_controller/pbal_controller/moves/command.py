"""One ordered move, from the journal to its proof: a state machine without clock or port.

    journaled --sent--> sent --accepted--> accepted --done--> done --measured--> CONFIRMED
        |                |                    |                 \\--measured otherwise--> DISAGREED
        |                |-- refused, failed, expired (the node's word) --> REFUSED FAILED EXPIRED
        `----------------+--- the time is over and nothing came: measured --> CONFIRMED EXPIRED
                                                                              DISAGREED

A lost answer never makes a second switching: the same id is sent again until it expires, and
a node executes an id once. What ends a command is the node's final result *and* the measured
voltage, or, when the result is lost for good, the measurement alone.

Times named `*_s` of the command itself are site time; `now` is a monotonic clock and `wall`
the site time at that moment.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from pbal_controller.journal import CommandRow
from pbal_protocol import records as r

ASK_AGAIN_S = 2.0
# This many readings that disagree, and the time to confirm over, make a verdict.
DISAGREEING_READINGS = 3
# A command that lasts this much longer than any may was ordered before the clock was set back, s.
CLOCK_BACK_S = 10.0

REASONS = {
    r.REASON_NONE: "",
    r.REASON_DWELL: "dwell time not over",
    r.REASON_DAILY_CAP: "daily cap reached",
    r.REASON_OVER_CURRENT: "current above the rated switching current",
    r.REASON_TARGET_OUT_OF_BAND: "target phase outside the voltage band",
    r.REASON_LOCKOUT: "locked out",
    r.REASON_FIXED: "fixed at the node",
    r.REASON_WRONG_PHASE: "not on the phase it was believed on",
    r.REASON_EXPIRED: "expired",
    r.REASON_UNSYNCED: "node clock not set",
    r.REASON_BUSY: "busy with another transfer",
    r.REASON_NOT_DEAD: "output stayed live after opening (welded contact)",
    r.REASON_NOT_LIVE: "output did not follow the new phase",
    r.REASON_SAFE_MODE: "node in safe mode",
    r.REASON_INTERRUPTED: "interrupted by a reset",
    r.REASON_ALREADY_THERE: "already there",
    r.REASON_NOT_YET_VALID: "issued in the node's future (clocks differ)",
}


class State(enum.StrEnum):
    """Of a command; the journal stores the value."""

    JOURNALED = "journaled"
    SENT = "sent"
    ACCEPTED = "accepted"
    DONE = "done"
    CONFIRMED = "confirmed"
    REFUSED = "refused"
    FAILED = "failed"
    EXPIRED = "expired"
    DISAGREED = "disagreed"

    @property
    def final(self) -> bool:
        """Whether nothing more can come."""
        return self not in _OPEN


_OPEN = (State.JOURNALED, State.SENT, State.ACCEPTED, State.DONE)


class Verdict(enum.Enum):
    """What one reading shows about the phase a home should be on."""

    AGREES = 1
    DISAGREES = 2
    MOVING = 3  # a transfer is under way, or the node waits: no verdict


def judge(reading: r.Telemetry, phase: int, tolerance: float) -> Verdict:
    """Does the measured output voltage follow this phase, and does the node say so too?

    The output must be within `tolerance` (a share) of the supply phase's voltage. Phases
    often have nearly equal voltages, so the node's own report must name the phase as well.
    """
    if reading.state in (
        r.STATE_WAITING, r.STATE_OPENING, r.STATE_DEAD_TIME, r.STATE_CLOSING, r.STATE_RETURN,
        r.STATE_BOOT,
    ):  # fmt: skip
        return Verdict.MOVING
    supply = (0.0, reading.va_v, reading.vb_v, reading.vc_v)[phase]
    if reading.phase != phase or supply <= 0:
        return Verdict.DISAGREES
    if abs(reading.vout_v - supply) > tolerance * supply:
        return Verdict.DISAGREES
    return Verdict.AGREES


@dataclass
class Actions:
    """What is to be done now."""

    send: bool = False  # the Switch, with the same id as ever
    ask_result: bool = False  # StatusGet(last result)
    ack: bool = False  # ResultAck
    changed: bool = False  # the journal's row is to be updated
    quarantine: str = ""


class Command:
    """The state machine of one command."""

    def __init__(
        self,
        row: CommandRow,
        *,
        resend_s: float = 1.0,
        confirm_s: float = 15.0,
        grace_s: float = 10.0,
        tolerance: float = 0.03,
        recovered: bool = False,
        ttl_s: float = math.inf,
    ) -> None:
        self.row = row
        self.expires_s = row.expires_s
        self._ttl_s = ttl_s
        self.state = State(row.state)
        self.attempts = row.attempts
        self.detail = row.detail
        self.transfer_ms = row.transfer_ms
        self.reason = r.REASON_NONE  # the node's, in its final result
        self.recovered = recovered
        self._resend_s = resend_s
        self._confirm_s = confirm_s
        # A transfer that began just before expiry is over by then, and its answer here.
        self._grace_s = grace_s
        self._tolerance = tolerance
        self._next_send = float("-inf")
        self._next_ask = float("-inf")
        self._done_at: float | None = None
        self._readings_against = 0

    @property
    def id(self) -> int:
        """The id on the wire."""
        return self.row.id

    @property
    def address(self) -> int:
        """Of the home."""
        return self.row.address

    def _finish(self, state: State, detail: str) -> Actions:
        self.state = state
        self.detail = detail
        return Actions(changed=True)

    def tick(self, now: float, wall: float) -> Actions:
        """Time passes: send, or send again, or ask."""
        if self.state.final:
            return Actions()
        if self.expires_s - wall > self._ttl_s + CLOCK_BACK_S:
            # Else it would stay open until the clock shows that time again, which may take years.
            self.expires_s = int(wall)
        if self.state is State.DONE:
            if self._done_at is None:  # taken up after a restart: the wait starts anew
                self._done_at = now
            return Actions()
        if self.state is not State.ACCEPTED and wall < self.expires_s:
            if now >= self._next_send:
                self._next_send = now + self._resend_s
                return Actions(send=True)
            return Actions()
        if wall >= self.expires_s + self._grace_s / 2 and now >= self._next_ask:
            self._next_ask = now + ASK_AGAIN_S
            return Actions(ask_result=True)
        return Actions()

    def sent(self) -> Actions:
        """The Switch left for the line."""
        self.attempts += 1
        if self.state is State.JOURNALED:
            self.state = State.SENT
            return Actions(changed=True)
        return Actions()

    def result(self, result: r.SwitchResult, now: float) -> Actions:
        """The node's result of this command id."""
        if self.state.final:
            return Actions(ack=result.outcome != r.ACCEPTED)
        if result.outcome == r.ACCEPTED:
            if self.state in (State.JOURNALED, State.SENT):
                self.state = State.ACCEPTED
                return Actions(changed=True)
            return Actions()
        if result.outcome == r.DONE:
            if self.state is State.DONE:
                return Actions(ack=True)
            self.state = State.DONE
            self.transfer_ms = result.transfer_ms
            self._done_at = now
            return Actions(ack=True, changed=True)
        self.reason = result.reason
        text = REASONS.get(result.reason, f"reason {result.reason}")
        if result.outcome == r.REFUSED:
            done = self._finish(State.REFUSED, text)
        elif result.outcome == r.EXPIRED:
            done = self._finish(State.EXPIRED, text or "expired at the node")
        else:
            done = self._finish(State.FAILED, text)
            if result.reason in (r.REASON_NOT_DEAD, r.REASON_LOCKOUT):
                done.quarantine = f"command {self.id}: {text}"
        done.ack = True
        return done

    def reading(self, reading: r.Telemetry, sampled_at: float, now: float, wall: float) -> Actions:
        """A fresh reading of the home. `sampled_at` is on the clock of `now`."""
        if self.state.final:
            return Actions()
        if self.state is State.DONE:
            return self._confirm(reading, sampled_at, now)
        if wall - (now - sampled_at) < self.expires_s + self._grace_s:
            return Actions()
        return self._reconcile(reading)

    def _confirm(self, reading: r.Telemetry, sampled_at: float, now: float) -> Actions:
        if self._done_at is None:
            self._done_at = now
        if sampled_at < self._done_at:
            return Actions()
        verdict = judge(reading, self.row.to_phase, self._tolerance)
        if verdict is Verdict.AGREES:
            return self._finish(State.CONFIRMED, "measured")
        if reading.flags & r.FLAG_AUTONOMOUS:
            return self._finish(State.CONFIRMED, "done, then moved on by itself (autonomy)")
        if verdict is Verdict.DISAGREES:
            self._readings_against += 1
        if (
            now - self._done_at >= self._confirm_s
            and self._readings_against >= DISAGREEING_READINGS
        ):
            return self._disagree(reading, "said done")
        return Actions()

    def _reconcile(self, reading: r.Telemetry) -> Actions:
        """The time is over and the node's answer is lost: the measurement decides."""
        if judge(reading, self.row.to_phase, self._tolerance) is Verdict.AGREES:
            return self._finish(State.CONFIRMED, "measured; the node's answer was lost")
        if judge(reading, self.row.from_phase, self._tolerance) is Verdict.AGREES:
            return self._finish(State.EXPIRED, "no answer; measured on its old phase")
        own = judge(reading, reading.phase, self._tolerance)
        if own is Verdict.AGREES and reading.flags & r.FLAG_AUTONOMOUS:
            # It left a phase outside its band, reports that, and the measurement agrees.
            return self._finish(State.EXPIRED, "no answer; it moved on by itself (autonomy)")
        if judge(reading, self.row.to_phase, self._tolerance) is Verdict.MOVING:
            return Actions()
        if reading.phase == 0:
            return self._finish(State.FAILED, "no answer; the home is open")
        self._readings_against += 1
        if self._readings_against >= DISAGREEING_READINGS:
            return self._disagree(reading, "gave no answer")
        return Actions()

    def _disagree(self, reading: r.Telemetry, what: str) -> Actions:
        text = (
            f"command {self.id} to phase {self.row.to_phase}: the node {what}, measured is phase "
            f"{reading.phase}, output {reading.vout_v:.1f} V, supply {reading.va_v:.1f} / "
            f"{reading.vb_v:.1f} / {reading.vc_v:.1f} V"
        )
        done = self._finish(State.DISAGREED, text)
        done.quarantine = text
        return done

    def switch(self) -> r.Switch:
        """The record on the wire; the same for every attempt."""
        row = self.row
        return r.Switch(
            command_id=row.id,
            to_phase=row.to_phase,
            from_phase=row.from_phase,
            issued_s=row.issued_s,
            expires_s=row.expires_s,
        )
