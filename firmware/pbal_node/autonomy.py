"""Local rules: leave a sick phase (S8), come back after an outage (S9), and hold on silence (S7).

The decisions are taken here; the selector still applies every safety rule to them. Random delays
and a random, voltage-weighted choice keep homes from moving all at once: homes that lose a phase
together spread over the healthy ones, and homes that come back do so one after another.
"""

from micropython import const

from pbal_node import rules

TYPE_CHECKING = const(0)  # a type checker takes it for 1
if TYPE_CHECKING:
    from pbal_node.balance import Balancer

_HOLD_MS = const(60000)  # pause after an autonomous transfer, doubled each time ...
_HOLD_MAX_MS = const(1800000)  # ... up to this, so that a street with low voltage cannot oscillate
_CALM_MS = const(3600000)  # so long without one resets the doubling
_MARGIN_DV = const(40)  # a candidate must be this far inside the band: it will carry more load
_DEAD_SHARE = const(0.5)  # below this share of nominal a phase is lost, not just low
_SOON_MS = const(2000)  # a return that was refused, or ended before a contact was driven
_RETRY_MS = const(30000)  # a contact that does not close is tried again after this ...
_RETRY_MAX_MS = const(600000)  # ... then after twice as long, as any failure, up to this

# As on the wire.
_EV_PHASE_LOST = const(11)
_WARNING = const(1)
_STATE_OPEN = const(1)
_STATE_CLOSED = const(2)


class Settings:
    """The configured times, in milliseconds."""

    def __init__(self) -> None:
        self.confirm_ms = 3000
        self.spread_ms = 20000
        self.return_spread_ms = 30000
        self.good_time_ms = 5000
        self.silent_hours = 0  # 0: never (S7)


class Autonomy:
    """`randrange(n)` gives 0..n-1; `cold_start` says whether power was away before this boot
    (then the return is staggered) or only the processor was reset (then the phase that was closed
    until then is closed again after 1 s inside the band, without a random delay).
    """

    def __init__(
        self,
        selector,
        supply,
        settings,
        limits,
        state,
        initial,
        randrange,
        cold_start,
        emit,
        silent_ms=None,
        load=None,
    ) -> None:
        self._sel = selector
        self._sup = supply
        self.settings = settings
        self._limits = limits
        self._st = state
        self._initial = initial
        self._rand = randrange
        self._emit = emit
        self._silent_ms = silent_ms or (lambda: 0)
        self._load = load or (lambda: -1.0)
        self._balancer: "Balancer | None" = None  # see balance.py
        self._stagger = cold_start or rules.rests_open(state.stage)
        self._again = rules.closed_until_reset(state.stage, state.proven, cold_start)
        self._trying = False  # a return was begun here
        self._again_ms = _SOON_MS
        self._next = False  # the last return failed for its contact: another contact need not wait
        self._delay_ms = -1  # the random part of the wait under way, -1: not drawn
        self._hold_ms = 0
        self._hold_until = 0
        self._last_move_ms = 0
        self._lost = 0
        self._retry_ms = 0

    def _draw(self, spread_ms: int) -> int:
        if self._delay_ms < 0:
            self._delay_ms = self._rand(spread_ms) if spread_ms > 0 else 0
        return self._delay_ms

    def choose(self, present: int, now_ms: int) -> int:
        """A healthy phase other than `present` whose contact works, 0 when there is none.

        Random, weighted by the voltage (rules.lean): the less loaded phase is likelier, and no
        phase gets all homes.
        """
        sup = self._sup
        fails = self._sel.contacts.fails
        margin = _MARGIN_DV / 10.0
        need_ms = max(self.settings.good_time_ms, rules.GOOD_TIME_MIN_MS)
        phases = []
        for p in (1, 2, 3):
            if p == present or sup.good_ms(p, now_ms) < need_ms or rules.given_up(fails[p]):
                continue
            if min(sup.v[p] - sup.low_v, sup.high_v - sup.v[p]) > margin:
                phases.append(p)
        if not phases:
            return 0
        mean = sum(sup.v[p] for p in phases) / len(phases)
        pick = self._rand(sum([rules.lean(sup.v[p] - mean) for p in phases]))
        for p in phases:
            pick -= rules.lean(sup.v[p] - mean)
            if pick < 0:
                return p
        return 0

    def poll(self, now_ms: int) -> None:
        """A few times a second, after new voltages."""
        state = self._sel.state
        if state == _STATE_CLOSED:
            self._poll_closed(now_ms)
        elif state == _STATE_OPEN:
            self._poll_open(now_ms)
        else:
            self._delay_ms = -1

    def _poll_closed(self, now_ms: int) -> None:
        sup = self._sup
        present = self._sel.phase
        cfg = self.settings
        self._again = self._trying = False
        self._again_ms = _SOON_MS
        self._retry_ms = 0
        bad_ms = sup.bad_ms(present, now_ms)
        if bad_ms == 0 or not sup.fresh(now_ms):
            self._delay_ms = -1
            self._lost = 0
            if rules.silence_moves(self._silent_ms(), cfg.silent_hours):
                self._balance(present, now_ms)
            return
        dead = sup.v[present] < _DEAD_SHARE * self._limits.nominal_v
        if self._lost != present and bad_ms >= cfg.confirm_ms:
            self._lost = present
            self._emit(_EV_PHASE_LOST, _WARNING, present, int(sup.v[present] * 10))
        if not rules.should_leave(bad_ms, cfg.confirm_ms, self._draw(cfg.spread_ms)):
            return
        if rules.fixed_reason(self._limits.fixed, self._limits.opted_out):
            to = 0
        else:
            to = self.choose(present, now_ms)
        if to and now_ms >= self._hold_until:
            if self._sel.local_transfer(to, now_ms):
                self._moved(now_ms)
        elif not to and dead and self._sel.release(now_ms):
            # No phase to go to: open, so that this home returns staggered when power comes back.
            self._stagger = True
            self._delay_ms = -1

    def _balance(self, present: int, now_ms: int) -> None:
        """Opt-in local balancing while the controller has been silent for hours: balance.py."""
        if self._balancer is None:
            try:
                from pbal_node.balance import Balancer

                self._balancer = Balancer(self._sup, self._load, self._rand, now_ms)
            except MemoryError:
                self.settings.silent_hours = 0  # no heap for it: hold
                return
        to = self._balancer.target(present, now_ms)
        if not to or self._sel.dwell_left_ms(now_ms) > 0:
            return
        if rules.cap_reason(self._sel.switches_today(), self._limits.daily_cap):
            return
        if self._sel.local_transfer(to, now_ms):
            self._moved(now_ms)

    def _moved(self, now_ms: int) -> None:
        if now_ms - self._last_move_ms > _CALM_MS:
            self._hold_ms = 0
        self._hold_ms = min(max(_HOLD_MS, 2 * self._hold_ms), _HOLD_MAX_MS)
        self._hold_until = now_ms + self._hold_ms
        self._last_move_ms = now_ms
        self._delay_ms = -1
        if self._balancer:
            self._balancer.moved(now_ms)

    def _poll_open(self, now_ms: int) -> None:
        sup = self._sup
        cfg = self.settings
        if self._trying:
            self._trying = False
            # A contact that has not failed need not wait for one that has.
            self._next = self._sel.stayed_open
            if self._next:
                self._again_ms = max(self._again_ms, _RETRY_MS)
            self._retry_ms = now_ms + self._again_ms
            self._again_ms = min(2 * self._again_ms, _RETRY_MAX_MS)
        to = self._aim(now_ms)
        if now_ms < self._retry_ms and not (self._next and self._sel.contacts.fails[to] == 0):
            return
        if self._again and sup.fresh(now_ms):
            good_ms = sup.good_ms(to, now_ms)
            if good_ms >= rules.need_ms(0, True):
                self._restore(to, now_ms)
                return
            if good_ms or rules.in_band(sup.v[to], sup.low_v, sup.high_v):
                return
            # Its supply went away, too: that is an outage.
            self._again = False
            self._stagger = sup.v[to] < _DEAD_SHARE * self._limits.nominal_v
            to = self._aim(now_ms)
        random_ms = self._draw(cfg.return_spread_ms) if self._stagger else 0
        if to and rules.may_restore(sup.good_ms(to, now_ms), cfg.good_time_ms, random_ms):
            self._restore(to, now_ms)

    def _aim(self, now_ms: int) -> int:
        """S9: the phase to close next, 0 for none: the one that was proven last; another healthy
        one when it has no good voltage, or its contact failed twice.
        """
        sup = self._sup
        first = rules.restore_order(self._st.proven, self._initial)
        if self._again:
            return first
        if first and rules.fixed_reason(self._limits.fixed, self._limits.opted_out):
            return first  # S10: a fixed home waits for its own phase
        if first and rules.safe_mode_reason(self._limits.safe_mode):
            return first
        fails = self._sel.contacts.fails
        if first and sup.good_ms(first, now_ms) > 0 and not rules.given_up(fails[first]):
            return first
        other = self.choose(0, now_ms)
        if other:
            return other
        # The contacts of all healthy phases have failed: the one that failed least.
        least = 0
        for p in (1, 2, 3):
            if rules.given_up(fails[p]) and sup.good_ms(p, now_ms) > 0:
                if not least or fails[p] < fails[least]:
                    least = p
        return least

    def _restore(self, phase: int, now_ms: int) -> None:
        self._next = False
        if self._sel.restore(phase, now_ms, self._again):
            self._trying = True
            self._again = self._stagger = False
            self._delay_ms = -1
        else:
            self._retry_ms = now_ms + _SOON_MS  # for a temporary reason: nothing moved
