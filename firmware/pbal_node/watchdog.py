"""S11: the hardware watchdog is fed only while metering and selector made progress.

Progress is a turn of the loop, whatever comes over the wire. The bearer is not watched here: a
reset opens contacts, and a home's power matters more than its connection, so a bearer that makes
no progress is restarted instead (rs485.py).
"""

from pbal_node import rules


class Watchdog:
    """`feed` resets the hardware timer; `limits` maps a loop's name to its longest silence in ms.

    A loop calls `beat(name, now_ms)` after each useful turn, not before it. `poll` feeds when all
    of them did; when one is stuck it stops feeding and leaves the rest to the hardware.
    """

    def __init__(self, feed, limits: dict, now_ms: int) -> None:
        self._feed = feed
        self._names = list(limits)
        self._limits = [limits[name] for name in self._names]
        self._beats = [now_ms] * len(self._names)
        self._ages = [0] * len(self._names)

    def beat(self, name: str, now_ms: int) -> None:
        """`name` made progress."""
        self._beats[self._names.index(name)] = now_ms

    def poll(self, now_ms: int) -> bool:
        for i in range(len(self._beats)):
            self._ages[i] = now_ms - self._beats[i]
        if not rules.may_feed(self._ages, self._limits):
            return False
        self._feed()
        return True
