"""Two clocks: a monotonic one that never wraps, and site time set by the controller only (S4).

A time is proven when it answers a fresh nonce of ours, in a frame for this node alone.
Everything else moves the clock only within a band around the last proven answer. Commands are
judged expired by `latest_s`, which goes back only after a long run of answers that agree.
"""

import os

from micropython import const

from pbal_node.version import BUILD_S

_ANSWER_MS = const(5000)  # a later answer to our nonce may have been held back: no proof
_SPAN_S = const(631152000)  # 20 years: a time so long after the build is not plausible
_BAND_MS = const(2000)  # how far other syncs may move the clock from the last proven answer ...
_DRIFT = const(5000)  # ... and one in so many (200 ppm) of the time since, for both crystals
_ALONE_MS = const(21600000)  # 6 h after the last proven answer only another one moves the clock
_ASK_MS = const(3600000)  # a proven answer is asked for this often ...
_ASK_SOON_MS = const(600000)  # ... and this often until time is settled
_SAME_MS = const(1000)  # an unanswered question keeps its nonce for so long
_AGAIN_MS = const(5000)  # an answer that does not come is asked for again
_APART_MS = const(300000)  # answers closer together than this count as one
_RUN_MS = const(3600000)  # answers that agree for so long ...
_RUN = const(5)  # ... and at least so many settle what time it is
_AHEAD_MS = const(60000)  # proven time further ahead than this was wrong: it is replaced


def random_u32() -> int:
    """A nonce: 30 random bits, as much as a small integer of the chip holds without a sign."""
    r = os.urandom(4)
    return r[0] | r[1] << 8 | r[2] << 16 | (r[3] & 0x3F) << 24


def randrange(n: int) -> int:
    """A random number, 0..n-1: a delay, a choice."""
    return random_u32() % n


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
    """Site time in unix seconds; 0 while it was never set since boot.

    `floor_s` is the proven time that flash remembers, 0 for none. `moved(seconds, ahead_s)` is
    called when an answer moved a clock that was set by more than the band, or set one that is
    behind proven time by `ahead_s`.
    """

    def __init__(self, mono: Monotonic, nonce: int, floor_s: int = 0, moved=None) -> None:
        self._mono = mono
        self._moved = moved
        self.nonce = nonce  # sent in Hello; the first TimeSync must echo it ...
        self._asked_ms = mono.now() - _SAME_MS  # ... within _ANSWER_MS
        self._open = True  # the nonce has not been answered
        self._base_ms = 0  # site time minus monotonic time
        self.synced = False
        self.refused = 0  # TimeSyncs refused
        self._mark_ms = floor_s * 1000  # the latest site time that commands were judged by
        self._line_ms = 0  # when the last proven answer came ...
        self._line_base_ms = 0  # ... and what it said
        self._run = 0  # answers in a row that agree, _APART_MS apart
        self._run_ms = 0  # when the first of them came
        self._counted_ms = 0  # the last of them
        self._counted_base_ms = 0
        self.settled_s = 0  # site time at the last answer of a full run, 0 before one

    def now_ms(self) -> int:
        return self._mono.now() + self._base_ms if self.synced else 0

    def now_s(self) -> int:
        return self.now_ms() // 1000

    def latest_s(self) -> int:
        """The time by which commands expire: now, or proven time where that is later."""
        return max(self.now_ms(), self._mark_ms) // 1000

    def ask(self, nonce: int) -> int:
        """The nonce of the next Hello: an answer to an older one is too late.

        It changes at most once a second: otherwise anyone who makes a node send Hello, which
        needs no key, could make every answer of the controller one to an older question.
        """
        now = self._mono.now()
        if not self._open or now - self._asked_ms >= _SAME_MS:
            self.nonce = nonce or 1  # 0 means not asked for
            self._asked_ms = now
            self._open = True
        return self.nonce

    def wants_answer(self) -> bool:
        """True when it is time for a Hello, whose nonce the controller answers."""
        now = self._mono.now()
        if now - self._asked_ms < _AGAIN_MS:
            return False
        if not self.synced:
            return True
        return now - self._line_ms >= (_ASK_MS if self._settled(now) else _ASK_SOON_MS)

    def _settled(self, now: int) -> bool:
        return self._run >= _RUN and now - self._run_ms >= _RUN_MS

    def set(self, time_s: int, time_ms: int, nonce: int, unicast: bool) -> bool:
        """Take a TimeSync. False (and counted) when it must not be trusted."""
        now = self._mono.now()
        base = time_s * 1000 + time_ms - now
        ok = False
        if plausible(time_s):
            if unicast and self._open and nonce == self.nonce:
                self._open = False  # one answer to each question
                if now - self._asked_ms <= _ANSWER_MS:
                    self._take(now, base)
                    self._prove(now, base)
                    return True
            since = now - self._line_ms
            ok = self.synced and since <= _ALONE_MS and agrees(base, self._line_base_ms, since)
        if ok:
            self._take(now, base)
        else:
            self.refused += 1
        return ok

    def _take(self, now: int, base: int) -> None:
        step = 0
        if self.synced:
            step = base - self._base_ms
            self._mark_ms = max(self._mark_ms, now + self._base_ms)
        ahead = max(self._mark_ms - now - base, 0)
        first = not self.synced
        self._base_ms = base
        self.synced = True
        if self._moved is not None and (abs(step) > _BAND_MS or (first and ahead)):
            self._moved(step // 1000, ahead // 1000)

    def _prove(self, now: int, base: int) -> None:
        """A proven answer: the middle of the band, and one more in a run, or the first of one."""
        self._line_ms = now
        self._line_base_ms = base
        apart = now - self._counted_ms
        if not self._run or not agrees(base, self._counted_base_ms, apart):
            self._run = 0
            self._run_ms = now
        elif apart < _APART_MS:
            return
        self._run += 1
        self._counted_ms = now
        self._counted_base_ms = base
        if self._settled(now):
            # Only here may proven time go back, and may flash take a new one.
            self.settled_s = (now + base) // 1000
            if self._mark_ms - now - base > _AHEAD_MS:
                self._mark_ms = now + base


def plausible(time_s: int) -> bool:
    """S4: not before this firmware was built, nor over 20 years after that."""
    return BUILD_S <= time_s < BUILD_S + _SPAN_S


def agrees(base_ms: int, other_ms: int, apart_ms: int) -> bool:
    """S4: two times that came `apart_ms` apart differ by no more than clocks do."""
    return abs(base_ms - other_ms) <= _BAND_MS + apart_ms // _DRIFT
