"""Earlier phases with which a plan is compared, and what each home's word can have cost since.

The limits, and why they hold, are in bound.py.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pbal_controller.balancing.phasors import TURN

#: Of a fuse's current, in which discs of claims are remembered.
UNITS = 125


class Past:
    """Earlier phases with which is compared.

    others_a: complex[k, n], H on them, A. whole: bool[k, n], where they bind for every current
    that the fuse carries; elsewhere for the discs of `said`. known: whether H itself is, and not
    only what it changes by.
    """

    def __init__(
        self,
        others_a: NDArray[np.complex128],
        whole: NDArray[np.bool_],
        said: NDArray[np.int8],
        fuses_a: NDArray[np.float64],
        known: bool,
    ) -> None:
        self._others = others_a
        self._whole = whole
        # Without H nothing limits the harm but what H changes by.
        self._fuses = fuses_a if known else np.full(len(fuses_a), np.inf)
        self._beyond = np.maximum(np.abs(others_a) - self._fuses, 0.0)
        row, home = np.nonzero((said[:, :, 2] >= 0) & ~whole)
        disc = said[row, home] * (fuses_a[home, None] / UNITS)
        self._home = home
        self._radius = disc[:, 2]
        self._centre = TURN[:, None] * (disc[:, 0] + 1j * disc[:, 1])
        then = others_a[row, home] + self._centre
        size = np.abs(then)
        self._to = np.conj(then) / np.maximum(size, 1e-12)
        self._far = size
        self._apart = np.maximum(size - self._radius, 0.0)
        self._near = np.where(size > self._radius, np.minimum(size, 2 * self._radius - size), size)

    def harm(self, others: NDArray[np.complex128]) -> NDArray[np.float64]:
        """float[n], A: most that each home's word can have cost when H becomes complex[n]."""
        least = np.minimum(
            np.abs(others - self._others), np.abs(others) + self._fuses - self._beyond
        )
        worst = np.asarray(np.where(self._whole, least, 0.0).max(axis=0))
        if len(self._home):
            now = others[self._home] + self._centre
            along = self._to * now
            off = np.maximum(self._near - along.real, 0.0) + np.maximum(along.real - self._far, 0.0)
            least = np.minimum(np.hypot(off, along.imag), np.abs(now) + self._radius - self._apart)
            np.maximum.at(worst, self._home, least.max(axis=0))
        return worst
