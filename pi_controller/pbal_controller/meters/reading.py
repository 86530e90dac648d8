"""A reading of a three-phase meter, and whether it can be that of a low-voltage network."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from pbal_controller.errors import BearerError

Three = tuple[float, float, float]
DEAD_V = 50.0
#: Phase to neutral of 100 V to 277 V networks, with their tolerances.
_LIVE_V = (80.0, 310.0)
#: More than any low-voltage transformer's phase carries.
_MOST_A = 10_000.0
_FREQ_HZ = (45.0, 66.0)
#: P may exceed V times I by so much: the meter samples them one after another.
_OVER_SHARE, _OVER_W = 0.15, 100.0


@dataclass(frozen=True)
class TransformerReading:
    """Per phase A, B, C; neutral and frequency NaN where the source does not give them."""

    v: Three
    i: Three
    p_w: Three
    q_var: Three
    neutral_a: float = math.nan
    freq_hz: float = math.nan

    def phasors_a(self) -> tuple[complex, complex, complex]:
        """Current of each phase, A, referred to its own voltage; NaN where that is dead."""
        nan = complex(math.nan, math.nan)
        a, b, c = (
            complex(p_w, -q_var) / v if v > DEAD_V else nan
            for v, p_w, q_var in zip(self.v, self.p_w, self.q_var, strict=True)
        )
        return a, b, c

    def as_dict(self) -> dict[str, Any]:
        """For JSON: what is no number becomes null."""

        def clean(value: float) -> float | None:
            return round(value, 3) if math.isfinite(value) else None

        return {
            "v": [clean(x) for x in self.v],
            "i_a": [clean(x) for x in self.i],
            "p_w": [clean(x) for x in self.p_w],
            "q_var": [clean(x) for x in self.q_var],
            "neutral_a": clean(self.neutral_a),
            "freq_hz": clean(self.freq_hz),
        }


class TransformerMeter(Protocol):
    """A source of readings."""

    async def read(self) -> TransformerReading:
        """One reading. Raises BearerError when there is none."""

    def close(self) -> None:
        """Close the port."""


def finite(reading: TransformerReading) -> TransformerReading:
    """The reading, where every value that is decided on is a number. Raises BearerError."""
    for name in ("v", "i", "p_w", "q_var"):
        if not all(map(math.isfinite, getattr(reading, name))):
            raise BearerError(f"transformer meter: {name} is {getattr(reading, name)}, no numbers")
    return reading


def contradictions(reading: TransformerReading) -> list[str]:
    """Why these numbers are no low-voltage network; empty when they may be one.

    A phase without voltage is allowed while another has voltage.
    """
    return list(_contradictions(reading))


def _contradictions(r: TransformerReading) -> Iterator[str]:
    if not any(value > DEAD_V for value in r.v):
        yield f"no phase has voltage ({_listed(r.v, 'V')})"
    low, high = _LIVE_V
    for name, v, i, p_w in zip("ABC", r.v, r.i, r.p_w, strict=True):
        if v < 0 or DEAD_V < v < low or v > high:
            yield f"{v:.4g} V at {name}"
        elif abs(i) > _MOST_A:
            yield f"{i:.4g} A at {name}"
        elif abs(p_w) > abs(v * i) * (1 + _OVER_SHARE) + _OVER_W:
            yield f"{p_w:.4g} W at {name}, where {v:.4g} V and {i:.4g} A allow {abs(v * i):.4g}"
    if math.isfinite(r.freq_hz) and not _FREQ_HZ[0] <= r.freq_hz <= _FREQ_HZ[1]:
        yield f"{r.freq_hz:.4g} Hz"


def _listed(values: Three, unit: str) -> str:
    return ", ".join(f"{value:.4g}" for value in values) + f" {unit}"
