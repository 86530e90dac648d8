"""A limit on login attempts: a bucket per user name and one per address.

A bucket holds `burst` tries and fills with one every `every_s`. A right login empties the user's
count. The memory is bounded: beyond `most` names the one that was longest unused is forgotten.
The count is of this process; several portals behind one address each count for themselves.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from pbal_hq.auth.errors import TooMany


@dataclass
class _Bucket:
    left: float
    at_s: float


class Tries:
    """The buckets of one kind."""

    def __init__(self, burst: int, every_s: float, most: int = 100_000) -> None:
        self._burst, self._every_s, self._most = burst, every_s, most
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, name: str, now_s: float) -> None:
        """One try. Raises TooMany."""
        bucket = self._buckets.pop(name, None) or _Bucket(self._burst, now_s)
        gained = max(0.0, now_s - bucket.at_s) / self._every_s
        bucket.left = min(float(self._burst), bucket.left + gained)
        bucket.at_s = now_s
        self._buckets[name] = bucket
        while len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        if bucket.left < 1:
            raise TooMany((1 - bucket.left) * self._every_s)
        bucket.left -= 1

    def forget(self, name: str) -> None:
        """After a right login."""
        self._buckets.pop(name, None)
