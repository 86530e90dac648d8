"""The parts of contact_chaos.py's home, each with its faults: contacts, coils, a meter, flash."""

from pbal_node import journal

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
FLASH = {}


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
