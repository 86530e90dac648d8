"""The phase selector: a state machine that moves one home between phases under S1..S12.

Pure: time, pins, sensors, flash and events come from outside, and `poll(now_ms)` never blocks.

    BOOT, OPENING --output dead--> DEAD_TIME --over, target good--> CLOSING --follows--> CLOSED
       |   ^                                                          |
       |   +----------------- open again, then fall back <------------+ (does not follow)
       +--still live--> LOCKED_OUT         CLOSED --command--> WAIT_QUIET --load low--> OPENING

A transfer is journalled before the first contact moves (S12) and its result before it is told.
"""

from micropython import const

from pbal_node import rules
from pbal_node.store import RESULTS_KEPT, Result

# States, as on the wire.
_BOOT = const(0)
OPEN = const(1)
CLOSED = const(2)
WAIT_QUIET = const(3)
_OPENING = const(4)
_DEAD_TIME = const(5)
_CLOSING = const(6)
RETURN = const(7)
LOCKED_OUT = const(8)
_SAFE = const(9)

# Outcomes, as on the wire.
_ACCEPTED = const(1)
_DONE = const(2)
_REFUSED = const(3)
_FAILED = const(4)
_OUT_OF_TIME = const(5)

# Reasons, as on the wire.
_REASON_OVER_CURRENT = const(3)
_REASON_TARGET_OUT_OF_BAND = const(4)
_REASON_WRONG_PHASE = const(7)
_REASON_EXPIRED = const(8)
_REASON_BUSY = const(10)
_REASON_NOT_DEAD = const(11)
_REASON_NOT_LIVE = const(12)
_REASON_INTERRUPTED = const(14)
_REASON_ALREADY_THERE = const(15)

# Events, as on the wire.
_EV_WELDED = const(2)
_EV_AUTONOMOUS_TRANSFER = const(3)
_EV_POWER_RETURN = const(4)
_EV_TRANSFER_INTERRUPTED = const(5)
_EV_LOCKOUT_CLEARED = const(8)
EV_SENSE_FAULT = const(15)
_EV_FLASH_ERROR = const(16)

_PROOFS = const(2)  # consecutive readings that must agree before the output counts as dead or live
_FOLLOW = const(0.15)  # the output follows a phase when within this share of nominal of its voltage
_PROOF_MS = const(60)  # readings this old prove nothing about the contact about to close
_BLIND_MS = const(5000)  # without any reading of the output for so long, nothing can be proven
_MEASURE_MS = const(25)  # one reading of the supplies takes this long
_DAY_S = const(86400)


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


class Selector:
    """`drive`: see drive.py; `sense`: `out_v` (RMS volts at the output), `out_at_ms` (start of that
    reading), `fault[0]` (its sensor is broken), `last_live_ms`, `first_live_ms`; `supply`: see
    supply.py; `current()`: amperes now, or a negative number when unknown; `site_s()`: site time
    or 0; `emit(code, severity, a0, a1)`.
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
        self._emit = emit
        self.state = _BOOT
        self.phase = 0  # where the home is: the closed (or welded) phase, 0 = open
        self.outbox: list = []  # results the controller has not been told yet
        self.sense_fault = False
        self.fresh = False  # closed, and the current was not yet looked at
        self.wants_supply = False  # asks for a new reading of the supplies
        self.autonomous = False  # the present phase was chosen by a local rule
        self._goal = 0  # phase to close next, 0 = stay open
        self._fallback = 0  # where to go when the goal fails
        self._from = 0
        self._command: "Result | None" = None  # under construction; None for local moves
        self._expires_s = 0
        self._local = 0  # event to emit when a local move is done
        self._opened_ms = 0
        self._dead_ms = -1
        self._proofs = 0
        self._seen_ms = -1
        self._closed_ms = 0
        self._reason = 0
        self._last_transfer_ms = -1  # monotonic, -1 = not since boot
        self._lost_ms = -1  # when the output went away in this transfer
        self._boot_ms = 0
        self._dirty = False
        # at_zero(release_ms) waits until opening would meet a current zero; returns the time.
        self.at_zero: object = None
        self.aux: object = None  # closed() of the auxiliary contacts, where the board has them
        self.release_ms = timing.release_ms  # as measured on this contact, at first the board's

    # life -------------------------------------------------------------------------------------

    def boot(self, now_ms: int) -> None:
        """All off first (S1), then close the books of an interrupted transfer (S12)."""
        self._drive.all_off(now_ms)
        self._boot_ms = now_ms
        st = self._st
        if rules.was_interrupted(st.stage):
            self._emit(_EV_TRANSFER_INTERRUPTED, 1, st.stage_from, st.stage_to)
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
            st.stage = 0
            self._save()
        if rules.safe_mode_reason(self.limits.safe_mode):
            self.state = _SAFE
        elif rules.lockout_reason(st.lockout):
            self.phase = st.lockout
            self.state = LOCKED_OUT
        else:
            self._open(now_ms, 0)
            self.state = _BOOT

    def _tell(self, result: Result) -> None:
        """Repeat it until the controller acknowledges; the oldest gives way, it stays on flash."""
        self.outbox.append(result)
        if len(self.outbox) > RESULTS_KEPT:
            self.outbox.pop(0)

    def last_result(self):
        """The newest result of a command, or None."""
        results = self._st.results
        return self._command or (results[-1] if results else None)

    @property
    def busy(self) -> bool:
        """True while contacts may move: poll often and keep sampling the output."""
        return self.state in (_BOOT, _OPENING, _DEAD_TIME, _CLOSING)

    @property
    def proving_live(self) -> bool:
        """True when one more, this time exact, reading of the output ends the transfer."""
        return self.state == _CLOSING and self._proofs > 0

    def clear_lockout(self, now_ms: int) -> bool:
        """A person on site says that the contact was replaced (S2)."""
        if self.state != LOCKED_OUT:
            return False
        self._st.lockout = 0
        self._save()
        self._emit(_EV_LOCKOUT_CLEARED, 0, self.phase, 0)
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

    def switches_today(self) -> int:
        """Transfers this site day; while the time is unknown the stored day still counts."""
        site = self._site_s()
        if site and site // _DAY_S != self._st.day:
            return 0
        return self._st.today

    def _refusal(self, from_phase: int, to_phase: int, now_ms: int) -> int:
        """The first rule that forbids this transfer, 0 when none does."""
        lim = self.limits
        sup = self._supply
        return (
            rules.safe_mode_reason(lim.safe_mode)
            or rules.lockout_reason(self._st.lockout)
            or rules.fixed_reason(lim.fixed, lim.opted_out)
            or (_REASON_BUSY if self.state not in (OPEN, CLOSED) else 0)
            or (_REASON_ALREADY_THERE if to_phase == self.phase else 0)
            or (_REASON_WRONG_PHASE if from_phase != self.phase else 0)
            or rules.target_reason(
                sup.v[to_phase],
                sup.good_ms(to_phase, now_ms),
                sup.low_v,
                sup.high_v,
                lim.good_time_ms,
            )
            or (_REASON_NOT_LIVE if self.sense_fault else 0)
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
            rules.freshness_reason(site, issued_s, expires_s)
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
            result.outcome = _OUT_OF_TIME if reason == _REASON_EXPIRED else _REFUSED
            self._st.remember(result)
            self._tell(result)
            self._dirty = True  # written at the next poll: the controller waits for an answer
            return result
        self._command = result
        self._expires_s = expires_s
        self._from = self.phase
        self._goal = to_phase
        self.state = WAIT_QUIET
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

    def restore(self, phase: int, now_ms: int) -> bool:
        """S9: close a phase again after power returned. Moves nothing unless the home is open."""
        sup = self._supply
        if self.state != OPEN or self._st.lockout or self.limits.safe_mode or self.sense_fault:
            return False
        if rules.target_reason(
            sup.v[phase],
            sup.good_ms(phase, now_ms),
            sup.low_v,
            sup.high_v,
            self.limits.good_time_ms,
        ):
            return False
        return self._begin(phase, _EV_POWER_RETURN, now_ms)

    def release(self, now_ms: int) -> bool:
        """Open a home whose supply is gone altogether, so that it comes back staggered (S9)."""
        if self.state != CLOSED or self.limits.safe_mode:
            return False
        return self._begin(0, 0, now_ms)

    # moving -----------------------------------------------------------------------------------

    def _begin(self, to_phase: int, local_event: int, now_ms: int) -> bool:
        """Journal, then open. False (and nothing moved) when the journal cannot be written."""
        st = self._st
        before = (st.lifetime, st.day, st.today, st.last_transfer_s)
        st.stage = 1
        st.stage_from = self.phase
        st.stage_to = to_phase
        st.stage_command = self._command.command_id if self._command else 0
        if to_phase:
            st.lifetime += 1
        if to_phase and self.phase:
            site = self._site_s()
            st.today = self.switches_today() + 1
            if site:
                st.day = site // _DAY_S
            st.last_transfer_s = site or 1
        if not self._save():
            st.stage = 0
            st.lifetime, st.day, st.today, st.last_transfer_s = before
            return False
        if to_phase and self.phase:
            self._last_transfer_ms = now_ms
        self._local = local_event
        self._from = self.phase
        self._fallback = self.phase if to_phase else 0
        self._reason = 0
        self._lost_ms = -1
        if self.at_zero is not None and self.phase:
            now_ms = self.at_zero(self.release_ms)  # type: ignore[operator]
        self._open(now_ms, to_phase)
        return True

    def _open(self, now_ms: int, goal: int) -> None:
        self._drive.all_off(now_ms)
        self.wants_supply = False
        self._goal = goal
        self._opened_ms = now_ms
        self._dead_ms = -1
        self._proofs = 0
        self.state = _OPENING

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

    def poll(self, now_ms: int) -> None:
        """One step. Call every few ms while `busy`, a few times a second otherwise."""
        self._drive.poll(now_ms)
        if self._dirty:
            self._dirty = False
            self._save()
        state = self.state
        if state == _BOOT or state == _OPENING:
            self._poll_opening(now_ms)
        elif state == _DEAD_TIME:
            self._poll_dead_time(now_ms)
        elif state == _CLOSING:
            self._poll_closing(now_ms)
        elif state == WAIT_QUIET:
            self._poll_quiet(now_ms)

    def _poll_quiet(self, now_ms: int) -> None:
        result = self._command
        if result is None:
            return
        reason = rules.freshness_reason(self._site_s(), 0, self._expires_s)
        if reason:
            self._abandon(result, _OUT_OF_TIME, _REASON_OVER_CURRENT)
            return
        sup = self._supply
        current = self._current()
        if current < 0:
            # A phase that died while the command waited carries nothing; its meter is silent.
            nominal = self.limits.nominal_v
            if not rules.output_dead(max(sup.v[self.phase], self._sense.out_v), nominal):
                return
        elif not rules.quiet_enough(current, self.limits.rated_a):
            return
        to = result.to_phase
        reason = rules.target_reason(
            sup.v[to], sup.good_ms(to, now_ms), sup.low_v, sup.high_v, self.limits.good_time_ms
        )
        if reason:
            self._abandon(result, _REFUSED, reason)
        elif not self._begin(to, 0, now_ms):
            self._abandon(result, _REFUSED, _REASON_BUSY)

    def _abandon(self, result: Result, outcome: int, reason: int) -> None:
        """End a command that moved nothing."""
        self._command = None
        self.state = CLOSED if self.phase else OPEN
        result.outcome = outcome
        result.reason = reason
        self._settle(result)

    def _poll_opening(self, now_ms: int) -> None:
        opened = self._opened_ms
        if self._drive.busy:
            return
        if not self._fresh(opened + self._timing.release_ms):
            if now_ms - opened >= _BLIND_MS:
                self._cannot_prove(now_ms)
            return
        sense = self._sense
        trusted = rules.sensor_proves(sense.fault[0])
        # A contact that is welded to a dead phase leaves the output dead: only its own auxiliary
        # contact tells.
        released = rules.contacts_open(self.aux_closed())
        dead = rules.output_dead(sense.out_v, self.limits.nominal_v) and trusted and released
        if dead:
            self._proofs += 1
            if self._proofs == 1:
                self._dead_ms = sense.out_at_ms
                if self._lost_ms < 0:
                    self._lost_ms = sense.last_live_ms if sense.last_live_ms >= opened else opened
                    self._learn_release(self._lost_ms - opened)
            if self._proofs >= _PROOFS:
                if self._goal:
                    self.state = _DEAD_TIME
                else:
                    self._finish_open(now_ms)
        else:
            self._proofs = 0
            if rules.welded(dead, now_ms - opened, self._timing.dead_timeout_ms):
                if trusted or not released:
                    self._lock_out(now_ms)
                else:
                    self._cannot_prove(now_ms)

    def _learn_release(self, took_ms: int) -> None:
        """Follow the contact's own release time, so that S6 can aim at a current zero."""
        if 0 < took_ms <= 2 * self._timing.release_ms:
            self.release_ms += (took_ms - self.release_ms) / 4

    def _poll_dead_time(self, now_ms: int) -> None:
        sense = self._sense
        live = self._fresh(self._dead_ms) and not (
            rules.output_dead(sense.out_v, self.limits.nominal_v)
            and rules.sensor_proves(sense.fault[0])
        )
        if live or not rules.contacts_open(self.aux_closed()):
            self._proofs = 0
            self.state = _OPENING  # it came back: prove it dead again, or find it welded
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
        goal = self._goal
        reason = rules.target_reason(
            sup.v[goal], sup.good_ms(goal, now_ms), sup.low_v, sup.high_v, self.limits.good_time_ms
        )
        if reason:
            self._reason = self._reason or reason
            if self._fallback and self._fallback != goal:
                self._goal = self._fallback
            else:
                self._finish_open(now_ms)
            return
        self._drive.on(goal, now_ms)
        self._closed_ms = now_ms
        self._proofs = 0
        self.state = _CLOSING

    def _poll_closing(self, now_ms: int) -> None:
        goal = self._goal
        sense = self._sense
        if self._fresh(self._closed_ms):
            nominal = self.limits.nominal_v
            off = abs(sense.out_v - self._supply.v[goal])
            live = off <= _FOLLOW * nominal and not rules.output_dead(sense.out_v, nominal)
            if live and rules.contacts_agree(self.aux_closed(), goal):
                self._proofs += 1
            else:
                self._proofs = 0
        if self._proofs >= _PROOFS and not self._drive.busy:
            self._finish_closed(now_ms)
        elif now_ms - self._closed_ms >= self._timing.operate_ms + self._timing.live_timeout_ms:
            self._reason = self._reason or _REASON_NOT_LIVE
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
        self.phase = st.proven = self._goal
        self.fresh = True
        self.state = CLOSED
        if self._from:
            self._last_transfer_ms = now_ms  # S5: the dwell is how long the home stays here
        transfer = max(0, first - self._lost_ms) if self._from and self._lost_ms >= 0 else 0
        failed = self._reason
        if self._local and not failed:
            self._emit(
                self._local,
                1 if self._local == _EV_AUTONOMOUS_TRANSFER else 0,
                self._from,
                self._goal,
            )
        if self._command is not None or self._local == _EV_AUTONOMOUS_TRANSFER:
            self.autonomous = self._command is None
        self._conclude(_FAILED if failed else _DONE, failed, transfer)

    def _finish_open(self, now_ms: int) -> None:
        self.phase = 0
        self.state = OPEN
        if self._st.stage:
            self._conclude(_FAILED, self._reason or _REASON_TARGET_OUT_OF_BAND, 0)

    def _cannot_prove(self, now_ms: int) -> None:
        """S1: nothing tells whether the output is dead, so nothing may close until it does."""
        self._drive.all_off(now_ms)
        if not self.sense_fault:
            self.sense_fault = True
            self._emit(EV_SENSE_FAULT, 2, self._from, -1)
        self._reason = self._reason or _REASON_NOT_DEAD
        self._finish_open(now_ms)

    def _lock_out(self, now_ms: int) -> None:
        """S2: all off, remember, alarm. What still holds is the phase to report."""
        self._drive.all_off(now_ms)
        aux = self.aux_closed()
        if aux > 0:
            phase = 1 if aux & 1 else 2 if aux & 2 else 3
        else:
            phase = self._from or self._live_phase()
        self.phase = phase
        self._st.lockout = phase
        self.state = LOCKED_OUT
        self._emit(_EV_WELDED, 2, phase, self._goal)
        self._conclude(_FAILED, _REASON_NOT_DEAD, 0)

    def _live_phase(self) -> int:
        """The phase whose voltage is nearest to the output's."""
        best = 1
        v = self._supply.v
        for p in (2, 3):
            if abs(v[p] - self._sense.out_v) < abs(v[best] - self._sense.out_v):
                best = p
        return best

    def _conclude(self, outcome: int, reason: int, transfer_ms: int) -> None:
        """Write how it ended before anyone is told."""
        self._st.stage = 0
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

    def _vout_dv(self) -> int:
        return min(int(self._sense.out_v * 10 + 0.5), 6000)

    def _save(self) -> bool:
        ok = self._st.save()
        if not ok:
            self._emit(_EV_FLASH_ERROR, 2, 0, 0)
        return ok
