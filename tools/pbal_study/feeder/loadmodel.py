"""How loads follow voltage: as in the .dss file, by the engine's rules."""

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .model import Complex, Feeder, Ints, LoadPoint, Real


class LoadModel:
    """How load power follows voltage, for H + fixed loads' ports at once.

    A customer that is written as several loads draws by the models of all of them.
    """

    def __init__(self, feeder: Feeder, kind: str = "feeder") -> None:
        points = [*feeder.homes]
        for load in feeder.fixed:
            points += [load] * load.parts
        written = [p.written if kind == "feeder" else (p,) for p in points]
        self._models = []
        for k in range(max(map(len, written), default=1)):
            model = _OneModel([w[min(k, len(w) - 1)] for w in written], kind)
            share = np.array([1 / len(w) if k < len(w) else 0.0 for w in written])
            self._models.append((model, share))

    def current(self, power_va: Complex, v: Complex) -> Complex:
        """Port currents in amperes at voltages `v`; both [..., loads], power at 1 per unit."""
        if len(self._models) == 1:
            return self._models[0][0].current(power_va, v)
        return np.asarray(sum(model.current(power_va * share, v) for model, share in self._models))


class _OneModel:
    """How the power of loads follows voltage, one load model each.

    `power` draws the profile's watts at any voltage above 0.7 per unit, as a meter has measured
    them. `feeder` follows the .dss file: the ZIP shares inside the load's voltage band, constant
    impedance above it, and below it a current that falls linearly to half the rated one at 0.5 per
    unit (the engine's rule; checked against it in the tests).
    """

    def __init__(self, points: list[LoadPoint], kind: str) -> None:
        self._base = np.array([p.v_base for p in points])
        self._floor = np.array([p.v_low for p in points])
        if kind == "power":
            self._low = np.full(len(points), 0.7)
            self._high = np.full(len(points), 10.0)
            zip_p = zip_q = np.tile([0.0, 0.0, 1.0], (len(points), 1))
        elif kind == "feeder":
            self._low = np.array([p.v_min for p in points])
            self._high = np.array([p.v_max for p in points])
            zip_p = np.array([p.zip_p for p in points])
            zip_q = np.array([p.zip_q for p in points])
        else:
            raise InputError(f"Unknown load model {kind!r}.", "Use 'feeder' or 'power'.")
        exponent_p = np.array([p.exponent_p for p in points])
        exponent_q = np.array([p.exponent_q for p in points])
        model = np.array([p.model for p in points])
        if kind == "power":
            exponent_p = exponent_q = np.zeros(len(points))
            model = np.ones(len(points), dtype=int)
        self._lowest = np.maximum(self._low, self._floor)
        self._p = self._edges(zip_p, exponent_p, model, reactive=False)
        self._q = self._edges(zip_q, exponent_q, model, reactive=True)
        self._same = bool(
            np.array_equal(zip_p, zip_q)
            and np.array_equal(exponent_p, exponent_q)
            and not np.isin(model, (6, 7)).any()
        )
        self._plain = bool(
            (zip_p == (0.0, 0.0, 1.0)).all()
            and (zip_q == (0.0, 0.0, 1.0)).all()
            and not (exponent_p.any() or exponent_q.any())
        )

    def _edges(self, share: Real, exponent: Real, model: Ints, reactive: bool) -> "_Edges":
        def drawn(u: Real) -> Real:
            return np.asarray(share[:, 0] * u * u + share[:, 1] * u + share[:, 2] * u**exponent)

        # Motors (3) and savers (4) are as constant powers outside their band; 6 and 7 are
        # impedances there, Q the rated one. Found by running the engine at many voltages.
        motor, held = np.isin(model, (3, 4)), np.isin(model, (6, 7))
        low = np.where(motor, 1.0, drawn(self._low))
        above = np.where(motor, 1.0, drawn(self._high)) / self._high**2
        if reactive:
            above[held] = 1.0
        square = np.ones(len(share)) if reactive else 1 / self._low**2
        return _Edges(
            share,
            exponent if exponent.any() else None,
            (low / self._low - self._floor) / np.maximum(self._low - self._floor, 1e-9),
            above,
            np.where(held, square, np.nan) if held.any() else None,
        )

    def current(self, power_va: Complex, v: Complex) -> Complex:
        """Port currents in amperes at voltages `v`; both [..., loads], power at 1 per unit."""
        u = np.abs(v)
        u /= self._base
        high, low = u > self._high, u < self._lowest
        some_high, some_low = bool(high.any()), bool(low.any())
        if self._plain and not some_high and not some_low:
            return np.conj(power_va / v)

        def factor(edges: _Edges) -> Real:
            out = self._below(u, edges) if some_low else self._band(u, edges)
            return np.where(high, edges.above * u * u, out) if some_high else out

        factor_p = factor(self._p)
        if self._same:
            return np.conj(power_va * factor_p / v)
        factor_q = factor(self._q)
        return np.conj((power_va.real * factor_p + 1j * power_va.imag * factor_q) / v)

    def _band(self, u: Real, edges: "_Edges") -> Real:
        """What is drawn within the band, as a share of the rated power."""
        if self._plain:
            return np.ones_like(u)
        share, exponent = edges.share, edges.exponent
        constant = share[:, 2] if exponent is None else share[:, 2] * u**exponent
        return np.asarray(share[:, 0] * u * u + share[:, 1] * u + constant)

    def _below(self, u: Real, edges: "_Edges") -> Real:
        """The same, with the loads that are below their band or their floor."""
        below = u * (self._floor + edges.slope * (u - self._floor))
        if edges.square is not None:
            below = np.where(np.isnan(edges.square), below, edges.square * u * u)
        out = np.where(u < self._low, below, self._band(u, edges))
        return np.asarray(np.where(u < self._floor, u * u, out))


@dataclass(frozen=True)
class _Edges:
    """How P or Q of each load goes with the voltage, [loads]."""

    share: Real
    """ZIP shares within the band, [loads, 3]."""
    exponent: Real | None
    """Of the power share; None: all zero."""
    slope: Real
    """Of the current below the band."""
    above: Real
    """Admittance above the band."""
    square: Real | None
    """Admittance below the band for loads that are impedances there, NaN for the others."""
