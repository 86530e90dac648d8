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

from chaos_home import Rig
from chaos_parts import DEAD_TIMEOUT, LIVE_TIMEOUT, Reset, Slot
from chaos_witness import Stop
from pbal_node import drive, rules
from pbal_protocol import names

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
