"""Judges what the contacts of contact_chaos.py truly did; it knows nothing of pbal_node."""

from chaos_parts import DEAD_TIME, DEAD_V, Reset

GOOD_MS, AGAIN_MS = 5000, 1000
SURE = 1.12  # a trimmed and noisy reading may be wrong by so much


class Stop(Exception):
    """The witness saw what must not be."""


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
