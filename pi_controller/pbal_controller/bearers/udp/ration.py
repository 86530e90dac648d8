"""A bound on the work for senders that are not authenticated. Pure.

Source addresses can be forged, so they are not trusted. They only select whose share is used up: a
sender that floods uses up its own, and all shares together are bounded, too.
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
        """Whether any is left."""
        self._left_s = min(
            self._share * _KEPT_S, self._left_s + self._share * max(0.0, now - self._at)
        )
        self._at = now
        return self._left_s > 0

    def spend(self, seconds: float) -> None:
        """Charge work whose result was useless."""
        self._left_s -= seconds


class Ration:
    """Shares of the useless work, by sender.

    `each`, `all_of_them`: shares of one processor that one sender, and all, may cost.
    """

    def __init__(self, each: float = 0.02, all_of_them: float = 0.1) -> None:
        self._salt = secrets.token_bytes(8)  # so that no sender can choose whose share it uses
        self._each = [Allowance(each) for _ in range(_SHARES)]
        self._all = Allowance(all_of_them)

    def _of(self, sender: Hashable) -> Allowance:
        return self._each[hash((self._salt, sender)) % _SHARES]

    def allows(self, sender: Hashable, now: float) -> bool:
        """Whether a frame of this sender is to be opened now."""
        return self._of(sender).left(now) and self._all.left(now)

    def spend(self, sender: Hashable, seconds: float) -> None:
        """Charge a frame that did not open."""
        self._of(sender).spend(seconds)
        self._all.spend(seconds)
