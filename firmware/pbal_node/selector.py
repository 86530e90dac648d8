"""The phase selector: what may be asked of one home's contacts, and when (S2 to S10).

Pure: time, pins, sensors, flash and events come from outside, and `poll(now_ms)` never blocks.

    BOOT --all open--> OPEN --restore--> OPENING ... --> CLOSED --command--> WAITING
      |                                                  ^ | ^              | load low
      +--a contact stayed, proven (adopt.py)-------------+ | +-- ... OPENING +
                    OPEN <-- ... OPENING <--release--------+

What lies between OPENING and CLOSED is one changeover: changeover.py.
"""

from micropython import const

from pbal_node import rules
from pbal_node.changeover import Changeover
from pbal_node.journal import Result

# States, as on the wire.
_STATE_BOOT = const(0)
_STATE_OPEN = const(1)
_STATE_CLOSED = const(2)
_STATE_WAITING = const(3)
_STATE_OPENING = const(4)
_STATE_DEAD_TIME = const(5)
_STATE_CLOSING = const(6)
_STATE_RETURN = const(7)
_STATE_LOCKOUT = const(8)
_STATE_SAFE = const(9)

# Outcomes, as on the wire.
_ACCEPTED = const(1)
_REFUSED = const(3)
_FAILED = const(4)
_EXPIRED = const(5)

# Reasons, as on the wire.
_REASON_NONE = const(0)
_REASON_OVER_CURRENT = const(3)
_REASON_WRONG_PHASE = const(7)
_REASON_EXPIRED = const(8)
_REASON_BUSY = const(10)
_REASON_NOT_LIVE = const(12)
_REASON_INTERRUPTED = const(14)
_REASON_ALREADY_THERE = const(15)

# Events, as on the wire.
_EV_AUTONOMOUS_TRANSFER = const(3)
_EV_POWER_RETURN = const(4)
_EV_TRANSFER_INTERRUPTED = const(5)
_EV_LOCKOUT_CLEARED = const(8)
_EV_CONTACT_FAULT = const(24)
_FELL_OPEN = const(1)  # the second argument of CONTACT_FAULT
_INFO = const(0)
_WARNING = const(1)
_ALARM = const(2)

_AT_REST = const(0)  # the journal's stage: journal.SelectorState

TYPE_CHECKING = const(0)  # a type checker takes it for 1
if TYPE_CHECKING:
    from pbal_node.adopt import Adoption


class Timing:
    """What the board file says about the contacts. Milliseconds."""

    def __init__(self, table: dict) -> None:
        self.operate_ms = table.get("operate_ms", 20)
        self.release_ms = table.get("release_ms", 20)
        self.dead_time_ms = table.get("dead_time_ms", 100)
        self.dead_timeout_ms = table.get("dead_timeout_ms", 600)
        self.live_timeout_ms = table.get("live_timeout_ms", 400)


class Limits:
    """The limits the node itself enforces; the application copies them from the configuration."""

    def __init__(self) -> None:
        self.nominal_v = 230.0
        self.rated_a = 40.0
        self.dwell_ms = 1800000
        self.daily_cap = 6
        self.good_time_ms = 5000
        self.fixed = 0
        self.opted_out = 0
        self.safe_mode = False


class Selector(Changeover):
    """One home's selector; arguments: Changeover."""

    began = False  # boot() was called
    _adoption: "Adoption | None" = None  # until it is known which contact stayed closed

    # start ------------------------------------------------------------------------------------

    def boot(self, now_ms: int) -> None:
        """S12: report a transfer that was interrupted; then leave the contacts that stayed as they
        are and prove which one is closed, or drive all off first (S1).
        """
        self.began = True
        self._boot_ms = now_ms
        st = self._st
        self.doubt = rules.was_interrupted(st.stage)
        if self.doubt:
            self._note_interrupted()
        stays = self._drive.stays
        if rules.lockout_reason(st.lockout):
            if not stays:
                self._drive.all_off(now_ms)
            self.phase = st.lockout
            self.state = _STATE_LOCKOUT
            return
        if rules.may_adopt(stays, st.stage):
            from pbal_node.adopt import Adoption

            self._adoption = Adoption(self._sense, self._supply, self.limits, now_ms)
        else:
            self._open(now_ms, 0)
        self.state = _STATE_BOOT
        self.wants_supply = True

    def _note_interrupted(self) -> None:
        """Report it; the journal keeps the interrupted transfer until all is proven open."""
        st = self._st
        self._emit(_EV_TRANSFER_INTERRUPTED, _WARNING, st.stage_from, st.stage_to)
        if st.stage_command:
            result = Result(
                st.stage_command,
                _FAILED,
                _REASON_INTERRUPTED,
                st.stage_from,
                st.stage_to,
                0,
                0,
                0,
                0,
                st.lifetime,
            )
            st.remember(result)
            self._tell(result)
        self._save()

    def recover(self, now_ms: int) -> None:
        """The loop that polls failed and was restarted, in safe mode only: a contact that was
        moving is in doubt, one at rest stays as it is.
        """
        if self.busy and not self._adoption:
            self.doubt = True
            self._open(now_ms, 0)

    def _poll_adoption(self, adoption, now_ms: int) -> None:
        phase = adoption.poll(now_ms, self.aux_closed())
        if phase > 0:
            self._adoption = None
            self._adopt(phase)
        elif phase == 0 and adoption.may_open(self._current(), now_ms):
            self._adoption = None
            self._open(now_ms, 0)
            self.state = _STATE_BOOT

    def _adopt(self, phase: int) -> None:
        """It was closed all the time: nothing moved, so nothing is counted and no dwell begins."""
        st = self._st
        self._drive.adopt(phase)
        self._held = phase
        self.wants_supply = False
        self.phase = phase
        self.state = _STATE_CLOSED
        # The journal keeps who ordered the last transfer.
        self.autonomous = st.stage_from > 0 and st.stage_to == phase and not st.stage_command
        if st.proven != phase or st.stage:
            st.proven = phase
            st.stage = _AT_REST
            self._save()

    def last_result(self):
        """The newest result of a command, or None."""
        results = self._st.results
        return self._command or (results[-1] if results else None)

    @property
    def busy(self) -> bool:
        """True while contacts move, or a closed one is looked for: poll and sample often."""
        if self._adoption:
            return self._adoption.quick
        return self.state in (_STATE_BOOT, _STATE_OPENING, _STATE_DEAD_TIME, _STATE_CLOSING)

    @property
    def proving_live(self) -> bool:
        """True when one more, this time exact, reading of the output ends the transfer."""
        return self.state == _STATE_CLOSING and self._proofs > 0

    def clear_lockout(self, now_ms: int) -> bool:
        """A person on site says that the contact was replaced (S2)."""
        if self.state != _STATE_LOCKOUT:
            return False
        self._st.lockout = 0
        self._save()
        self._emit(_EV_LOCKOUT_CLEARED, _INFO, self.phase, 0)
        self._open(now_ms, 0)
        return True

    # requests ---------------------------------------------------------------------------------

    def dwell_left_ms(self, now_ms: int) -> int:
        """Remaining dwell (S5). With an unknown last transfer the dwell runs from boot."""
        last_s = self._st.last_transfer_s
        if self._last_transfer_ms >= 0:
            since = now_ms - self._last_transfer_ms
        elif last_s == 0:
            since = -1
        else:
            since = now_ms - self._boot_ms
            site = self._site_s()
            if site and last_s > 1:
                since = max(since, (site - last_s) * 1000)
        return rules.dwell_left_ms(since, self.limits.dwell_ms)

    def _refusal(self, from_phase: int, to_phase: int, now_ms: int) -> int:
        """The first rule that forbids this transfer, 0 when none does."""
        lim = self.limits
        return (
            rules.safe_mode_reason(lim.safe_mode)
            or rules.lockout_reason(self._st.lockout)
            or rules.fixed_reason(lim.fixed, lim.opted_out)
            or (_REASON_BUSY if self.state not in (_STATE_OPEN, _STATE_CLOSED) else _REASON_NONE)
            or (_REASON_ALREADY_THERE if to_phase == self.phase else _REASON_NONE)
            or (_REASON_WRONG_PHASE if from_phase != self.phase else _REASON_NONE)
            or self._target_reason(to_phase, now_ms)
            or (_REASON_NOT_LIVE if self.sense_fault else _REASON_NONE)
        )

    def command(
        self,
        command_id: int,
        from_phase: int,
        to_phase: int,
        issued_s: int,
        expires_s: int,
        now_ms: int,
    ) -> Result:
        """Take a Switch command; the answer is the first one ever given to this id (S4)."""
        running = self._command
        if running is not None and rules.is_repeat(command_id, running.command_id):
            return running
        for r in self._st.results:
            if rules.is_repeat(command_id, r.command_id):
                if r not in self.outbox:
                    self._tell(r)
                return r
        site = self._site_s()
        reason = (
            rules.freshness_reason(site, self.latest_s(), issued_s, expires_s)
            or self._refusal(from_phase, to_phase, now_ms)
            or rules.dwell_reason(self.dwell_left_ms(now_ms))
            or rules.cap_reason(self.switches_today(), self.limits.daily_cap)
        )
        result = Result(
            command_id,
            _ACCEPTED,
            reason,
            from_phase,
            to_phase,
            self.phase,
            0,
            self._vout_dv(),
            site,
            self._st.lifetime,
        )
        if reason:
            result.outcome = _EXPIRED if reason == _REASON_EXPIRED else _REFUSED
            self._st.remember(result)
            self._tell(result)
            self._dirty = True  # written at the next poll: the controller waits for an answer
            return result
        self._command = result
        self._expires_s = expires_s
        self._from = self.phase
        self._goal = to_phase
        self.state = _STATE_WAITING
        return result

    def local_transfer(self, to_phase: int, now_ms: int) -> bool:
        """S8: leave a sick phase by local rule. Dwell and cap do not bind it, all else does."""
        if self._refusal(self.phase, to_phase, now_ms):
            return False
        # S6. An unknown current (negative) does not hold a home on a sick phase: a meter is
        # silent just when its phase is dead.
        if not rules.quiet_enough(self._current(), self.limits.rated_a):
            return False
        return self._begin(to_phase, _EV_AUTONOMOUS_TRANSFER, now_ms)

    def restore(self, phase: int, now_ms: int, again: bool = False) -> bool:
        """S9: close a phase after power returned, or (`again`) the one that a reset of the
        processor opened. Moves nothing unless the home is open; in safe mode the proven phase
        only.
        """
        if self.state != _STATE_OPEN or self._st.lockout or self.sense_fault:
            return False
        if rules.safe_mode_reason(self.limits.safe_mode) and phase != self._st.proven:
            return False
        self._again = again
        if not self._target_reason(phase, now_ms) and self._begin(phase, _EV_POWER_RETURN, now_ms):
            return True
        self._again = False
        return False

    def release(self, now_ms: int) -> bool:
        """Open a home whose supply is gone altogether, so that it comes back staggered (S9)."""
        if self.state != _STATE_CLOSED or rules.safe_mode_reason(self.limits.safe_mode):
            return False
        return self._begin(0, 0, now_ms)

    def poll(self, now_ms: int) -> None:
        """One step. Call every few ms while `busy`, a few times a second otherwise."""
        self._drive.poll(now_ms)
        if self._dirty:
            self._dirty = False
            self._st.save(True)  # where that is refused, it is kept in memory
        state = self.state
        if self._adoption:
            self._poll_adoption(self._adoption, now_ms)
        elif state == _STATE_BOOT or state == _STATE_OPENING:
            self._poll_opening(now_ms)
        elif state == _STATE_DEAD_TIME:
            self._poll_dead_time(now_ms)
        elif state == _STATE_CLOSING:
            self._poll_closing(now_ms)
        elif state == _STATE_WAITING or state == _STATE_CLOSED:
            if self._fell_open(now_ms):
                self._close_again(now_ms)
            elif state == _STATE_WAITING:
                self._poll_quiet(now_ms)

    def _fell_open(self, now_ms: int) -> bool:
        """S2: the contact that should be closed is proven open. In safe mode nothing follows."""
        if rules.safe_mode_reason(self.limits.safe_mode):
            return False
        good_ms = self._supply.good_ms(self.phase, now_ms)
        nominal = self.limits.nominal_v
        return self.contacts.fell(
            self._sense, good_ms, nominal, self.aux_closed(), self.meter, now_ms
        )

    def _close_again(self, now_ms: int) -> None:
        """Open what fell open, prove the output dead, and close it once more, or what a command
        wants. The second time in a day all stays open: S9 chooses another phase.
        """
        phase = self.phase
        self._emit(_EV_CONTACT_FAULT, _ALARM, phase, _FELL_OPEN)
        once_more = self.contacts.once_more(phase, now_ms)
        if self._command is not None:
            self._begin(self._goal, 0, now_ms)
        else:
            self._begin(phase if once_more else 0, _EV_POWER_RETURN if once_more else 0, now_ms)

    def _poll_quiet(self, now_ms: int) -> None:
        result = self._command
        if result is None:
            return
        reason = rules.freshness_reason(self._site_s(), self.latest_s(), 0, self._expires_s)
        if reason:
            self._abandon(result, _EXPIRED, _REASON_OVER_CURRENT)
            return
        sup = self._supply
        current = self._current()
        if current < 0:
            # A phase that failed while the command waited carries nothing; its meter is silent.
            nominal = self.limits.nominal_v
            if not rules.output_dead(max(sup.v[self.phase], self._sense.out_v), nominal):
                return
        elif not rules.quiet_enough(current, self.limits.rated_a):
            return
        to = result.to_phase
        reason = self._target_reason(to, now_ms)
        if reason:
            self._abandon(result, _REFUSED, reason)
        elif not self._begin(to, 0, now_ms):
            self._abandon(result, _REFUSED, _REASON_BUSY)

    def _abandon(self, result: Result, outcome: int, reason: int) -> None:
        """End a command that moved nothing."""
        self._command = None
        self.state = _STATE_CLOSED if self.phase else _STATE_OPEN
        result.outcome = outcome
        result.reason = reason
        self._settle(result)
