"""The last reading of each load, and the mean of its recent past."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from . import _outlook

#: No home draws more.
_MOST_A = 1e4


class Readings:
    """The last reading of each of n loads, A, the mean of the recent past, and when."""

    def __init__(self, n: int) -> None:
        self.last = np.zeros(n, np.complex128)
        self.recent = np.zeros(n, np.complex128)
        self.seen_s = np.full(n, -np.inf)

    def observe(
        self, time_s: float, amps: NDArray[np.complex128], lag_s: float
    ) -> NDArray[np.bool_]:
        """Take one reading, NaN where unknown; returns what is known of it. lag_s: the mean's."""
        known = _outlook.take(time_s, amps, _MOST_A, lag_s, self.last, self.recent, self.seen_s)
        return np.asarray(known)
