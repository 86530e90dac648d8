"""Phasor arithmetic of a three-phase transformer: the homes' phases, and their currents' sum.

Phases are 0, 1, 2 (A, B, C); -1 is a home that is open or unknown and adds nothing. A
home's current is a complex RMS value in ampere referred to its own phase voltage, so
moving the home x phases on turns its current by a^(-x), a = exp(j 2 pi / 3).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: a^(-x) for x = 0, 1, 2, and 0 for the -1 that stands for "open" (it indexes the last).
TURN: NDArray[np.complex128] = np.concatenate((np.exp(-2j * np.pi / 3 * np.arange(3)), [0.0]))


def neutral_current(currents: ArrayLike, phases: ArrayLike) -> NDArray[np.complex128]:
    """Neutral current phasor(s), A: the sum of i_h a^(-x_h).

    currents: complex[..., n]; phases: int[..., n]; both broadcast. NaN currents count 0.
    """
    turned = np.nan_to_num(np.asarray(currents, np.complex128)) * TURN[np.asarray(phases)]
    return np.asarray(turned.sum(axis=-1))


def phase_currents(currents: ArrayLike, phases: ArrayLike) -> NDArray[np.complex128]:
    """Current of each phase conductor, A, each referred to its own phase voltage.

    currents: complex[..., n]; phases: int[..., n]. Returns complex[..., 3].
    """
    amps = np.nan_to_num(np.asarray(currents, np.complex128))
    x = np.asarray(phases)
    return np.stack([np.where(x == q, amps, 0.0).sum(axis=-1) for q in range(3)], axis=-1)
