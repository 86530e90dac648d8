"""The home of contact_chaos.py: selector, autonomy and drive of a node on faulty contacts."""

import random

from chaos_parts import DEAD_V, FLASH, NOMINAL, TIMING, Armature, Coil, Meter, Reset
from chaos_witness import SURE, Witness
from pbal_node import autonomy, drive, journal, selector, supply
from pbal_protocol import names

PULSE_MS = 50
T0 = 1800000000


class Rig:
    """The home. Is its own `sense`, and its own auxiliary contacts."""

    def __init__(self, latching, aux, pzem):
        self.latching = latching
        self.has_aux = aux
        self.pzem = pzem
        self.now = 0
        self.step_ms = 5
        FLASH.clear()
        self.lifetime = 0
        self.arm = [Armature() for _ in range(4)]
        self.volts = [0.0, 230.0, 230.0, 230.0]
        self.trim = [1.0] * 4
        self.noise = 0.0
        self.amps = 3.0
        self.decay = 0
        self.opened_at = -100000
        self.residual = 0.0
        self.broken = self.blind = False
        self.locked = False
        self.stopped = -1  # a reset lasts until then
        self.reset_at = -1
        self.coils = []
        self.plan = []  # (ms, function), sorted
        self.commands = 0
        self.told = []  # the last that happened, for whoever reads a failure
        self.witness = Witness(self)
        self.boot(True)

    # the chip ---------------------------------------------------------------------------------

    def note(self, *what):
        self.told.append((self.now,) + what)
        if len(self.told) > 40:
            self.told.pop(0)

    def boot(self, cold):
        self.note("boot", "cold" if cold else "warm")
        for coil in self.coils:
            if coil.level:
                coil.level = 0
                if coil.kind == "held":
                    self.arm[coil.phase].told(False, self.now)
                elif self.now - coil.since < PULSE_MS - 5 and random.getrandbits(1):
                    # The pulse was cut short: the armature stays where it is.
                    self.arm[coil.phase].target = self.arm[coil.phase].closed
        kinds = ("set", "reset") if self.latching else ("held",)
        self.coils = [Coil(self, p, kind) for kind in kinds for p in (1, 2, 3)]
        self.seen = []
        state = self.state = journal.SelectorState("/s", None)
        self.journalled = state.stage == 1
        self.limits = selector.Limits()
        self.limits.dwell_ms = 0
        self.limits.daily_cap = 1000000
        self.supply = supply.Supply(207.0, 253.0)
        self.witness.readings = []
        self.out_v = 0.0
        self.out_at_ms = self.at_ms = -1
        self.alike = [0.0] * 4
        self.fault = [self.broken, False, False, False]
        self.last_live_ms = self.first_live_ms = -1
        if self.latching:
            self.drive = drive.LatchingDrive(self.coils[:3], self.coils[3:], 1, PULSE_MS)
        else:
            self.drive = drive.HeldDrive(self.coils, 1)
        self.meter = Meter(self)
        self.sel = selector.Selector(
            selector.Timing(TIMING),
            self.limits,
            state,
            self.drive,
            self,
            self.supply,
            self.current,
            self.site_s,
            self.emit,
        )
        self.sel.meter = self.meter
        if self.has_aux:
            self.sel.aux = self
        settings = autonomy.Settings()
        settings.spread_ms = settings.return_spread_ms = 500
        settings.confirm_ms = 1000
        self.auto = autonomy.Autonomy(
            self.sel,
            self.supply,
            settings,
            self.limits,
            state,
            1,
            random.randrange,
            cold,
            self.emit,
            None,
            self.current,
        )
        self._sampled = self._polled = self._sense_ms = -100000
        self._disagree = -1
        self.sel.boot(self.now)
        if self.journalled:
            if not self.happened(names.EVENT_TRANSFER_INTERRUPTED):
                self.witness.fail("S12", "an interrupted transfer without its event")

    def emit(self, code, severity, a0=0, a1=0):
        self.seen.append((code, a0, a1))
        self.note("event", code, a0, a1)
        if code == names.EVENT_WELDED:
            self.locked = True

    def happened(self, code):
        return [e for e in self.seen if e[0] == code]

    def site_s(self):
        return T0 + self.now // 1000

    def current(self):
        m = self.meter
        return m.current_a if m.ok and self.now - m.at_ms <= 4000 else -1.0

    def closed(self):
        return sum(1 << p - 1 for p in (1, 2, 3) if self.arm[p].closed)

    # physics ----------------------------------------------------------------------------------

    def coil(self, coil):
        arm = self.arm[coil.phase]
        self.note(coil.kind, coil.phase, coil.level)
        coil.since = self.now
        if coil.kind == "held":
            arm.told(coil.level == 1, self.now)
        elif coil.level:
            arm.told(coil.kind == "set", self.now)
        if coil.level and coil.kind != "reset":
            self.witness.driven(coil.phase)

    def out_at(self, now):
        for p in (1, 2, 3):
            if self.arm[p].closed:
                return self.volts[p]
        since = now - self.opened_at
        return self.residual * (1 - since / self.decay) if since < self.decay else 0.0

    def out(self):
        return self.out_at(self.now)

    def hidden(self, phase):
        """Nothing that the node can read tells that this contact is closed."""
        return self.arm[phase].welded and not self.has_aux and self.volts[phase] < DEAD_V * SURE

    def move(self, p, close, now):
        arm = self.arm[p]
        self.note("contact", p, close, now)
        if close:
            self.witness.closing(p, now)
        else:
            self.residual = self.volts[p]
            self.opened_at = now
        arm.closed = close
        self.witness.moved(now)

    def physics(self):
        due = []
        for p in (1, 2, 3):
            arm = self.arm[p]
            if arm.jammed:
                if arm.closed:
                    due.append((self.now, p, False))
            elif arm.closed != arm.target and arm.due <= self.now:
                if not (arm.welded and arm.closed):
                    due.append((max(arm.due, self.now - self.step_ms), p, arm.target))
        for at, p, close in sorted(due):
            self.move(p, close, at)

    def set_volts(self, p, v):
        self.note("volts", p, v)
        self.volts[p] = v
        self.witness.moved(self.now)

    def measure(self):
        """A burst of all voltages."""
        self._sampled = self.now
        v = [
            self.volts[p] * self.trim[p] * (1 + self.noise * (random.random() - 0.5))
            for p in range(4)
        ]
        self.witness.readings.append((self.now, tuple(self.volts)))
        while self.now - self.witness.readings[0][0] > 9000:
            self.witness.readings.pop(0)
        self.supply.update(self.now, v[1], v[2], v[3])
        self.sample_out()
        if self.blind:
            return
        self.at_ms = self.now
        on = [p for p in (1, 2, 3) if self.arm[p].closed and self.volts[p] > 1]
        for p in (1, 2, 3):
            live = on and self.volts[p] > 1 and not self.broken
            self.alike[p] = (1.0 if p == on[0] else -0.5) if live else 0.0
        # As the application does: a sensor that does not follow for 1.5 s is not trusted.
        s = self.sel
        if s.busy or s.state == names.STATE_WAITING:
            self._disagree = -1
        elif not self.fault[0] and (
            s.state != names.STATE_CLOSED or abs(self.out_v - v[s.phase]) <= 0.15 * NOMINAL
        ):
            self._disagree = -1
            s.sense_fault = False
        elif self._disagree < 0:
            self._disagree = self.now
        elif self.now - self._disagree >= 1500:
            s.sense_fault = True

    def sample_out(self):
        if self.blind:
            return
        v = 0.0 if self.broken else self.out() * self.trim[0]
        self.fault[0] = self.broken
        if v > 60:
            if self.out_v <= 60:
                self.first_live_ms = self.now
            self.last_live_ms = self.now
        self.out_v = v
        self.out_at_ms = self.now

    # time -------------------------------------------------------------------------------------

    def step(self):
        busy = self.sel.busy or self.drive.busy
        ms = random.randrange(2, 11) if busy else 100
        soon = min([arm.due - self.now for arm in self.arm if arm.due > self.now] or [ms])
        self.step_ms = ms = max(1, min(ms, soon))
        self.now += ms
        while self.plan and self.plan[0][0] <= self.now:
            self.plan.pop(0)[1]()
        self.physics()
        if self.reset_at >= 0 and self.now >= self.reset_at:
            self.reset_at = -1
            raise Reset
        s = self.sel
        if self.now - self._sampled >= (250 if busy else 500) or s.wants_supply or s.proving_live:
            self.measure()
            if self.now - self.meter.at_ms >= 500:
                self.meter.read()
        else:
            self.sample_out()
        if s.busy:
            s.poll(self.now)
        elif self.now - self._polled >= 100:
            self._polled = self.now
            s.poll(self.now)
            self.auto.poll(self.now)
        self.coherent()

    def coherent(self):
        """What the node says of itself is so."""
        s = self.sel
        if s.state == names.STATE_CLOSED and not s.phase:
            self.witness.fail("S12", "closed, and nowhere")
        if sum(a.closed for a in self.arm) > 1:
            self.witness.fail("S1", "two contacts closed")

    def run(self, ms):
        end = self.now + ms
        while self.now < end:
            self.step()

    def at(self, ms, function):
        self.plan.append((self.now + ms, function))
        self.plan.sort(key=lambda item: item[0])
