"""Many homes on one small feeder: the node's real decisions, contacts that move at once.

Voltages are those of resistive loads on a feeder with phase and neutral resistance, to first
order: what one home does, its neighbours measure at the next step.
"""

from pbal_node import autonomy, contacts, rules, supply
from pbal_protocol.names import STATE_CLOSED as CLOSED
from pbal_protocol.names import STATE_OPEN as OPEN


class Random:
    """A small generator of one's own: the same seed is the same street on every interpreter."""

    def __init__(self, seed):
        self._x = (seed * 2654435761 + 12345) & 0xFFFFFFFF or 1
        for _ in range(8):
            self.below(2)

    def below(self, n):
        x = self._x
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        self._x = x
        return x % n

    def share(self):
        return self.below(1 << 20) / (1 << 20)


class State:
    proven = 0
    stage = 0


class Contacts:
    """What the autonomy sees of a selector; refuses what the selector refuses."""

    def __init__(self, home, phase):
        self.home = home
        self.state = CLOSED if phase else OPEN
        self.phase = phase
        self.moved_ms = -1
        self.today = 0
        self.contacts = contacts.Contacts(10)

    def dwell_left_ms(self, now_ms):
        since = -1 if self.moved_ms < 0 else now_ms - self.moved_ms
        return rules.dwell_left_ms(since, self.home.limits.dwell_ms)

    def switches_today(self):
        return self.today

    def _target(self, phase, now_ms):
        s = self.home.supply
        return rules.target_reason(s.v[phase], s.good_ms(phase, now_ms), s.low_v, s.high_v, 5000)

    def local_transfer(self, to, now_ms):
        if self._target(to, now_ms):
            return False
        self.home.street.moves.append((now_ms, self.home.index, self.phase, to))
        self.phase = to
        self.home.state.proven = to
        self.moved_ms = now_ms
        self.today += 1
        return True

    def restore(self, phase, now_ms, again=False):
        if self._target(phase, now_ms):
            return False
        self.home.street.closings.append((now_ms, self.home.index, phase))
        self.state = CLOSED
        self.phase = phase
        self.home.state.proven = phase
        return True

    def release(self, now_ms):
        self.state = OPEN
        self.phase = 0
        return True


class Limits:
    nominal_v = 230.0
    fixed = 0
    opted_out = 0
    daily_cap = 6
    dwell_ms = 1800000
    safe_mode = False


class Home:
    def __init__(self, street, index, phase, gap_ms):
        self.street = street
        self.index = index
        self.amps = 3.0
        self.limits = Limits()
        self.state = State()
        self.state.proven = phase
        self.settings = autonomy.Settings()
        self.supply = supply.Supply(207.0, 253.0, gap_ms)
        self.contacts = Contacts(self, phase)
        self.random = Random(street.seed * 1000 + index)
        self.auto = autonomy.Autonomy(
            self.contacts,
            self.supply,
            self.settings,
            self.limits,
            self.state,
            phase,
            self.random.below,
            False,
            lambda *a: None,
            lambda: street.now - street.silent_since,
            lambda: self.amps,
        )


class Street:
    def __init__(self, phases, seed, step_ms=500, z_phase=0.06, z_neutral=0.05, source_v=235.0):
        self.seed = seed
        self.now = 0
        self.step_ms = step_ms
        self.z = (z_phase, z_neutral)
        self.source = [0.0, source_v, source_v, source_v]
        self.silent_since = 0
        self.moves = []
        self.closings = []
        self.homes = [Home(self, i, p, 3 * step_ms) for i, p in enumerate(phases)]
        # Real nodes do not poll in step: everyone has a turn of its own within each step.
        order = Random(seed + 77)
        self.turns = sorted(range(len(phases)), key=lambda _: order.below(1 << 20))

    def amperes(self):
        """Per phase; index 0 unused."""
        i = [0.0] * 4
        for h in self.homes:
            if h.contacts.phase and self.source[h.contacts.phase] > 0:
                i[h.contacts.phase] += h.amps
        i[0] = 0.0
        return i

    def volts(self, i=None):
        i = i or self.amperes()
        zp, zn = self.z
        total = i[1] + i[2] + i[3]
        # The neutral current's part in phase with phase p: i_p - (the other two) / 2.
        return [0.0] + [
            max(0.0, self.source[p] - zp * i[p] - zn * (i[p] - (total - i[p]) / 2))
            if self.source[p] > 0
            else 0.0
            for p in (1, 2, 3)
        ]

    def losses(self):
        """Watts lost in the feeder."""
        _, a, b, c = self.amperes()
        zp, zn = self.z
        return zp * (a * a + b * b + c * c) + zn * (a * a + b * b + c * c - a * b - b * c - c * a)

    def count(self):
        n = [0] * 4
        for h in self.homes:
            n[h.contacts.phase] += 1
        return n

    def step(self):
        self.now += self.step_ms
        v = self.volts()
        for k in self.turns:
            h = self.homes[k]
            h.supply.update(self.now, v[1], v[2], v[3])
        for k in self.turns:
            self.homes[k].auto.poll(self.now)

    def run(self, ms):
        end = self.now + ms
        while self.now < end:
            self.step()
