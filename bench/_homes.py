"""Made-up streets: homes whose appliances start, last and end, each street with its own statistics.
For development and for benches that must run without measured profiles.

Not fitted to any data set. Durations, powers and use per day are drawn anew per street, so
that a controller tuned on one street meets other statistics on the next.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# name: (power W low, high; minutes low, high; uses per day low, high; share of homes; shape)
# shape: "flat", "cycle" (thermostat), or "pulse" (short heats within a long run).
_APPLIANCES = {
    "kettle": (1800, 3000, 2, 5, 3, 7, 0.95, "flat"),
    "microwave": (800, 1500, 2, 12, 1, 3, 0.8, "flat"),
    "hob": (1000, 2600, 8, 35, 0.6, 1.6, 0.6, "cycle"),
    "oven": (1800, 2800, 20, 70, 0.3, 0.9, 0.7, "cycle"),
    "shower": (7000, 10500, 3, 10, 0.8, 2.5, 0.4, "flat"),
    "washer": (1800, 2400, 60, 140, 0.3, 0.8, 0.85, "pulse"),
    "dryer": (2000, 3000, 40, 110, 0.2, 0.6, 0.4, "cycle"),
    "dishwasher": (1800, 2400, 60, 120, 0.3, 0.9, 0.5, "pulse"),
    "heater": (1000, 2500, 30, 240, 0.3, 1.5, 0.3, "cycle"),
    "immersion": (2700, 3100, 30, 120, 0.5, 1.2, 0.2, "flat"),
    "television": (60, 250, 60, 240, 1, 3, 1.0, "flat"),
    "car": (3300, 7400, 60, 360, 0.4, 1.0, 0.15, "flat"),
    "heat pump": (900, 2500, 10, 60, 6, 14, 0.12, "flat"),
}


def street(
    n_homes: int, days: int, seed: int, *, cars: float = 1.0, noise: float = 0.02
) -> NDArray[np.float64]:
    """Active power, W, float64[days * 1440, n_homes], one-minute means.

    cars scales the share of homes with a charger; noise is the ripple of the base load.
    """
    rng = np.random.default_rng(seed)
    steps = days * 1440
    habits = {
        name: (rng.lognormal(0, 0.25), rng.lognormal(0, 0.3), rng.lognormal(0, 0.3))
        for name in _APPLIANCES
    }
    morning, evening = rng.normal(7.5, 0.7), rng.normal(18.5, 0.8)
    watts = np.zeros((steps, n_homes))
    for h in range(n_homes):
        base = rng.uniform(40, 150)
        ripple = np.repeat(rng.normal(0, noise, steps // 15 + 1), 15)[:steps]
        watts[:, h] = base * (1 + ripple) + rng.uniform(20, 90) * _fridge(rng, steps)
        busy = rng.lognormal(0, 0.45)
        shift = rng.normal(0, 0.8)
        for name, (p0, p1, d0, d1, u0, u1, share, shape) in _APPLIANCES.items():
            longer, oftener, owned = habits[name]
            if rng.random() > min(share * owned * (cars if name == "car" else 1.0), 1.0):
                continue
            power = rng.uniform(p0, p1)
            typical = np.exp(rng.uniform(np.log(d0), np.log(d1))) * longer
            for _ in range(rng.poisson(rng.uniform(u0, u1) * oftener * busy * days)):
                hour = rng.choice([morning, 13.0, evening, 22.0], p=[0.27, 0.18, 0.43, 0.12])
                start = rng.integers(0, days) * 1440 + int(60 * rng.normal(hour + shift, 1.8))
                length = max(1, int(typical * rng.lognormal(0, 0.25)))
                run = power * _shape(rng, shape, length)
                a, b = max(start, 0), min(start + length, steps)
                if a < b:
                    watts[a:b, h] += run[a - start : b - start]
    return watts


def _fridge(rng: np.random.Generator, steps: int) -> NDArray[np.float64]:
    period, on = rng.integers(35, 80), rng.uniform(0.25, 0.5)
    return ((np.arange(steps) + rng.integers(0, period)) % period < on * period).astype(float)


def _shape(rng: np.random.Generator, shape: str, length: int) -> NDArray[np.float64]:
    minute = np.arange(length)
    if shape == "cycle":
        warm, period, duty = rng.integers(4, 12), rng.integers(4, 14), rng.uniform(0.35, 0.8)
        return ((minute < warm) | (minute % period < duty * period)).astype(float)
    if shape == "pulse":
        heat = rng.integers(8, 22)
        again = int(length * rng.uniform(0.55, 0.75))
        on = (minute >= 4) & (minute < 4 + heat)
        on |= (minute >= again) & (minute < again + heat // 2)
        return np.where(on, 1.0, 0.12)
    return np.ones(length)
