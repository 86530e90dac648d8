"""When to measure next: so that a reading is young when the poller asks for it.

Polls come in a rhythm: a controller goes round its homes. A reading begun a little before the next
one is due is a quarter of a second old when it is told; one begun at any other time is half a round
older in the mean.
"""

from micropython import const

_MOST_MS = const(1000)  # a reading at least this often ...
_LEAST_MS = const(400)  # ... and at most this often
_AHEAD_MS = const(250)  # begun so long before the next poll: a reading takes up to 130 ms
_OUT_OF_TURN_MS = const(200)  # a poll so soon after another belongs to no rhythm
_NO_RHYTHM_MS = const(10000)


class Pace:
    """The rhythm of the polls, in ms of the monotonic clock; 0 = none known."""

    def __init__(self) -> None:
        self.answered_ms = -1
        self.period_ms = 0

    def answered(self, now_ms: int) -> None:
        """A poll was answered."""
        gap = now_ms - self.answered_ms
        if self.answered_ms >= 0 and gap > _OUT_OF_TURN_MS:
            self.period_ms = gap if gap < _NO_RHYTHM_MS else 0
        self.answered_ms = now_ms

    def rest_ms(self, start_ms: int, now_ms: int) -> int:
        """How long to wait, after a reading begun at start_ms, before the next begins."""
        due = start_ms + _MOST_MS
        period = self.period_ms
        if period and now_ms - self.answered_ms < _NO_RHYTHM_MS:
            # A slow round is divided evenly.
            step = period // ((period + _MOST_MS - 1) // _MOST_MS)
            least = start_ms + _LEAST_MS
            first = self.answered_ms + period - _AHEAD_MS
            late = least - first
            due = min(first + (late + step - 1) // step * step, due)
        return max(due - now_ms, 0)
