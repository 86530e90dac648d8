"""Streets to measure controllers on: power per home and, where known, the feeder."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench._homes import street
from pbal_sim.households import GeneratedLoads

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
IEEE = SHARED / "ieee_eu_lv"
PERSISTENT = SHARED / "persistent_60homes_15days_1min_w.csv.gz"
PERSISTENT_DAYS = 15
POWER_FACTOR = 0.95
VOLTS = 230.0


@dataclass
class Case:
    """currents complex[T, n] A (own-phase reference), phases as built, Re(Z) where known."""

    name: str
    currents: NDArray[np.complex128]
    start: NDArray[np.int8]
    resistance: NDArray[np.float64] | None = None


def to_amps(watts: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Current at the nominal voltage and a power factor of 0.95 lagging."""
    return watts / (VOLTS * POWER_FACTOR) * np.exp(-1j * np.arccos(POWER_FACTOR))


@lru_cache(maxsize=4)
def _read(path: Path) -> NDArray[np.float64]:
    with gzip.open(path, "rt") as lines:
        width = next(lines).count(",") + 1
        return np.loadtxt(lines, delimiter=",", usecols=range(1, width))


def synthetic(homes: int, days: int, seed: int) -> Case:
    """Homes by bench/_homes.py, whose durations and powers are each street's own."""
    return Case(f"made-up street {seed}", to_amps(street(homes, days, seed)), _turns(homes))


def households(homes: int, days: int, seed: int, start_day: int = 15) -> Case:
    """Homes by the twin's generator, from a day of the year on; no PV."""
    made = GeneratedLoads(homes, seed=seed, start_day=start_day)
    watts = np.concatenate([made.day(d) for d in range(days)])
    return Case(f"made-up households {seed}", to_amps(watts), _turns(homes))


@lru_cache(maxsize=1)
def ieee() -> Case | None:
    """IEEE European LV feeder: 55 homes, one day, phases and impedances from its files."""
    path = IEEE / "profiles_1min_w.csv.gz"
    if not path.exists():
        return None
    from bench._feeder import read_feeder

    feeder = read_feeder(IEEE / "Master.dss")
    watts = _read(path)[:, : len(feeder.phases)]
    return Case("IEEE EU LV, 55 homes", to_amps(watts), feeder.phases, feeder.resistance)


def held_out(days: int, first_day: int = 0) -> Case | None:
    """The odd-numbered half of the 60 homes: never used while the engine was developed.

    None without the data, or where it has fewer days from that one on."""
    return _half("30 held-out homes", 1, days, first_day)


def development(days: int, first_day: int = 0) -> Case | None:
    """The even-numbered half, which the engine was developed on. None as for `held_out`."""
    return _half("30 development homes", 0, days, first_day)


def _half(name: str, which: int, days: int, first_day: int) -> Case | None:
    if not PERSISTENT.exists():
        return None
    watts = _read(PERSISTENT)[first_day * 1440 : (first_day + days) * 1440, which::2]
    if first_day and len(watts) < days * 1440:
        return None
    if first_day:
        name += f", from day {first_day + 1} on"
    return Case(name, to_amps(watts), _turns(watts.shape[1]))


def all_sixty(days: int) -> Case | None:
    """All 60 homes; half of them were development homes."""
    if not PERSISTENT.exists():
        return None
    watts = _read(PERSISTENT)[: days * 1440]
    return Case("60 homes (half seen)", to_amps(watts), _turns(watts.shape[1]))


def by_lot(case: Case, rng: np.random.Generator) -> Case:
    """The same homes on phases drawn at random, without the feeder."""
    phases = np.asarray(rng.integers(0, 3, case.currents.shape[1]), np.int8)
    return replace(case, start=phases, resistance=None)


def _turns(n: int) -> NDArray[np.int8]:
    return (np.arange(n) % 3).astype(np.int8)
