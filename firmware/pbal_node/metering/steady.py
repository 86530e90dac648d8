"""Averages the readings of a load that does not change; a step is followed at once.

The converter's noise is the same at every load, so at a small one a single reading says little: at
2 % of the range and 1 % of noise half a percent of it takes two minutes of samples. How large the
noise is, is learnt from the readings themselves: the median of the change from one to the next, in
which the steps of real loads do not show. It is never taken to be more than 2 % of the range.
"""

from micropython import const

_MOST = const(120)  # readings in the mean, once the load was steady for so long
_LIMIT = const(5.0)  # times the median change: further away is another load
_FLOOR = const(0.003)  # of the apparent power: a difference that no average needs to remove
_DRIFT = const(1.4)  # times the median change: the last readings off by so much, the load drifts
_LAST = const(8)  # readings that tell a drift, and the age of the mean after one
_RATE = const(0.03)  # step of the median's search, in the end


class Steady:
    """Means of `width` values; which of them belong together is decided by values 1 and 2."""

    def __init__(self, width: int) -> None:
        self.mean = [0.0] * width
        self._last = 0.0
        self._jitter = 0.0
        self._rate = 1.0
        self._n = 0
        self._drift = 0.0

    def add(self, values, least: float, most: float) -> list:
        """The means, with these values in them. `least` and `most` bound the assumed noise."""
        mean = self.mean
        change = abs(values[1] - self._last)
        self._last = values[1]
        self._rate = rate = max(0.9 * self._rate, _RATE)
        j = self._jitter * (1 + rate if change > self._jitter else 1 / (1 + rate))
        self._jitter = min(max(j, least), most)
        off = values[1] - mean[1]
        far = max(abs(off), abs(values[2] - mean[2]))
        if far > _LIMIT * self._jitter + _FLOOR * (abs(mean[1]) + abs(mean[2])):
            self._n = 0
            self._drift = 0.0
        else:
            self._drift += (off - self._drift) / _LAST
            if self._n > 2 * _LAST and abs(self._drift) > _DRIFT * self._jitter:
                self._n = _LAST
                self._drift = 0.0
        if self._n < _MOST:
            self._n += 1
        for k in range(len(mean)):
            mean[k] += (values[k] - mean[k]) / self._n
        return mean
