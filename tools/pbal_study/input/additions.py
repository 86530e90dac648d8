"""Electric cars and solar roofs that are not there yet, added to measured profiles.

Both are drawn from a seed: the same options give the same street. The same homes get them for
every controller, so that the comparison stays fair.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..feeder.model import Real
from .profiles import Profiles


@dataclass(frozen=True)
class EvOptions:
    """Single-phase home charging."""

    share: float = 0.0
    """Share of homes with a car, 0..1."""
    charger_kw: float = 7.4
    arrival_h: float = 18.0
    arrival_spread_h: float = 1.8
    """Standard deviation of the arrival time, hours."""
    energy_kwh: float = 9.0
    """Mean energy of one charging session; log-normal with a spread of half of it."""
    sessions_per_day: float = 0.7
    """Chance that a car is plugged in on a given day."""


@dataclass(frozen=True)
class PvOptions:
    """Single-phase solar roofs."""

    share: float = 0.0
    peak_kw: float = 4.0
    """Mean peak power; each roof is within a quarter of it."""
    latitude_deg: float = 51.0
    tilt_deg: float = 30.0
    performance: float = 0.8
    """Plant output over module output: inverter, heat, dirt."""


def pick(n: int, share: float, rng: np.random.Generator, among: NDArray[np.bool_]) -> list[int]:
    """The homes that get something: `share` of all n, drawn from those allowed."""
    pool = np.flatnonzero(among)
    count = min(len(pool), round(share * n))
    return sorted(int(k) for k in rng.permutation(pool)[:count])


def add_cars(
    profiles: Profiles, homes: list[int], options: EvOptions, seed: int
) -> NDArray[np.float32]:
    """Charging power in watts, float32 [T, len(homes)]."""
    steps, step = len(profiles.watts), profiles.step_s
    out = np.zeros((steps, len(homes)), dtype=np.float32)
    first_s = int(profiles.seconds_of_day[0])
    days = int(np.ceil((first_s + steps * step) / 86400)) + 1
    for column, home in enumerate(homes):
        # One stream per home: a car does not change because another home gets one.
        rng = np.random.default_rng([seed, 1, home])
        sigma = np.sqrt(np.log(1.25))
        for day in range(-1, days):
            plugged, arrival, size = rng.random(), rng.normal(), rng.normal()
            if plugged >= options.sessions_per_day:
                continue
            start = (
                day * 86400
                - first_s
                + (options.arrival_h + options.arrival_spread_h * arrival) * 3600
            )
            energy = options.energy_kwh * np.exp(sigma * size - sigma**2 / 2)
            _block(
                out[:, column],
                start,
                start + energy / options.charger_kw * 3600,
                options.charger_kw * 1000,
                step,
            )
    return np.minimum(out, np.float32(options.charger_kw * 1000))


def _block(
    column: NDArray[np.float32], start_s: float, end_s: float, watts: float, step: int
) -> None:
    """Adds a rectangle of power; steps it covers only in part get their share."""
    a, b = max(0.0, start_s / step), min(float(len(column)), end_s / step)
    if b <= a:
        return
    first, last = int(a), int(np.ceil(b)) - 1
    column[first : last + 1] += np.float32(watts)
    column[first] -= np.float32(watts * (a - first))
    column[last] -= np.float32(watts * (last + 1 - b))


def clear_sky(
    seconds_of_day: NDArray[np.int64],
    day_of_year: NDArray[np.int64],
    latitude_deg: float,
    tilt_deg: float,
) -> Real:
    """Clear-sky irradiance on a roof facing the equator, W/m2.

    Sun position by Cooper's declination; direct beam by Meinel's air-mass formula
    (1353 * 0.7^(AM^0.678)), a tenth added for the diffuse sky. Clock time is taken as solar time.
    """
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day_of_year) / 365)
    hour = 2 * np.pi * (seconds_of_day / 86400 - 0.5)
    latitude, tilt = np.radians(latitude_deg), np.radians(tilt_deg)
    sin_height = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(
        declination
    ) * np.cos(hour)
    facing = latitude - np.copysign(tilt, latitude)
    incidence = np.sin(facing) * np.sin(declination) + np.cos(facing) * np.cos(
        declination
    ) * np.cos(hour)
    up = sin_height > 0.01
    mass = 1 / np.where(up, sin_height, 1.0)
    beam = 1353 * 0.7 ** (mass**0.678)
    return np.asarray(np.where(up, 1.1 * beam * np.maximum(incidence, 0), 0.0))


def add_roofs(
    profiles: Profiles, homes: list[int], options: PvOptions, seed: int
) -> NDArray[np.float32]:
    """Generated power in watts (positive), float32 [T, len(homes)].

    Every roof is under the same sky: a daily clearness and passing clouds shared by all.
    """
    sun = clear_sky(
        profiles.seconds_of_day, profiles.day_of_year, options.latitude_deg, options.tilt_deg
    )
    rng = np.random.default_rng([seed, 2])
    steps, step = len(profiles.watts), profiles.step_s
    day = (int(profiles.seconds_of_day[0]) + np.arange(steps) * step) // 86400
    clearness = rng.beta(2.0, 1.2, int(day[-1]) + 1)
    quarter = (np.arange(steps) * step) // 900
    cloud = rng.normal(0.0, 0.2, int(quarter[-1]) + 2)
    passing = np.interp(np.arange(steps) * step / 900, np.arange(len(cloud)), cloud)
    sky = np.clip(clearness[day] * (1 + passing * (1 - clearness[day]) * 2), 0.05, 1.0)
    shape = (sun / 1000 * sky * options.performance).astype(np.float32)
    sizes = np.array([np.random.default_rng([seed, 3, h]).uniform(0.75, 1.25) for h in homes])
    return np.asarray(shape[:, None] * (sizes * options.peak_kw * 1000).astype(np.float32))
