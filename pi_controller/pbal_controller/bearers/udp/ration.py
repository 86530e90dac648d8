"""What senders who have proven nothing may cost: pure.

Addresses of senders can be invented, so they earn no trust. They only decide whose share is
spent: one that floods finds its own share empty, and all of them together have an end, too.
"""

from __future__ import annotations

import secrets
from collections.abc import Hashable

_SHARES = 256
_KEPT_S = 1.0  # a share that was not used for so long is full


class Allowance:
    """Seconds of work, refilled at a rate of `share` (0..1), at most `share` seconds at once."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._left_s = share * _KEPT_S
        self._at = 0.0

    def left(self, now: float) -> bool:
        """Whether there is any."""
        self._left_s = min(
            self._share * _KEPT_S, self._left_s + self._share * max(0.0, now - self._at)
        )
        self._at = now
        return self._left_s > 0

    def spend(self, seconds: float) -> None:
        """It was work for nothing."""
        self._left_s -= seconds


class Ration:
    """Shares of the work for nothing, by sender.

    `each`, `all_of_them`: shares of one processor that one sender, and all, may cost.
    """

    def __init__(self, each: float = 0.02, all_of_them: float = 0.1) -> None:
        self._salt = secrets.token_bytes(8)  # nobody chooses whose share he spends
        self._each = [Allowance(each) for _ in range(_SHARES)]
        self._all = Allowance(all_of_them)

    def _of(self, sender: Hashable) -> Allowance:
        return self._each[hash((self._salt, sender)) % _SHARES]

    def allows(self, sender: Hashable, now: float) -> bool:
        """Whether a frame of this sender is looked at now."""
        return self._of(sender).left(now) and self._all.left(now)

    def spend(self, sender: Hashable, seconds: float) -> None:
        """It did not open."""
        self._of(sender).spend(seconds)
        self._all.spend(seconds)
