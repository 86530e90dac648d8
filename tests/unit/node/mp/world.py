"""One home in virtual time: coils, contacts with delays and faults, voltages, flash, resets.

The world is an independent witness: it records every instant with two coils driven or two contacts
closed, and every closing onto an output that was not dead for the whole dead time.
"""

import math

import support

from pbal_node import autonomy, drive, events, journal, selector, store, supply
from pbal_protocol import names

DEVICE = support.ram_disk()
TIMING = {
    "operate_ms": 15,
    "release_ms": 10,
    "dead_time_ms": 100,
    "dead_timeout_ms": 600,
    "live_timeout_ms": 400,
}
T0 = 1800000000  # site time at virtual time 0
STEP = 5


class PowerCut(Exception):
    """Raised out of the world when a planned power cut strikes."""


class Pin:
    def __init__(self, world, phase):
        self.world = world
        self.phase = phase

    def value(self, x):
        w = self.world
        if w.coil[self.phase] != x:
            w.coil[self.phase] = x
            w.moved_ms[self.phase] = w.now
            w.moves += 1
            if x:
                w.drives.append(self.phase)
        if sum(w.coil) > 1:
            w.shorts += 1


class Coil(Pin):
    """A set or reset coil of a latching relay: the contact stays where the last pulse put it."""

    def __init__(self, world, phase, sets):
        super().__init__(world, phase)
        self.sets = sets
        self.level = 0

    def value(self, x):
        w = self.world
        w.pulses += x
        if x and not self.level:
            w.moves += self.sets
            if w.latch[self.phase] != self.sets:
                w.latch[self.phase] = self.sets
                w.moved_ms[self.phase] = w.now
            if self.sets:
                w.drives.append(self.phase)
        self.level = x
        w.set_coils[self.phase] = x if self.sets else w.set_coils[self.phase]
        if sum(w.set_coils) > 1:
            w.shorts += 1


class World:
    kind = "non-latching"
    has_aux = False  # auxiliary contacts are fitted

    def __init__(self, **limits):
        self.latch = [0, 0, 0, 0]
        self.set_coils = [0, 0, 0, 0]
        for name in ("a.0", "a.1", "s.0", "s.1", "log.0", "log.1"):
            try:
                support.os.remove("/" + name)
            except OSError:
                pass
        self.now = 0
        self.volts = [0.0, 230.0, 230.0, 230.0]
        self.angle = [0, 0, -120, 120]  # degrees; equal ones are fed by the same phase
        self.crossed = 0  # the sensor of this phase is connected the other way round
        self.bad_contact = 0.0  # the share of the voltage that is lost in contact 1
        self.pulses_break = False  # a coil pulse that a reset cuts short moves nothing
        self.amps = 3.0
        self.coil = [0, 0, 0, 0]
        self.contact = [0, 0, 0, 0]
        self.moved_ms = [-1000] * 4
        self.welded = 0
        self.broken = False  # the output's sensor hangs at a rail
        self.blind = False  # it gives no readings at all
        self.stuck_open = 0
        self.decay_ms = 0  # a motor keeps the output alive for this long after opening
        self.opened_ms = -100000
        self.residual = 0.0
        self.dead_ms = 0  # since when the output is below 10 %
        self.shorts = 0
        self.early = 0
        self.moves = 0
        self.drives = []
        self.random = 0  # what randrange answers, as a share of its range
        self.synced = True
        self.silent_since = 0
        self.cut_at = -1
        self.limit_changes = limits
        self.max_dead = 0
        self.boot()

    # what the selector sees
    def site_s(self):
        return T0 + self.now // 1000 if self.synced else 0

    def randrange(self, n):
        return min(int(self.random * n), n - 1)

    def emit(self, code, severity, a0=0, a1=0):
        self.seen.append((code, a0, a1))
        self.log.emit(code, severity, a0, a1)

    def boot(self, cold=True):
        """A reset: RAM is lost, pins fall, flash stays; latched contacts stay, too."""
        self.pulses = 0  # levels given to coils since the reset
        self.dark = False  # nothing was closed at some time since
        for p in (1, 2, 3):
            if self.pulses_break:
                self.latch[p] = self.contact[p]
            self.set_coils[p] = 0
            if self.coil[p]:
                self.coil[p] = 0
                self.moved_ms[p] = self.now
        self.seen = []
        self.stats = store.FlashStats()
        self.state = journal.SelectorState("/s", self.stats)
        self.log = events.EventLog(
            "/log", store.Slot("/a", self.stats), lambda: self.now, self.site_s, self.stats
        )
        self.limits = selector.Limits()
        for name, value in self.limit_changes.items():
            setattr(self.limits, name, value)
        self.settings = autonomy.Settings()
        self.settings.return_spread_ms = 1000
        self.supply = supply.Supply(207.0, 253.0)
        self.out_v = 0.0
        self.out_at_ms = self.at_ms = -1
        self.alike = [0.0] * 4
        self.fault = [self.broken, False, False, False]
        self.last_live_ms = self.first_live_ms = -1
        if self.kind == "latching":
            self.drive = drive.LatchingDrive(
                [Coil(self, p, 1) for p in (1, 2, 3)], [Coil(self, p, 0) for p in (1, 2, 3)], 1, 50
            )
        else:
            self.drive = drive.HeldDrive([Pin(self, p) for p in (1, 2, 3)], 1)
        self.sel = selector.Selector(
            selector.Timing(TIMING),
            self.limits,
            self.state,
            self.drive,
            self,
            self.supply,
            lambda: self.amps,
            self.site_s,
            self.emit,
        )
        self.auto = autonomy.Autonomy(
            self.sel,
            self.supply,
            self.settings,
            self.limits,
            self.state,
            1,
            self.randrange,
            cold,
            self.emit,
            lambda: self.now - self.silent_since,
            lambda: self.amps,
        )
        self._sampled = -1000
        self._polled = -1000
        if self.has_aux:
            self.sel.aux = self
        self.sel.boot(self.now)

    def closed(self):
        """The auxiliary contacts."""
        return sum(1 << p - 1 for p in (1, 2, 3) if self.contact[p])

    def real_out(self):
        """What a voltmeter at the output shows."""
        for p in (1, 2, 3):
            if self.contact[p]:
                return self.volts[p] * (1 - self.bad_contact if p == 1 else 1)
        since = self.now - self.opened_ms
        return self.residual * (1 - since / self.decay_ms) if since < self.decay_ms else 0.0

    def real_alike(self):
        """What a burst says of the output's wave and each phase's."""
        on = [p for p in (1, 2, 3) if self.contact[p] and self.volts[p] > 1]
        alike = [0.0] * 4
        for p in (1, 2, 3) if on and not self.broken else ():
            if self.volts[p] > 1:
                turn = math.radians(self.angle[p] - self.angle[on[0]])
                alike[p] = math.cos(turn) * (-1 if p == self.crossed else 1)
        return alike

    def _measure(self):
        self._sampled = self.now
        self.supply.update(self.now, self.volts[1], self.volts[2], self.volts[3])
        if not self.blind:
            self.at_ms = self.now
            self.alike = self.real_alike()

    def _want(self, p):
        """Where this contact goes, or stays."""
        driven = self.latch[p] if self.kind == "latching" else self.coil[p]
        return 1 if p == self.welded else 0 if p == self.stuck_open else driven

    def _physics(self):
        before = self.real_out()
        for p in (1, 2, 3):
            want = self._want(p)
            delay = TIMING["operate_ms"] if want else TIMING["release_ms"]
            if want != self.contact[p] and self.now - self.moved_ms[p] >= delay:
                if want:
                    if before >= 23.0 or self.now - self.dead_ms < TIMING["dead_time_ms"]:
                        self.early += 1
                else:
                    self.opened_ms = self.now
                    self.residual = before
                self.contact[p] = want
        if sum(self.contact) > 1:
            self.shorts += 1
        if not sum(self.contact):
            self.dark = True
        if self.real_out() >= 23.0:
            self.dead_ms = self.now + STEP

    def step(self):
        self.now += STEP
        if self.cut_at >= 0 and self.now >= self.cut_at:
            self.cut_at = -1
            raise PowerCut
        self._physics()
        v = self.real_out()
        if v > 60:
            if self.out_v <= 60:
                self.first_live_ms = self.now
            self.last_live_ms = self.now
        self.fault[0] = self.broken
        if not self.blind:
            self.out_v = 0.0 if self.broken else v
            self.out_at_ms = self.now
        if self.now - self._sampled >= 500 or self.sel.wants_supply or self.sel.proving_live:
            self._measure()
        if self.sel.busy:
            self.sel.poll(self.now)
        elif self.now - self._polled >= 100:
            self._polled = self.now
            self.sel.poll(self.now)
            self.auto.poll(self.now)

    def _pass(self, end):
        """The steps that change nothing, until the loops are due again: no contact moves, and the
        output stays as it was read.
        """
        sel = self.sel
        if sel.busy or sel.wants_supply or sel.proving_live or sum(self.contact) > 1:
            return
        for p in (1, 2, 3):
            if self.contact[p] != self._want(p):
                return
        if not sum(self.contact) and self.now - self.opened_ms < self.decay_ms:
            return
        if not self.blind and self.out_v != (0.0 if self.broken else self.real_out()):
            return
        due = min(self._sampled + 500, self._polled + 100, end)
        if self.cut_at >= 0:
            due = min(due, self.cut_at - STEP)  # the step that is cut reads nothing any more
        self.now += max(due - self.now - 1, 0) // STEP * STEP

    def run(self, ms):
        end = self.now + ms
        while self.now < end:
            self._pass(end)
            self.step()

    def skip(self, ms):
        """Let quiet time pass quickly: only slow loops run."""
        end = self.now + ms
        while self.now < end:
            self.now += 1000
            self._physics()
            self._measure()
            self.sel.poll(self.now)
            self.auto.poll(self.now)
            if self.sel.busy:
                self.run(2000)

    def until(self, test, ms=20000):
        end = self.now + ms
        while not test():
            assert self.now < end, "timed out in state %d" % self.sel.state
            self._pass(end)
            self.step()

    def settle(self):
        """Boot until closed."""
        self.until(lambda: self.sel.state == names.STATE_CLOSED)
        return self

    def order(self, command_id, to_phase, from_phase=None, life_s=60, issued=0):
        s = self.site_s() or T0
        return self.sel.command(
            command_id,
            self.sel.phase if from_phase is None else from_phase,
            to_phase,
            s + issued,
            s + issued + life_s,
            self.now,
        )

    def finish(self, command_id, ms=20000):
        """The final result of a command."""
        self.until(
            lambda: any(r.command_id == command_id and r.outcome > 1 for r in self.sel.outbox), ms
        )
        return [r for r in self.sel.outbox if r.command_id == command_id][-1]

    def happened(self, code):
        return [e for e in self.seen if e[0] == code]

    def safe(self):
        assert self.shorts == 0, "two phases at once"
        assert self.early == 0, "closed onto an output that was not dead for the dead time"
        assert sum(self.contact) <= 1
