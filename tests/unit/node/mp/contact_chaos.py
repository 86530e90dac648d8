"""Random episodes of one home's selector, autonomy and contacts, judged by an independent witness.

argv: a folder that is not used, how many episodes, the seed, and perhaps a rule of rules.py that is
taken away, which the witness must notice. An episode is a trigger (an order, a sag,
an outage, a contact that falls) with up to three troubles at random instants round it: sags, welds,
contacts that are slow, jam or fall, resets, a sensor that fails or gives nothing, a flash that
refuses. Then all is healed, and the home must be closed again, or locked out for a reason.

The witness knows what the contacts truly did, and nothing of pbal_node: it has its own numbers.
"""

import random
import sys

from pbal_node import autonomy, drive, journal, rules, selector, supply
from pbal_protocol import names

NOMINAL = 230.0
DEAD_V = 23.0
OPERATE, RELEASE, DEAD_TIME, DEAD_TIMEOUT, LIVE_TIMEOUT = 15, 10, 100, 600, 400
TIMING = {
    "operate_ms": OPERATE,
    "release_ms": RELEASE,
    "dead_time_ms": DEAD_TIME,
    "dead_timeout_ms": DEAD_TIMEOUT,
    "live_timeout_ms": LIVE_TIMEOUT,
}
GOOD_MS, AGAIN_MS = 5000, 1000
PULSE_MS = 50
T0 = 1800000000
SURE = 1.12  # a trimmed and noisy reading may be wrong by so much
FLASH = {}


# What each rule says when it is taken away.
REMOVED = {
    "opening_shown": True,
    "output_dead": True,
    "dead_time_over": True,
    "contacts_open": True,
    "sensor_proves": True,
    "target_reason": 0,
    "welded": False,
    "was_interrupted": False,
}


class Reset(Exception):
    """The chip starts anew."""


class Slot:
    """Flash in memory; `refuses` makes it fail."""

    refuses = False

    def __init__(self, path, stats):
        self.path = path

    def load(self):
        return FLASH.get(self.path)

    def save(self, payload, asked=False):
        if Slot.refuses:
            return False
        FLASH[self.path] = bytes(payload)
        return True


journal.Slot = Slot


class Stop(Exception):
    """The witness saw what must not be."""


class Armature:
    """One contact: follows its coil late, and may fail."""

    def __init__(self):
        self.closed = False
        self.target = False
        self.due = -1
        self.ordered = False  # to close, since it last was
        self.operate = OPERATE
        self.release = RELEASE
        self.welded = False  # stays closed once it is
        self.jammed = False  # is open, whatever it is told

    def told(self, close, now):
        if close != self.target:
            self.target = self.ordered = close
            self.due = now + (self.operate if close else self.release)


class Coil:
    def __init__(self, rig, phase, kind):
        self.rig = rig
        self.phase = phase
        self.kind = kind  # "held", "set" or "reset"
        self.level = 0

    def value(self, level):
        if level != self.level:
            self.level = level
            self.rig.coil(self)


class Meter:
    """Lives from the output, or is a current transformer on it."""

    def __init__(self, rig):
        self.rig = rig
        self.independent = rig.pzem
        self.reading = self
        self.ok = False
        self.at_ms = -1
        self.v = self.current_a = 0.0

    def read(self):
        out = self.rig.out()
        self.ok = out > 60 or not self.independent
        if self.ok:
            self.at_ms = self.rig.now
            self.v = out
            self.current_a = self.rig.amps if out > 60 else 0.0


class Witness:
    """S1, S2, S3 and S12 from what the contacts did and what the voltages were."""

    def __init__(self, rig):
        self.rig = rig
        self.dead_at = -100000  # since when the output is truly dead; None: it is not
        self.readings = []  # (ms, true voltages) that the node was given, the last 9 s of them
        self.excused = 0
        self.hid = []  # contacts that are welded to a phase that was dead when another was driven

    def fail(self, rule, text):
        raise Stop("%s: %s" % (rule, text))

    def driven(self, phase):
        """A closing was commanded."""
        rig = self.rig
        on = [c.phase for c in rig.coils if c.level and c.kind != "reset"]
        if len(on) > 1:
            self.fail("S1", "two coils at once: %s" % on)
        if rig.out() >= DEAD_V * SURE:
            self.fail("S1", "driven onto a live output (%.0f V)" % rig.out())
        self.hid = [p for p in (1, 2, 3) if rig.arm[p].closed and rig.hidden(p)]
        if rig.locked:
            self.fail("S2", "driven while locked out")
        need = AGAIN_MS if rig.auto._again or rig.sel._again else GOOD_MS
        low, high = 207.0 / SURE, 253.0 * SURE
        recent = [r for r in self.readings if rig.now - r[0] <= need]
        if not recent or rig.now - recent[-1][0] > 70:
            self.fail("S3", "the target was not measured just before")
        if rig.now - self.readings[0][0] < need - 1:
            self.fail("S3", "nobody looked for %d ms, since %d" % (need, self.readings[0][0]))
        for at, volts in recent:
            if not low <= volts[phase] <= high:
                self.fail("S3", "%d ms ago it was %.0f V" % (rig.now - at, volts[phase]))

    def closing(self, phase, now):
        """A contact closes at this instant; before it is noted."""
        rig = self.rig
        others = [p for p in (1, 2, 3) if p != phase and rig.arm[p].closed]
        if others:
            if others == self.hid:
                self.excused += 1  # a weld to a dead phase, and nobody who could tell
                raise Reset
            self.fail("S1", "contact %d closes while %s is closed" % (phase, others))
        if not rig.arm[phase].ordered:
            return  # it fell, its coil has current, and it comes back by itself: no node's doing
        rig.arm[phase].ordered = False
        if self.dead_at is None or now - self.dead_at < DEAD_TIME - rig.step_ms:
            self.fail("S1", "closed too early: dead since %s, now %d" % (self.dead_at, now))

    def moved(self, now):
        """After a contact moved or a voltage changed: since when is the output dead?"""
        rig = self.rig
        out = rig.out_at(now)
        if out >= DEAD_V * SURE:
            self.dead_at = None
            if not any(a.closed for a in rig.arm):
                # Nothing feeds it: a motor runs down.
                self.dead_at = rig.opened_at + int(
                    rig.decay * (1 - DEAD_V / max(rig.residual, DEAD_V))
                )
        elif self.dead_at is None or self.dead_at > now:
            self.dead_at = now


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


# episodes -------------------------------------------------------------------------------------


def order(rig):
    s = rig.sel
    to = 1 + (s.phase + random.randrange(2)) % 3 if s.phase else random.randrange(1, 4)
    rig.commands += 1
    now_s = rig.site_s()
    s.command(rig.commands, s.phase, to, now_s, now_s + random.randrange(1, 30), rig.now)


def sag(rig, p):
    rig.set_volts(p, random.choice((0.0, 5.0, 100.0, 190.0, 206.0, 254.0, 280.0)))


def outage(rig):
    for p in (1, 2, 3):
        rig.set_volts(p, 0.0)


def back(rig):
    for p in (1, 2, 3):
        rig.set_volts(p, 222.0 + random.randrange(17))


def weld(rig):
    """The closed contact, or the one that closes next."""
    for p in (1, 2, 3):
        if rig.arm[p].closed or random.randrange(3) == 0:
            rig.arm[p].welded = True


def fall(rig):
    for p in (1, 2, 3):
        if rig.arm[p].closed and not rig.arm[p].welded:
            rig.arm[p].jammed = True


def jam(rig):
    arm = rig.arm[random.randrange(1, 4)]
    arm.jammed = not arm.welded


def slow(rig):
    arm = rig.arm[random.randrange(1, 4)]
    arm.operate = random.randrange(5, LIVE_TIMEOUT)
    arm.release = random.randrange(5, DEAD_TIMEOUT - 20)


def slow_to_leave(rig):
    """The closed contact is slow, and its phase dies: nothing shows when it opens."""
    rig.arm[rig.sel.phase].release = random.randrange(150, DEAD_TIMEOUT - 20)
    rig.set_volts(rig.sel.phase, random.choice((0.0, 5.0)))


def reset(rig):
    rig.reset_at = rig.now


def name_it(rig, name, ms):
    setattr(rig, name, True)
    rig.at(ms, lambda: setattr(rig, name, False))


def refuse(rig):
    Slot.refuses = True
    rig.at(random.randrange(1, 300), lambda: setattr(Slot, "refuses", False))


TRIGGERS = (
    order,
    order,
    order,
    order,
    lambda r: sag(r, r.sel.phase),
    outage,
    fall,
    reset,
    slow_to_leave,
)
TROUBLES = (
    lambda r: sag(r, random.randrange(1, 4)),
    lambda r: sag(r, r.sel.phase),
    weld,
    jam,
    fall,
    slow,
    slow_to_leave,
    reset,
    reset,
    order,
    lambda r: name_it(r, "blind", random.randrange(50, 3000)),
    lambda r: name_it(r, "broken", random.randrange(50, 8000)),
    refuse,
    outage,
    back,
)


def going_on(rig, ms):
    """Run, through the resets that come."""
    end = rig.now + ms
    while rig.now < end:
        try:
            rig.step()
        except Reset:
            rig.boot(random.randrange(3) == 0)


def heal(rig):
    rig.plan = []
    rig.reset_at = -1
    Slot.refuses = rig.broken = rig.blind = False
    rig.amps = 3.0
    for arm in rig.arm:
        arm.jammed = False
        arm.welded = arm.welded and arm.closed
    back(rig)


def settle(rig):
    """What stays is closed, and proven; or locked out, and a person mends it."""
    end = rig.now + 800000  # the longest pause between two tries
    while rig.now < end:
        going_on(rig, 400)
        s = rig.sel
        if s.state == names.STATE_CLOSED and sum(a.closed for a in rig.arm) == 1:
            if rig.arm[s.phase].closed and not s.busy and not s.sense_fault:
                return
        if s.state == names.STATE_LOCKOUT:
            if rig.bad < 1:
                rig.witness.fail("S2", "locked out without a weld")
            for arm in rig.arm:
                arm.welded = False
            going_on(rig, 1000)
            rig.locked = False
            s.clear_lockout(rig.now)
        elif s.state == names.STATE_OPEN:
            for _ in range(4):  # a pause between two tries
                rig.now += 900
                rig.measure()
    raise Stop("left dark in state %d, phase %d" % (rig.sel.state, rig.sel.phase))


def fresh():
    """Another home, closed on a phase."""
    rig = Rig(*[random.getrandbits(1) == 1 for _ in range(3)])
    rig.bad = 0
    going_on(rig, 7000)
    settle(rig)
    return rig


def episode(rig):
    for arm in rig.arm:
        arm.operate = random.randrange(8, 25)
        arm.release = random.randrange(4, 18)
    rig.decay = random.choice((0, 0, 0, 60, 300))
    rig.noise = random.choice((0.0, 0.02))
    rig.trim = [1 + random.choice((0.0, 0.0, -0.04, 0.04)) for _ in range(4)]
    rig.seen = []
    rig.amps = random.choice((0.0, 3.0, 3.0, 60.0))
    rig.at(random.randrange(0, 20), lambda: random.choice(TRIGGERS)(rig))
    for _ in range(random.randrange(0, 4)):
        trouble = random.choice(TROUBLES)
        rig.at(random.choice((5, 40, 400, 1500)) + random.randrange(400), lambda t=trouble: t(rig))
    going_on(rig, random.choice((800, 2500, 6000)))
    rig.bad = sum(a.welded or a.release > 100 or a.closed != a.target for a in rig.arm)
    heal(rig)
    settle(rig)


def main(episodes, seed):
    rig = None
    counts = {}
    excused = 0
    for n in range(episodes):
        if n % 20 == 0:
            random.seed(seed + n)
            rig = fresh()
        try:
            episode(rig)
        except (Stop, drive.DriveError) as e:
            for line in rig.told:
                print(*line)
            print("latching %s, aux %s, pzem %s" % (rig.latching, rig.has_aux, rig.pzem))
            raise AssertionError(
                "seed %d, its episode %d: %s" % (seed + n - n % 20, n % 20, e)
            ) from e
        for code, _, _ in rig.seen:
            counts[code] = counts.get(code, 0) + 1
        excused += rig.witness.excused
        rig.witness.excused = 0
    print("episodes %d, excused %d, events %s" % (episodes, excused, sorted(counts.items())))


if len(sys.argv) > 4:
    setattr(rules, sys.argv[4], lambda *a: REMOVED[sys.argv[4]])
main(int(sys.argv[2]), int(sys.argv[3]))
print("ok")
