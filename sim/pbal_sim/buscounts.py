"""What the bus counts and times while it runs, and the summary of it."""

from __future__ import annotations

from collections import deque
from typing import Any

_SAMPLES = 20000
_COUNTED = (
    "requests",
    "responses",
    "bytes_down",
    "bytes_up",
    "overrun_bytes",
    "de_early",
    "de_late",
    "early_starts",
    "unread_bytes",
)


class BusCounts:
    """`counts` and the samples (microseconds) are never replaced by other objects: code that
    counts every frame holds them directly.
    """

    def __init__(self) -> None:
        self.counts = dict.fromkeys(_COUNTED, 0)
        self.turn_node: deque[int] = deque(maxlen=_SAMPLES)
        self.turn_controller: deque[int] = deque(maxlen=_SAMPLES)
        self.driver_hold: deque[int] = deque(maxlen=_SAMPLES)
        self.timer_late: deque[int] = deque(maxlen=_SAMPLES)

    def clear(self) -> None:
        """Begins anew."""
        for samples in (self.turn_node, self.turn_controller, self.driver_hold, self.timer_late):
            samples.clear()
        self.counts.update(dict.fromkeys(_COUNTED, 0))

    def summary(self) -> dict[str, Any]:
        """The counts, and the spread of each kind of sample."""
        return {
            **self.counts,
            "turn_node_us": _spread(self.turn_node),
            "turn_controller_us": _spread(self.turn_controller),
            "driver_hold_us": _spread(self.driver_hold),
            "timer_late_us": _spread(self.timer_late),
        }


def _spread(samples: deque[int]) -> dict[str, int]:
    if not samples:
        return {"n": 0}
    s = sorted(samples)
    n = len(s)
    return {"n": n, "min": s[0], "p50": s[n // 2], "p95": s[int(n * 0.95)], "max": s[-1]}
