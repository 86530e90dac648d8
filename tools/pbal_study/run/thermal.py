"""Transformer hot-spot temperature and insulation ageing, IEC 60076-7.

The difference equations of the standard's loading guide, for an ONAN distribution transformer
with non-thermally-upgraded paper: the top-oil and winding temperature rises follow the load with
time constants, and the relative ageing rate doubles for every 6 K above 98 degrees C.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dtbtrs

from ..feeder.model import Real


@dataclass(frozen=True)
class ThermalModel:
    """Constants of IEC 60076-7 for distribution transformers, ONAN (its table of thermal
    characteristics). Temperatures in K or degrees C, times in minutes."""

    oil_exponent: float = 0.8
    winding_exponent: float = 1.6
    loss_ratio: float = 5.0
    """Load loss at rated current over no-load loss, R."""
    top_oil_rise_k: float = 55.0
    hot_spot_rise_k: float = 23.0
    """Hot-spot to top-oil gradient at rated current."""
    oil_minutes: float = 180.0
    winding_minutes: float = 4.0
    k11: float = 1.0
    k21: float = 1.0
    k22: float = 2.0
    reference_c: float = 98.0
    normal_life_h: float = 180_000.0
    """Hours to the end of life at the reference temperature."""


ONAN = ThermalModel()


def hot_spot(
    load_oil: NDArray[np.floating],
    load_winding: NDArray[np.floating],
    step_s: float,
    ambient_c: float | Real,
    model: ThermalModel = ONAN,
) -> tuple[Real, Real]:
    """Top-oil temperature [T] and hot-spot temperatures, of the shape of `load_winding`, degrees C.

    `load_oil` [T] is the load factor whose square heats the oil (RMS over the three phases),
    `load_winding` that of one winding [T] or of several [T, windings]; 1 is rated current. The
    windings share the oil; each has a hot spot of its own. The start is the steady
    state of the first step's load. Each step uses the exact solution for a constant load, so any
    step length is stable.
    """
    m = model
    minutes = step_s / 60.0
    oil_end = (
        (1 + np.asarray(load_oil, dtype=float) ** 2 * m.loss_ratio) / (1 + m.loss_ratio)
    ) ** m.oil_exponent * m.top_oil_rise_k
    gradient = m.hot_spot_rise_k * np.asarray(load_winding, dtype=float) ** m.winding_exponent
    oil = _follow(oil_end, minutes / (m.k11 * m.oil_minutes))
    quick = _follow(m.k21 * gradient, minutes / (m.k22 * m.winding_minutes))
    slow = _follow((m.k21 - 1) * gradient, minutes * m.k22 / m.oil_minutes)
    top_oil = oil + ambient_c
    over_oil = quick - slow
    return top_oil, np.asarray((top_oil.T + over_oil.T).T)


def _follow(target: Real, step_over_tau: float) -> Real:
    """First-order response to a staircase [T, ...], starting settled at its first value."""
    # y[n] = keep * y[n-1] + (1 - keep) * target[n] as a banded system. scipy.signal.lfilter gives
    # the same numbers, but its import takes longer than a small study.
    keep = float(np.exp(-step_over_tau))
    right = np.array(np.reshape(target, (len(target), -1)), dtype=float, order="F")
    right[1:] *= 1 - keep
    band = np.empty((2, len(target)), order="F")
    band[0], band[1] = 1.0, -keep
    out, _ = dtbtrs(band, right, uplo="L", diag="U", overwrite_b=True)
    return np.ascontiguousarray(out).reshape(np.shape(target))


def ageing_rate(hot_spot_c: Real, model: ThermalModel = ONAN) -> Real:
    """Relative ageing rate: 1 at 98 degrees C, doubling every 6 K; no higher than 2^300, which is
    formal, but a number that can be written down."""
    return np.asarray(2.0 ** np.minimum((hot_spot_c - model.reference_c) / 6.0, 300.0))


@dataclass(frozen=True)
class Ageing:
    """The ageing of the transformer in a period."""

    peak_load: float
    """Highest load factor of any phase, 1 is rated."""
    peak_hot_spot_c: float
    """Of any winding."""
    life_used_h: float
    """Hours of normal insulation life used by the winding that used most."""
    relative_rate: float
    """Life used over time passed; 1 is normal ageing."""


def ageing(
    phase_current_a: NDArray[np.floating],
    rated_a: float,
    step_s: float,
    ambient_c: float | Real,
    model: ThermalModel = ONAN,
) -> tuple[Ageing, Real]:
    """Ageing for phase currents [T, 3] of a transformer of `rated_a`, and the hot spot [T] of the
    winding that ages most.

    With unequal phases the oil, which all windings share, is heated by the mean of the three
    phases' losses; each winding has its own gradient over it and ages by its own hot spot. The
    transformer has reached its end when the first winding has.
    """
    load = np.asarray(phase_current_a, dtype=float) / rated_a
    _, hot = hot_spot(np.sqrt((load**2).mean(axis=1)), load, step_s, ambient_c, model)
    hours = len(load) * step_s / 3600
    each = ageing_rate(hot, model).sum(axis=0) * step_s / 3600
    worst = int(np.argmax(each))
    used = float(each[worst])
    return Ageing(float(load.max()), float(hot.max()), used, used / hours), hot[:, worst]
