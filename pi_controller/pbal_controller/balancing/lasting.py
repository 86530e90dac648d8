"""What each load draws in the long run: the imbalance that lasts.

A feeder that is unbalanced as built stays so for years; a short load ends after some minutes. The
mean current of every load over the past hours separates the two. A load that was measured for a
short time only counts as an average load of the street, so that at first the numbers of homes on
the phases are balanced. A mean over some hours is scaled to the whole day by a typical day's load
curve.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _outlook

#: Time constant of the weight of the past, hours; weight of an average load of the street, hours.
_FADE_H = 36.0
_PRIOR_H = 2.0
_LONGEST_H = 1.0


class Lasting:
    """Mean currents of n loads, A. Memory: three numbers a load."""

    def __init__(self, n: int, course: NDArray[np.float64], *, pooled: bool = True) -> None:
        """course: float64[24], a typical load's current by the hour, with mean 1.
        pooled: loads are alike; the mean of all is used for one that is not known yet."""
        self.sum = np.zeros(n, np.complex128)
        self.weight = np.zeros(n)
        self._course = course
        self._pooled = pooled
        self._last_s: float | None = None

    def observe(
        self, time_s: float, amps: NDArray[np.complex128], known: NDArray[np.bool_], hour: float
    ) -> None:
        """Take one reading, of the time since the one before. hour: local time of day."""
        spent_h = 0.0 if self._last_s is None else (time_s - self._last_s) / 3600.0
        self._last_s = time_s
        spent_h = min(max(spent_h, 0.0), _LONGEST_H)
        fade = math.exp(-spent_h / _FADE_H)
        typical = self._course[int(hour) % 24]
        _outlook.lasting(fade, spent_h, typical, amps, known, self.sum, self.weight)

    def mean_into(self, out: NDArray[np.complex128], known: NDArray[np.bool_]) -> None:
        """Writes `mean` of loads that are alike into out, complex128[n] A; zero where not known."""
        _outlook.lasting_mean(self.sum, self.weight, _PRIOR_H, known, out)

    def mean(self) -> NDArray[np.complex128]:
        """complex128[n] A, a typical day's mean; zero while no load is known."""
        if not self._pooled:
            return np.asarray(self.sum / np.maximum(self.weight, 1e-9))
        out = np.empty_like(self.sum)
        self.mean_into(out, np.ones(len(out), np.bool_))
        return out

    def state(self) -> dict[str, Any]:
        """What has been learnt, for a journal."""
        return {"re": self.sum.real.copy(), "im": self.sum.imag.copy(), "hours": self.weight.copy()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave. Raises ValueError where it is of another street or damaged;
        then nothing has changed."""
        read = {k: np.array(state[k], np.float64) for k in ("re", "im", "hours")}
        for name, value in read.items():
            if value.shape != self.weight.shape:
                raise ValueError(f"{name}: expected {len(self.weight)} homes, got {value.shape}")
            if not np.isfinite(value).all() or (name == "hours" and (value < 0).any()):
                raise ValueError(f"{name}: expected numbers, and hours that are not negative")
        self.sum = read["re"] + 1j * read["im"]
        self.weight = read["hours"]
