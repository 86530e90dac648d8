"""Stations, classes and profiles for a fleet study of a few hours."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from pbal_study import Loop, Options
from pbal_study.fleet import FleetOptions
from pbal_study.fleet.drawing import Pool
from pbal_study.input.profiles import Profiles

HOURS = 3
SHARED = Options(
    controllers=("as_built", "pbal"), main_ohm=0.05, brief=True, loop=Loop(use_feeder=None)
)
TABLE = """station,homes,homes_a,homes_b,homes_c,class,kva,longitude,latitude
Mill,,8,3,1,house,100,4.1,51.2
Church,9,,,,house:3 flat,100,4.2,51.25
Bad,,4,x,2,,100,4.16,51.31
"""


def pool(columns: int = 8, kinds: str = "") -> Pool:
    """Made-up watts; kinds: a letter for each column."""
    rng = np.random.default_rng(3)
    steps = np.cumsum(rng.normal(0, 30, (60 * HOURS, columns)), axis=0)
    watts = np.abs(300 + steps).astype(np.float32)
    names = tuple(f"p{k}" for k in range(columns))
    start = np.datetime64("2026-01-12T17:00", "s")
    return Pool(Profiles(start, 60, names, watts), tuple(kinds or [""] * columns))


def write_pool(folder: Path) -> Path:
    source = pool().profiles
    path = folder / "pool.csv"
    times = source.start + np.arange(len(source.watts)) * np.timedelta64(60, "s")
    rows = [
        ["time", *source.names],
        *([str(t), *w] for t, w in zip(times, source.watts, strict=True)),
    ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return path


def write_table(folder: Path, text: str = TABLE) -> Path:
    path = folder / "stations.csv"
    path.write_text(text)
    return path


def write_classes(folder: Path) -> Path:
    path = folder / "classes.csv"
    path.write_text(
        "profile,class\n" + "".join(f"p{k},{'house' if k < 5 else 'flat'}\n" for k in range(8))
    )
    return path


def fleet_options(folder: Path, table: str = TABLE, **more: object) -> FleetOptions:
    shared = replace(SHARED, profiles=write_pool(folder))
    options = FleetOptions(
        table=write_table(folder, table), classes=write_classes(folder), shared=shared, workers=1
    )
    return replace(options, **more)  # type: ignore[arg-type]


def quiet(done: int, total: int, name: str) -> None:
    """Tells nobody."""
