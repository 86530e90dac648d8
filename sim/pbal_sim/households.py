"""Built-in household loads: appliances that people switch, minute by minute, from a seed.

A home has a size (drawn so that yearly use spreads as published), people with habits, and
appliances. Each day is drawn from the seed, the home and the date alone, so that any day can be
asked for first and two streets with the same seed are the same.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
MINUTES = 1440
_JANUARY = 15


@dataclass(frozen=True)
class Household:
    """The lasting traits of one home."""

    size: float  # 1 = median
    base_w: float
    fridge_w: float
    shower_w: float  # 0: no electric shower
    hob: bool  # cooks with electricity
    dryer: bool
    dishwasher: bool
    charger_w: float  # 0: no electric car
    pv_wp: float  # 0: no PV
    wake_min: float
    away: bool  # nobody home on working hours


def make_household(rng: random.Random, ev_share: float, pv_share: float) -> Household:
    """Draws the traits of one home."""
    size = rng.lognormvariate(0.22, 0.68)
    return Household(
        size=size,
        base_w=rng.uniform(40, 85) * size**0.85,
        fridge_w=rng.uniform(70, 130),
        shower_w=rng.choice((8500.0, 9500.0)) if rng.random() < 0.35 else 0.0,
        hob=rng.random() < 0.6,
        dryer=rng.random() < 0.25 + 0.2 * min(size, 2.0),
        dishwasher=rng.random() < 0.2 + 0.2 * min(size, 2.0),
        charger_w=rng.choice((3600.0, 7200.0)) if rng.random() < ev_share else 0.0,
        pv_wp=rng.uniform(2500.0, 4500.0) if rng.random() < pv_share else 0.0,
        wake_min=rng.gauss(405, 45),
        away=rng.random() < 0.55,
    )


def day_of(home: Household, day_of_year: int, weekend: bool, rng: np.random.Generator) -> Float:
    """Watts of one home for each minute of one day."""
    w = np.full(MINUTES, home.base_w)
    presence = _presence(home, weekend, rng)
    w += _fridge(home, rng)
    w += _lights_and_screens(home, presence, day_of_year, rng)
    cold = 0.5 + 0.5 * np.cos(2 * np.pi * (day_of_year - _JANUARY) / 365.0)
    use = home.size**0.8

    def times(mean: float, weight: Float) -> npt.NDArray[np.int64]:
        total = weight.sum()
        count = rng.poisson(mean)
        if count == 0 or total <= 0:
            return np.zeros(0, dtype=np.int64)
        return rng.choice(MINUTES, size=count, p=weight / total)

    def run(start: int, watts: Float) -> None:
        stop = min(MINUTES, start + len(watts))
        w[start:stop] += watts[: stop - start]

    for t in times(3.6 * use**0.7, presence):
        run(int(t), np.full(int(rng.integers(2, 4)), 2700.0))  # kettle
    for t in times(1.6 * use**0.6, presence * _around((460, 745, 1110), 60)):
        run(int(t), np.full(int(rng.integers(2, 7)), 1250.0))  # microwave, toaster
    if home.hob:
        for t in times(0.75 * use**0.5, presence * _around((1080,), 55)):
            run(int(t), _thermostat(1900.0, int(rng.integers(25, 60)), 0.55, rng))
    if home.shower_w:
        for t in times(0.75 * use**0.6, presence * _around((home.wake_min + 20, 1200), 45)):
            run(int(t), np.full(int(rng.integers(5, 9)), home.shower_w))
    daytime = np.maximum(presence, 0.15) * _around((600, 1080), 200)
    for t in times(0.42 * use, daytime):
        heat = rng.integers(14, 24)
        run(int(t), np.concatenate([np.full(heat, 2000.0), np.full(60, 180.0)]))  # washing
        if home.dryer and rng.random() < 0.35 + 0.3 * cold:
            run(min(int(t) + 90, MINUTES - 1), _thermostat(2200.0, 65, 0.75, rng))
    if home.dishwasher:
        for t in times(0.55 * use**0.5, presence * _around((1200,), 80)):
            run(
                int(t),
                np.concatenate([np.full(18, 1900.0), np.full(40, 60.0), np.full(12, 1900.0)]),
            )
    for t in times(0.25 * use + 0.5 * cold * use, presence):
        run(int(t), _thermostat(1000.0, int(rng.integers(20, 80)), 0.6, rng))  # heater, iron, oven
    if home.charger_w and rng.random() < 0.55:
        start = int(np.clip(rng.normal(1110, 70), 0, MINUTES - 1))
        energy_wh = rng.uniform(4000, 16000)
        run(start, np.full(int(60 * energy_wh / home.charger_w), home.charger_w))
    if home.pv_wp:
        w -= _sun(home.pv_wp, day_of_year, rng)
    return w


def _around(centres: tuple[float, ...], width: float) -> Float:
    t = np.arange(MINUTES)
    total: Float = sum(
        (np.exp(-0.5 * ((t - c) / width) ** 2) for c in centres), start=np.zeros(MINUTES)
    )
    return total


def _presence(home: Household, weekend: bool, rng: np.random.Generator) -> Float:
    """How likely people are home and awake at each minute, 0..1."""
    p = np.zeros(MINUTES)
    wake = int(home.wake_min + rng.normal(0, 15)) + (60 if weekend else 0)
    sleep = int(np.clip(rng.normal(1365, 40), 1260, MINUTES))
    wake = int(np.clip(wake, 300, 660))
    p[wake:sleep] = 1.0
    if home.away and not weekend:
        leave = wake + int(rng.integers(60, 110))
        back = int(np.clip(rng.normal(1045, 45), 900, 1200))
        p[leave:back] = 0.05
    else:
        p[wake + 90 : 1000] = 0.55
    return p


def _fridge(home: Household, rng: np.random.Generator) -> Float:
    period, on = int(rng.integers(38, 56)), int(rng.integers(13, 20))
    phase = int(rng.integers(0, period))
    running = ((np.arange(MINUTES) + phase) % period) < on
    return np.where(running, home.fridge_w, 0.0)


def _lights_and_screens(
    home: Household, presence: Float, day_of_year: int, rng: np.random.Generator
) -> Float:
    t = np.arange(MINUTES)
    half_day = 60 * (6.0 - 2.2 * np.cos(2 * np.pi * (day_of_year - 355) / 365.0) * 1.0)
    dark = (np.abs(t - 735) > half_day).astype(np.float64)
    steps = np.repeat(rng.uniform(0.5, 1.5, MINUTES // 30), 30)
    evening = 1.0 + 0.45 * _around((1200,), 120)
    use = home.size**0.9
    watts: Float = presence * steps * evening * use * (62.0 * dark + 88.0)
    return watts


def _thermostat(watts: float, minutes: int, duty: float, rng: np.random.Generator) -> Float:
    """A heater that reaches its temperature and then cycles."""
    out = np.zeros(minutes)
    warm = min(minutes, max(3, minutes // 4))
    out[:warm] = watts
    t = warm
    while t < minutes:
        on = int(rng.integers(1, 5))
        off = max(1, round(on * (1 - duty) / duty))
        out[t : t + on] = watts
        t += on + off
    return out


def _sun(peak_w: float, day_of_year: int, rng: np.random.Generator) -> Float:
    """PV at about 50 degrees of latitude: day length, height and passing clouds."""
    season = np.cos(2 * np.pi * (day_of_year - 172) / 365.0)
    half_day = 60 * (6.1 + 2.1 * season)
    t = np.arange(MINUTES) - 735.0
    height = np.clip(np.cos(np.pi * t / (2 * half_day)), 0.0, None) * (np.abs(t) < half_day)
    sky = rng.beta(1.4, 1.1)
    clouds = np.repeat(rng.uniform(0.4, 1.0, MINUTES // 5 + 1), 5)[:MINUTES]
    factor = sky + (1 - sky) * clouds * 0.4
    return np.asarray(0.82 * peak_w * (0.55 + 0.3 * season) * height * factor, dtype=np.float64)


class GeneratedLoads:
    """A street of generated homes; `at(t)` counts from midnight of `start_day` (1..365)."""

    step_s = 60.0

    def __init__(
        self,
        homes: int,
        *,
        seed: int = 1,
        ev_share: float = 0.08,
        pv_share: float = 0.0,
        start_day: int = _JANUARY,
    ) -> None:
        self.homes = homes
        self.names = [f"home_{i + 1:02d}" for i in range(homes)]
        self.start_day = start_day
        self._seed = seed
        self.households = [
            make_household(random.Random(f"household {seed} {i}"), ev_share, pv_share)
            for i in range(homes)
        ]
        self._day = lru_cache(maxsize=4)(self._make_day)

    def _make_day(self, day: int) -> Float:
        out = np.empty((MINUTES, self.homes))
        for i, home in enumerate(self.households):
            rng = np.random.default_rng((self._seed, i, day))
            of_year = (self.start_day - 1 + day) % 365 + 1
            out[:, i] = day_of(home, of_year, day % 7 in (5, 6), rng)
        return out

    def at(self, t_s: float) -> Float:
        """Watts of every home at `t_s` seconds."""
        minute = int(t_s // 60)
        row: Float = self._day(minute // MINUTES)[minute % MINUTES]
        return row

    def day(self, day: int) -> Float:
        """Watts[1440, homes] of one whole day."""
        return self._day(day)
