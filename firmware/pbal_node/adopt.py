"""Which contact is closed after a reset: latching relays stay where they are (S12).

Loaded on boards with such relays only. No contact moves meanwhile. The proof is that the output
follows exactly one supply phase, in amplitude and angle, in three bursts of all voltages one after
the other, and that auxiliary contacts, where fitted, agree. Two contacts closed at once make their
phases look alike, so two candidates prove nothing. Neither does the journal: it has only the
command that the contacts were given.
"""

from micropython import const

from pbal_node import rules

_BURSTS = const(3)
_GIVE_UP_MS = const(2000)  # longer than a dip that a fuse ends
_METER_MS = const(5000)  # a meter answers within this time after a start


class Adoption:
    """`sense`, `supply`, `limits` as in changeover.py; `now_ms` when the node began to look."""

    def __init__(self, sense, supply, limits, now_ms: int) -> None:
        self._sense = sense
        self._supply = supply
        self._limits = limits
        self._began_ms = now_ms
        self._trusted_ms = now_ms  # since when the output's sensor is trusted
        self._seen_ms = -1
        self._phase = 0
        self._bursts = 0
        self.quick = True  # False: it takes long, so only the regular readings are used

    def poll(self, now_ms: int, aux: int) -> int:
        """The phase that is closed; 0: not to be proven; -1: not yet known."""
        sense = self._sense
        at = sense.at_ms
        if at < 0 or at == self._seen_ms:
            if now_ms - max(at, self._began_ms) >= _GIVE_UP_MS:
                self.quick = False
                self._trusted_ms = now_ms
            return -1
        self._seen_ms = at
        if not rules.sensor_proves(sense.fault[0]):
            # Opening could not be proven either: to open now would leave the home without power.
            self.quick = now_ms - self._began_ms < _GIVE_UP_MS
            self._trusted_ms = now_ms
            self._bursts = 0
            return -1
        phase = rules.carries(self._found(), aux)
        self._bursts = self._bursts + 1 if phase and phase == self._phase else 1 if phase else 0
        self._phase = phase
        if self._bursts >= _BURSTS:
            return phase
        if now_ms - self._trusted_ms < _GIVE_UP_MS:
            return -1
        self.quick = False
        return -1 if phase else 0

    def _found(self) -> list:
        """The phases that the output follows."""
        out_v = self._sense.out_v
        alike = self._sense.alike
        found = []
        for p in (1, 2, 3):
            if rules.same_height(out_v, self._supply.v[p], self._limits.nominal_v):
                if rules.same_angle(alike[p]):
                    found.append(p)
        return found

    def may_open(self, amps: float, now_ms: int) -> bool:
        """S6 also holds while the closed contact is not known; an unknown current (negative) only
        forbids opening until the meter must have answered.
        """
        if rules.output_dead(self._sense.out_v, self._limits.nominal_v):
            return True
        if amps < 0:
            return now_ms - self._began_ms >= _METER_MS
        return rules.quiet_enough(amps, self._limits.rated_a)
