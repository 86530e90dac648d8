"""Opt-in local balancing while the controller has been silent for hours: one home's own decision.

Loaded only on nodes whose `silent_hours` is not 0. It must never make things worse than holding:

- voltage-guided: only from the lowest phase to the highest, when that was so on the mean of the
  last three hours *and* is so now, by at least 5 V both times;
- small enough: only when the difference in volts is at least the home's current in amperes. Moving
  I amperes changes the difference by 2 (Zp + 1.5 Zn) I, which is 0.96 V per ampere on the
  reference impedance of IEC 60725 (0.24 and 0.16 ohm); so a move never reverses the order of the
  phases there, and even two homes that move in the same second leave a difference that is
  no larger than before;
- random: one chance in 7.5 to 22.5 minutes, taken once in eight, so that the next home measures
  what the last one did;
- bounded: one move in six hours, and never within the dwell or above the daily cap.

A home that exports, or whose current is not known, stays.
"""

from micropython import const

_CHANCE_MS = const(450000)
_CHANCE_SPREAD_MS = const(900000)
_ONE_IN = const(8)
_REST_MS = const(21600000)
_LOOK_MS = const(60000)
_LOOKS = const(180)  # readings before the mean is used, and its time constant in readings
_LEAST_V = const(5.0)
_VOLTS_PER_AMPERE = const(1.0)


class Balancer:
    """`supply`: see supply.py; `load()`: the home's current in amperes, negative when it exports
    or is not known; `randrange(n)` gives 0..n-1.
    """

    def __init__(self, supply, load, randrange, now_ms: int) -> None:
        self._sup = supply
        self._load = load
        self._rand = randrange
        self._mean = [0.0] * 4
        self._looks = 0
        self._look_ms = now_ms
        self._rest_until = now_ms
        self._chance_ms = now_ms
        self._next_chance(now_ms)

    def _next_chance(self, now_ms: int) -> None:
        self._chance_ms = now_ms + _CHANCE_MS + self._rand(_CHANCE_SPREAD_MS)

    def look(self, now_ms: int) -> None:
        """Keep the mean of the voltages. A pause of minutes starts it anew."""
        if now_ms < self._look_ms:
            return
        if now_ms - self._look_ms > 5 * _LOOK_MS:
            self._looks = 0
        self._look_ms = now_ms + _LOOK_MS
        if self._looks < _LOOKS:
            self._looks += 1
        for p in (1, 2, 3):
            self._mean[p] += (self._sup.v[p] - self._mean[p]) / self._looks

    def moved(self, now_ms: int) -> None:
        """This home moved, for whatever reason: pause, and average the voltages anew."""
        self._rest_until = now_ms + _REST_MS
        self._looks = 0

    def target(self, present: int, now_ms: int) -> int:
        """The phase to go to now, 0 to stay."""
        self.look(now_ms)
        if now_ms < self._chance_ms:
            return 0
        self._next_chance(now_ms)
        if self._looks < _LOOKS or now_ms < self._rest_until or self._rand(_ONE_IN):
            return 0
        load = self._load()
        if load < 0:
            return 0
        need = max(_LEAST_V, _VOLTS_PER_AMPERE * load)
        best = 0
        for v in (self._mean, self._sup.v):
            top = 1
            for p in (2, 3):
                if v[p] > v[top]:
                    top = p
            if v[present] > min(v[1:]) or v[top] - v[present] < need or best not in (0, top):
                return 0
            best = top
        return best
