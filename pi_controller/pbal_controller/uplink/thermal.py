"""Temperature of a transformer's hottest spot, by the difference equations of IEC 60076-7:2018.

The values are that standard's for distribution transformers with natural cooling (ONAN): oil
exponent 0.8, winding exponent 1.6, loss ratio 5, k11 = k21 = 1, k22 = 2, oil time constant 180 min,
winding time constant 4 min; the rated rises are 55 K (top oil) and 23 K (hot spot over it), which
with 20 degC around give the 98 degC of rated life. Within a step the load is constant, so each of
the three first-order equations has its exact solution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_X, _Y, _R = 0.8, 1.6, 5.0
_K11, _K21, _K22 = 1.0, 1.0, 2.0
_TAU_OIL_S, _TAU_WINDING_S = 180 * 60.0, 4 * 60.0
_OIL_RISE_K, _HOT_SPOT_RISE_K = 55.0, 23.0


def _oil_target(load: float) -> float:
    return _OIL_RISE_K * math.pow((1 + load * load * _R) / (1 + _R), _X)


def _winding_target(load: float) -> float:
    return _HOT_SPOT_RISE_K * math.pow(load, _Y)


@dataclass(frozen=True)
class Heat:
    """Rises, K: of the top oil over the air, and the two parts of the hot spot's over the oil."""

    oil_k: float
    fast_k: float
    slow_k: float

    @classmethod
    def settled(cls, load: float) -> Heat:
        """After many hours under this load (1.0: rated)."""
        winding = _winding_target(load)
        return cls(_oil_target(load), _K21 * winding, (_K21 - 1) * winding)

    def after(self, load: float, seconds: float) -> Heat:
        """After so many seconds under this load."""

        def near(now: float, target: float, tau_s: float) -> float:
            return target + (now - target) * math.exp(-seconds / tau_s)

        winding = _winding_target(load)
        return Heat(
            near(self.oil_k, _oil_target(load), _K11 * _TAU_OIL_S),
            near(self.fast_k, _K21 * winding, _K22 * _TAU_WINDING_S),
            near(self.slow_k, (_K21 - 1) * winding, _TAU_OIL_S / _K22),
        )

    def hot_spot_c(self, ambient_c: float) -> float:
        """The hottest spot's temperature in air of this temperature."""
        return ambient_c + self.oil_k + self.fast_k - self.slow_k
