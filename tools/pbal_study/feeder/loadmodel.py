"""How loads follow voltage: as in the .dss file, by the engine's rules."""

from collections.abc import Sequence

import numpy as np

from ..errors import InputError
from . import _loads
from .model import Complex, Feeder, Ints, LoadPoint, Real


class LoadModel:
    """How load power follows voltage, for H + fixed loads' ports at once.

    A customer that is written as several loads draws by the models of all of them. `power` draws
    the profile's watts at any voltage above 0.7 per unit, as a meter has measured them. `feeder`
    follows the .dss file: the ZIP shares inside the load's voltage band, constant impedance above
    it, and below it a current that falls linearly to half the rated one at 0.5 per unit (the
    engine's rule; checked against it in the tests).
    """

    def __init__(self, feeder: Feeder, kind: str = "feeder") -> None:
        points = [*feeder.homes]
        for load in feeder.fixed:
            points += [load] * load.parts
        written = [p.written if kind == "feeder" else (p,) for p in points]
        shares = [np.array(part_shares(w)) for w in written]
        most = max(map(len, written), default=1)
        models = [_one_model([w[min(k, len(w) - 1)] for w in written], kind) for k in range(most)]
        own = np.zeros((most, len(points), 3))  # a part that a load does not have draws nothing
        for k, share in enumerate(shares):
            own[: len(share), k] = share
        band, p, q, plain = zip(*models, strict=True)
        self.loads = _loads.Loads(
            np.stack(band), np.stack(p), np.stack(q), own, most == 1 and plain[0]
        )

    def current(self, power_va: Complex, v: Complex) -> Complex:
        """Port currents in amperes at voltages `v`; both [T, loads], power at 1 per unit."""
        return np.asarray(
            self.loads.current(
                np.ascontiguousarray(power_va, np.complex128),
                np.ascontiguousarray(v, np.complex128),
            )
        )


def part_shares(written: Sequence[LoadPoint]) -> list[tuple[float, float, float]]:
    """For each part of a customer: its share of the watts, its share of the vars, and vars besides.

    Parts of models 6 and 7 draw their own vars; the others share what is left of the sum.
    """
    if len(written) == 1:
        return [(1.0, 1.0, 0.0)]
    fixed = [part.held_var for part in written]
    sum_held = sum(q for q in fixed if q is not None)
    n_free = sum(q is None for q in fixed)
    return [
        (1 / len(written), 1 / n_free, -sum_held / n_free)
        if q is None
        else (1 / len(written), 0.0, q)
        for q in fixed
    ]


def _one_model(points: list[LoadPoint], kind: str) -> tuple[Real, Real, Real, bool]:
    """One load model each: band, P, Q and plain as `_loads.Loads` takes them."""
    floor = np.array([p.v_low for p in points])
    if kind == "power":
        low, high = np.full(len(points), 0.7), np.full(len(points), 10.0)
        zip_p = zip_q = np.tile([0.0, 0.0, 1.0], (len(points), 1))
        exponent_p = exponent_q = np.zeros(len(points))
        model = np.ones(len(points), dtype=int)
    elif kind == "feeder":
        low = np.array([p.v_min for p in points])
        high = np.array([p.v_max for p in points])
        zip_p = np.array([p.zip_p for p in points]).reshape(-1, 3)
        zip_q = np.array([p.zip_q for p in points]).reshape(-1, 3)
        exponent_p = np.array([p.exponent_p for p in points])
        exponent_q = np.array([p.exponent_q for p in points])
        model = np.array([p.model for p in points])
    else:
        raise InputError(f"Unknown load model {kind!r}.", "Use 'feeder' or 'power'.")
    band = np.column_stack([np.array([p.v_base for p in points]), low, high, floor])
    own_p = _edges(band, zip_p, exponent_p, model, reactive=False)
    own_q = _edges(band, zip_q, exponent_q, model, reactive=True)
    constant = (np.array([zip_p, zip_q]) == (0.0, 0.0, 1.0)).all()
    varied = exponent_p.any() or exponent_q.any() or np.isin(model, (6, 7)).any()
    return band, own_p, own_q, bool(constant and not varied)


def _edges(band: Real, share: Real, exponent: Real, model: Ints, reactive: bool) -> Real:
    """How P or Q of each load goes with the voltage, [loads, 7]: the ZIP shares within the band,
    the exponent of the power share, the slope of the current below the band, the admittance above
    it, and that below it for loads that are impedances there, NaN for the others."""
    _, low, high, floor = band.T

    def drawn(u: Real) -> Real:
        return np.asarray(share[:, 0] * u * u + share[:, 1] * u + share[:, 2] * u**exponent)

    # Motors (3) and savers (4) are as constant powers outside their band; 6 and 7 are
    # impedances there, Q the rated one. Found by running the engine at many voltages.
    motor, held = np.isin(model, (3, 4)), np.isin(model, (6, 7))
    at_low = np.where(motor, 1.0, drawn(low))
    above = np.where(motor, 1.0, drawn(high)) / high**2
    if reactive:
        above[held] = 1.0
    slope = (at_low / low - floor) / np.maximum(low - floor, 1e-9)
    below = np.where(held, np.ones(len(share)) if reactive else 1 / low**2, np.nan)
    return np.column_stack([share, exponent, slope, above, below])
