"""The three phases of the supply: how long each has been inside or outside the voltage band (S3,
S8, S9), and what its voltage says of a contact (S1, S2).
"""

from pbal_node import rules


class Supply:
    """Fed with each RMS reading of the three phases; answers durations in milliseconds.

    A gap longer than `max_gap_ms` between readings restarts the good times: nothing is known
    of the time in between.
    """

    def __init__(self, low_v: float, high_v: float, max_gap_ms: int = 3000) -> None:
        self.low_v = low_v
        self.high_v = high_v
        self._max_gap_ms = max_gap_ms
        self.v = [0.0, 0.0, 0.0, 0.0]  # index = phase, 0 unused
        self._good_since = [-1, -1, -1, -1]
        self._bad_since = [0, 0, 0, 0]
        self.at_ms = -1

    def update(self, now_ms: int, va: float, vb: float, vc: float) -> None:
        if self.at_ms >= 0 and now_ms - self.at_ms > self._max_gap_ms:
            for p in (1, 2, 3):
                self._good_since[p] = -1
        self.at_ms = now_ms
        v = self.v
        v[1] = va
        v[2] = vb
        v[3] = vc
        for p in (1, 2, 3):
            if rules.in_band(v[p], self.low_v, self.high_v):
                self._bad_since[p] = -1
                if self._good_since[p] < 0:
                    self._good_since[p] = now_ms
            else:
                self._good_since[p] = -1
                if self._bad_since[p] < 0:
                    self._bad_since[p] = now_ms

    def fresh(self, now_ms: int) -> bool:
        return self.at_ms >= 0 and now_ms - self.at_ms <= self._max_gap_ms

    def good_ms(self, phase: int, now_ms: int) -> int:
        """Time inside the band until now; 0 when outside or not measured lately."""
        since = self._good_since[phase]
        return now_ms - since if since >= 0 and self.fresh(now_ms) else 0

    def bad_ms(self, phase: int, now_ms: int) -> int:
        """Time outside the band until now; 0 when inside."""
        since = self._bad_since[phase]
        return now_ms - since if since >= 0 else 0

    def target_reason(self, phase: int, now_ms: int, need_ms: int) -> int:
        """S3: 0 when a contact may close onto this phase now, else why not, as on the wire.
        `need_ms`: how long it must have been inside the band.
        """
        return rules.target_reason(
            self.v[phase], self.good_ms(phase, now_ms), self.low_v, self.high_v, need_ms
        )

    def hides(self, phase: int, nominal_v: float) -> bool:
        """S1: whether this phase (0: any) has too little voltage to show a contact that is still
        closed on it.
        """
        for p in (1, 2, 3):
            if phase in (0, p) and rules.may_hide(self.v[p], nominal_v):
                return True
        return False

    def nearest(self, volts: float) -> int:
        """S2: the phase whose voltage is nearest to this one of the output."""
        best = 1
        for p in (2, 3):
            if abs(self.v[p] - volts) < abs(self.v[best] - volts):
                best = p
        return best
