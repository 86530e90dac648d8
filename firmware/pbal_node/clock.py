"""Two clocks: a monotonic one that never wraps, and site time set by the controller only (S4)."""

from micropython import const

_ANSWER_MS = const(60000)  # an answer to our nonce after this was held back on the way: refused
_MAX_BACK_MS = const(2000)  # a TimeSync that would set the clock back further is late: refused ...
_BACK_ANSWER_MS = const(5000)  # ... unless it answers our nonce at once: then our time was wrong


class Monotonic:
    """Milliseconds since the node started, from a wrapping tick counter.

    `ticks` and `diff` are time.ticks_ms and time.ticks_diff. `now()` must be called at least once
    per half period of the ticks (6 days on the ESP32); the loops call it many times a second.
    """

    def __init__(self, ticks, diff) -> None:
        self._ticks = ticks
        self._diff = diff
        self._last = ticks()
        self._total = 0

    def now(self) -> int:
        t = self._ticks()
        step = self._diff(t, self._last)
        if step > 0:
            self._total += step
            self._last = t
        return self._total


class SiteClock:
    """Site time in unix seconds; 0 while it was never set since boot."""

    def __init__(self, mono: Monotonic, nonce: int) -> None:
        self._mono = mono
        self.nonce = nonce  # sent in Hello; the first TimeSync must echo it ...
        self._asked_ms = mono.now()  # ... within _ANSWER_MS
        self._base_ms = 0  # site time minus monotonic time
        self.synced = False
        self.refused = 0  # TimeSyncs not believed

    def now_ms(self) -> int:
        return self._mono.now() + self._base_ms if self.synced else 0

    def now_s(self) -> int:
        return self.now_ms() // 1000

    def ask(self, nonce: int) -> int:
        """A new nonce for the next Hello: what answered an older one is too late."""
        self.nonce = nonce or 1  # 0 is what nobody asked for
        self._asked_ms = self._mono.now()
        return self.nonce

    def set(self, time_s: int, time_ms: int, nonce: int, unicast: bool) -> bool:
        """Take a TimeSync. False (and counted) when it must not be believed."""
        now = self._mono.now()
        base = time_s * 1000 + time_ms - now
        ok = self.synced and base - self._base_ms >= -_MAX_BACK_MS
        if unicast and nonce == self.nonce:
            limit = _BACK_ANSWER_MS if self.synced else _ANSWER_MS
            ok = ok or now - self._asked_ms <= limit
            self._asked_ms = now - _ANSWER_MS - 1  # one answer to each question
        if not ok:
            self.refused += 1
            return False
        self._base_ms = base
        self.synced = True
        return True
