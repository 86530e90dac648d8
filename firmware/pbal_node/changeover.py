"""One changeover of a home between phases, from the journal to the last proof: S1, S2, S3, S12.

Base of the selector (selector.py), which decides what may be asked for and when. Pure: time, pins,
sensors, flash and events come from outside.

    OPENING --output dead--> DEAD_TIME --over, target good--> CLOSING --follows--> CLOSED
       |   ^                                                     |
       |   +---------- open again, then fall back <--------------+ (does not follow)
       +--still live--> LOCKED_OUT

A transfer is journalled before the first contact moves (S12) and its result before it is reported.
"""

from micropython import const

from pbal_node import rules
from pbal_node.contacts import Contacts
from pbal_node.journal import RESULTS_KEPT, Result

# States, as on the wire.
_STATE_BOOT = const(0)
_STATE_OPEN = const(1)
_STATE_CLOSED = const(2)
_STATE_OPENING = const(4)
_STATE_DEAD_TIME = const(5)
_STATE_CLOSING = const(6)
_STATE_LOCKOUT = const(8)
_STATE_SAFE = const(9)

# Outcomes, as on the wire.
_DONE = const(2)
_FAILED = const(4)

# Reasons, as on the wire.
_REASON_NONE = const(0)
_REASON_TARGET_OUT_OF_BAND = const(4)
_REASON_NOT_DEAD = const(11)
_REASON_NOT_LIVE = const(12)

# Events, as on the wire.
_EV_WELDED = const(2)
_EV_AUTONOMOUS_TRANSFER = const(3)
_EV_SENSE_FAULT = const(15)
_EV_FLASH_ERROR = const(16)
_EV_CONTACT_FAULT = const(24)
_FELL_OPEN = const(1)  # the second argument of CONTACT_FAULT
_NOT_CLOSED = const(2)
_INFO = const(0)
_WARNING = const(1)
_ALARM = const(2)

# The journal's stages: journal.SelectorState.
_AT_REST = const(0)
_UNDER_WAY = const(1)
_AT_REST_OPEN = const(2)

_PROOFS = const(2)  # consecutive readings that must agree before the output counts as dead or live
_PROOF_MS = const(60)  # readings this old prove nothing about the contact about to close
_BLIND_MS = const(5000)  # without a reading of the output for so long, nothing can be proven
_UNSEEN_MS = const(1000)  # a contact that closed without proof is kept closed no longer than this
_MEASURE_MS = const(25)  # one reading of the supplies takes this long
_DAY_S = const(86400)


class Changeover:
    """`drive`: see drive.py; `sense`: `out_v` (RMS volts at the output), `out_at_ms` (start of that
    reading), `at_ms` (end of the last burst of all voltages), `alike`, `fault[0]` (the output's
    sensor is broken), `last_live_ms`, `first_live_ms`; `supply`: see supply.py; `current()`:
    amperes now, or a negative number when unknown; `site_s()`: site time or 0; `emit(code,
    severity, a0, a1)`.
    """

    def __init__(self, timing, limits, state, drive, sense, supply, current, site_s, emit) -> None:
        self._timing = timing
        self.limits = limits
        self._st = state
        self._drive = drive
        self._sense = sense
        self._supply = supply
        self._current = current
        self._site_s = site_s
        self.latest_s = site_s  # the time by which commands expire (S4)
        self._emit = emit
        self.state = _STATE_BOOT
        self.phase = 0  # where the home is: the closed (or welded) phase, 0 = open
        self.outbox: list = []  # results not yet reported to the controller
        self.sense_fault = False
        self.fresh = False  # closed, and the current was not yet looked at
        self.wants_supply = False  # asks for a new reading of the supplies
        self.stayed_open = False  # the last contact that was driven did not follow
        self.contacts = Contacts(timing.release_ms)
        self.autonomous = False  # the present phase was chosen by a local rule
        self.doubt = False  # a contact was moving when the node stopped, or did not follow
        self._goal = 0  # phase to close next, 0 = stay open
        self._fallback = 0  # where to go when the goal fails
        self._from = 0
        self._command: "Result | None" = None  # under construction; None for local moves
        self._expires_s = 0
        self._local = 0  # event to emit when a local move is done
        self._opened_ms = 0
        self._off_ms = 0  # when the coils were switched off
        self._held = 0  # the contact that was driven last, 0: any may have been, before the start
        self._was_hidden = True  # since then a contact could be closed without a voltage
        self._dead_ms = -1
        self._proofs = 0
        self._seen_ms = -1
        self._closed_ms = 0
        self._reason = _REASON_NONE
        self._again = False  # closing again a contact that a processor reset opened
        self._last_transfer_ms = -1  # monotonic, -1 = not since boot
        self._lost_ms = -1  # when the output went away in this transfer
        self._boot_ms = 0
        self._dirty = False
        # at_zero(release_ms) waits until opening would meet a current zero; returns the time.
        self.at_zero: object = None
        self.aux: object = None  # closed() of the auxiliary contacts, where the board has them
        self.meter: object = None  # the meter at the output: metering/base.py

    # moving -----------------------------------------------------------------------------------

    def switches_today(self) -> int:
        """Transfers this site day; while the time is unknown the stored day still counts."""
        site = self._site_s()
        if site and site // _DAY_S != self._st.day:
            return 0
        return self._st.today

    def _begin(self, to_phase: int, local_event: int, now_ms: int) -> bool:
        """Journal, then open. False (and nothing moved) when the journal cannot be written."""
        st = self._st
        stage = st.stage
        # S5: an open home that comes back elsewhere (S9) stays there as long as one that was moved.
        stays = to_phase > 0 and 0 != (self.phase or st.proven) != to_phase
        moves = stays and self.phase > 0  # from a closed phase to another
        before = (st.lifetime, st.day, st.today, st.last_transfer_s)
        st.stage = _UNDER_WAY
        st.stage_from = self.phase if self.phase != to_phase else 0
        st.stage_to = to_phase
        st.stage_command = self._command.command_id if self._command else 0
        if to_phase:
            st.lifetime += 1
        site = self._site_s()
        if moves:
            st.today = self.switches_today() + 1
            if site:
                st.day = site // _DAY_S
        if stays:
            st.last_transfer_s = site or 1
        if not self._save():
            st.stage = stage
            st.lifetime, st.day, st.today, st.last_transfer_s = before
            return False
        if stays:
            self._last_transfer_ms = now_ms
        self._local = local_event
        self._from = self.phase
        # Not to a contact that fell open: the autonomy chooses then.
        self._fallback = self.phase if moves and not self.contacts.fails[self.phase] else 0
        self._reason = _REASON_NONE
        self.stayed_open = False
        self._lost_ms = -1
        if self.at_zero is not None and self.phase:
            now_ms = self.at_zero(self.contacts.release_ms)  # type: ignore[operator]
        self._open(now_ms, to_phase)
        return True

    def _open(self, now_ms: int, goal: int) -> None:
        self._drive.all_off(now_ms)
        if self.state != _STATE_OPEN:
            self._off_ms = now_ms
            self._was_hidden = False
        self.wants_supply = False
        self._goal = goal
        self._opened_ms = now_ms
        self._dead_ms = -1
        self._proofs = 0
        self.state = _STATE_OPENING

    def aux_closed(self) -> int:
        """What the auxiliary contacts say, -1 without them."""
        return -1 if self.aux is None else self.aux.closed()  # type: ignore[attr-defined]

    def _fresh(self, after_ms: int) -> bool:
        """A new reading of the output, begun after the contacts had time to move."""
        at = self._sense.out_at_ms
        if at < after_ms or at == self._seen_ms:
            return False
        self._seen_ms = at
        return True

    def _poll_opening(self, now_ms: int) -> None:
        opened = self._opened_ms
        self._look_for_hidden()
        if self._drive.busy:
            return
        if not self._fresh(opened + self._timing.release_ms):
            if now_ms - opened >= _BLIND_MS:
                self._cannot_prove(now_ms)
            return
        sense = self._sense
        trusted = rules.sensor_proves(sense.fault[0])
        # A contact that is welded to a dead phase leaves the output dead: only its own auxiliary
        # contact shows it.
        released = rules.contacts_open(self.aux_closed())
        dead = rules.output_dead(sense.out_v, self.limits.nominal_v) and trusted and released
        if dead:
            self._proofs = max(self._proofs, 0) + 1
            if self._proofs == 1:
                self._dead_ms = sense.out_at_ms
                if self._lost_ms < 0:
                    self._lost_ms = sense.last_live_ms if sense.last_live_ms >= opened else opened
                    self.contacts.released(self._lost_ms - opened)
            if self._proofs >= _PROOFS:
                if self._goal:
                    self.state = _STATE_DEAD_TIME
                else:
                    self._finish_open(now_ms)
        elif not rules.welded(dead, sense.out_at_ms - opened, self._timing.dead_timeout_ms):
            self._proofs = 0
        else:
            # Judged by readings, not by the clock: a node that was busy may have few of them.
            self._proofs = min(self._proofs, 0) - 1
            if self._proofs <= -_PROOFS:
                if trusted or not released:
                    self._lock_out(now_ms)
                else:
                    self._cannot_prove(now_ms)

    def _poll_dead_time(self, now_ms: int) -> None:
        sense = self._sense
        self._look_for_hidden()
        live = self._fresh(self._dead_ms) and not (
            rules.output_dead(sense.out_v, self.limits.nominal_v)
            and rules.sensor_proves(sense.fault[0])
        )
        if live or not rules.contacts_open(self.aux_closed()):
            self._proofs = 0
            self.state = _STATE_OPENING  # the voltage came back: prove it dead again, or welded
            return
        sup = self._supply
        dead_time = self._timing.dead_time_ms
        old = now_ms - sup.at_ms > _PROOF_MS
        # The target may have failed since the command came: measure it just before closing.
        self.wants_supply = old and now_ms - self._dead_ms >= dead_time - _MEASURE_MS
        if not rules.dead_time_over(self._dead_ms, now_ms, dead_time):
            return
        if old or now_ms - sense.out_at_ms > _PROOF_MS:
            return
        # The output that is dead now was dead before its phase came back, too: a slow contact opens
        # unseen, and the dead time would count from there.
        off_ms = now_ms - self._off_ms
        if not rules.opening_shown(
            self.aux_closed(), self._was_hidden, off_ms, self._timing.dead_timeout_ms
        ):
            return
        goal = self._goal
        reason = self._target_reason(goal, now_ms)
        if reason:
            self._reason = self._reason or reason
            if self._fallback and self._fallback != goal:
                self._goal = self._fallback
            else:
                self._finish_open(now_ms)
            return
        self.doubt = True  # until it is proven
        self._held = goal
        self._drive.on(goal, now_ms)
        self._closed_ms = now_ms
        self._proofs = 0
        self.state = _STATE_CLOSING

    def _look_for_hidden(self) -> None:
        """A contact may still be closed on a phase that has no voltage to show it."""
        self._was_hidden = self._was_hidden or self._supply.hides(self._held, self.limits.nominal_v)

    def _target_reason(self, phase: int, now_ms: int) -> int:
        """S3 for this phase now."""
        need_ms = rules.need_ms(self.limits.good_time_ms, self._again)
        return self._supply.target_reason(phase, now_ms, need_ms)

    def _poll_closing(self, now_ms: int) -> None:
        goal = self._goal
        sense = self._sense
        if self._fresh(self._closed_ms):
            live = rules.same_height(sense.out_v, self._supply.v[goal], self.limits.nominal_v)
            if sense.at_ms >= sense.out_at_ms:  # a burst of all voltages: it has the angle, too
                live = live and rules.same_angle(sense.alike[goal])
            if live and rules.contacts_agree(self.aux_closed(), goal):
                self._proofs += 1
            else:
                self._proofs = 0
        if self._proofs >= _PROOFS and not self._drive.busy:
            self._finish_closed(now_ms)
            return
        due = self._closed_ms + self._timing.operate_ms + self._timing.live_timeout_ms
        # A reading that was begun in time and does not follow, or none for long.
        if (sense.out_at_ms >= due and not self._proofs) or now_ms >= due + _UNSEEN_MS:
            self._reason = self._reason or _REASON_NOT_LIVE
            self.stayed_open = True
            if self.contacts.failed(goal):
                self._emit(_EV_CONTACT_FAULT, _ALARM, goal, _NOT_CLOSED)
            back = self._fallback if self._fallback != goal else 0
            if back:
                self._st.lifetime += 1
            self._open(now_ms, back)

    # endings ----------------------------------------------------------------------------------

    def _finish_closed(self, now_ms: int) -> None:
        st = self._st
        first = self._sense.first_live_ms
        if first < self._closed_ms:
            first = now_ms
        if 0 != (self._from or st.proven) != self._goal:
            self._last_transfer_ms = now_ms  # S5: the dwell is how long the home stays here
        self.phase = st.proven = self._goal
        self.contacts.closed(self.phase)
        self.doubt = self._again = False
        self.fresh = True
        self.state = _STATE_CLOSED
        transfer = max(0, first - self._lost_ms) if self._from and self._lost_ms >= 0 else 0
        failed = self._reason
        if self._local and not failed:
            severity = _WARNING if self._local == _EV_AUTONOMOUS_TRANSFER else _INFO
            self._emit(self._local, severity, self._from, self._goal)
        if self._command is not None or self._local == _EV_AUTONOMOUS_TRANSFER:
            self.autonomous = self._command is None
        self._conclude(_FAILED if failed else _DONE, failed, transfer)

    def _finish_open(self, now_ms: int) -> None:
        self.phase = 0
        self._again = self.wants_supply = False
        stays_open = rules.safe_mode_stays_open(self.limits.safe_mode, self.doubt)
        self.state = _STATE_SAFE if stays_open else _STATE_OPEN
        # After a reset opened a contact at rest, the journal keeps it as closed (S9).
        if rules.was_interrupted(self._st.stage):
            self._conclude(_FAILED, self._reason or _REASON_TARGET_OUT_OF_BAND, 0)

    def _cannot_prove(self, now_ms: int) -> None:
        """S1: whether the output is dead is not known, so nothing may close until it is."""
        self._drive.all_off(now_ms)
        if not self.sense_fault:
            self.sense_fault = True
            self._emit(_EV_SENSE_FAULT, _ALARM, self._from, -1)
        self._reason = self._reason or _REASON_NOT_DEAD
        self._finish_open(now_ms)

    def _lock_out(self, now_ms: int) -> None:
        """S2: all off, store it, raise an alarm. The phase still connected is reported."""
        self._drive.all_off(now_ms)
        aux = self.aux_closed()
        if aux > 0:
            phase = 1 if aux & 1 else 2 if aux & 2 else 3
        else:
            phase = self._from or self._supply.nearest(self._sense.out_v)
        self.phase = phase
        self._st.lockout = phase
        self.state = _STATE_LOCKOUT
        self._emit(_EV_WELDED, _ALARM, phase, self._goal)
        self._conclude(_FAILED, _REASON_NOT_DEAD, 0)

    def _conclude(self, outcome: int, reason: int, transfer_ms: int) -> None:
        """Store the outcome before it is reported."""
        self._st.stage = _AT_REST if self.phase else _AT_REST_OPEN
        self._local = 0
        result = self._command
        self._command = None
        if result is None:
            self._save()
            return
        result.outcome = outcome
        result.reason = reason
        result.transfer_ms = transfer_ms
        self._settle(result)

    def _settle(self, result: Result) -> None:
        st = self._st
        result.phase = self.phase
        result.vout_dv = self._vout_dv()
        result.time_s = self._site_s()
        result.lifetime = st.lifetime
        st.remember(result)
        self._save()
        self._tell(result)

    def _tell(self, result: Result) -> None:
        """Report it until it is acknowledged; the oldest is dropped here, it stays on flash."""
        self.outbox.append(result)
        if len(self.outbox) > RESULTS_KEPT:
            self.outbox.pop(0)

    def _vout_dv(self) -> int:
        return min(int(self._sense.out_v * 10 + 0.5), 6000)

    def _save(self) -> bool:
        ok = self._st.save()
        if not ok:
            self._emit(_EV_FLASH_ERROR, _ALARM, 0, 0)
        return ok
