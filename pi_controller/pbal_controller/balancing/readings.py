"""The last reading of each load, and the mean of its recent past."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
        with np.errstate(over="ignore", invalid="ignore"):
            known = np.asarray(np.abs(amps) <= _MOST_A)  # neither is NaN
        new = -np.expm1(-(time_s - self.seen_s[known]) / lag_s)
        self.recent[known] += new * (amps[known] - self.recent[known])
        self.last[known] = amps[known]
        self.seen_s[known] = time_s
        return known
