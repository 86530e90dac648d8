"""Load profiles for the homes of a station, drawn by class from a pool.

Each home gets a column of its class, no column twice before all have been drawn; a second use is
shifted by a day, a third by two. What a station draws depends on the seed and its name alone, so
that it is the same whichever process studies it, in whatever order, and after an interruption.
"""

import csv
import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..input.profiles import Profiles
from .stations import Customer

CLASSES = ("profile", "class")


@dataclass(frozen=True)
class Pool:
    """Profiles to draw from, and the class of each column ("" where none is said)."""

    profiles: Profiles
    kinds: tuple[str, ...]

    def columns(self, kind: str) -> NDArray[np.int64]:
        """Columns of a class; "" is any. Raises InputError where it has none."""
        among = [k for k, own in enumerate(self.kinds) if not kind or own == kind]
        if not among:
            there = sorted({own for own in self.kinds if own})
            raise InputError(
                f"No profile is of class {kind!r}.",
                f"The classes are {', '.join(there)}." if there else "Say them with --classes.",
            )
        return np.array(among, np.int64)


def read_classes(path: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """The class of every profile column, from a CSV with the columns profile and class."""
    if not path.is_file():
        raise InputError(f"No such file: {path}", "Give --classes a CSV file: profile,class.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
    except (UnicodeDecodeError, csv.Error) as exc:
        raise InputError(f"{path} cannot be read: {exc}", "Save it as 'CSV UTF-8'.") from exc
    if not rows or tuple(cell.lower() for cell in rows[0]) != CLASSES:
        raise InputError(f"{path}: the first line is not 'profile,class'.", "Write it so.")
    bad = next((k for k, row in enumerate(rows) if len(row) != 2 or " " in row[1]), None)
    if bad is not None:
        raise InputError(
            f"{path} row {bad + 1}: not a profile and its class.", "A class is one word."
        )
    said = {name.lower(): kind for name, kind in rows[1:]}
    known = {name.lower() for name in names}
    odd = next((name for name in said if name not in known), None)
    if odd is not None:
        raise InputError(f"{path}: the profiles have no column {odd!r}.", "Correct that row.")
    return tuple(said.get(name.lower(), "") for name in names)


def generator(seed: int, station: str, use: str) -> np.random.Generator:
    """The random generator of one station, for one use."""
    digest = hashlib.sha256(f"{seed}/{station}/{use}".encode()).digest()
    return np.random.default_rng(list(digest[:16]))


def with_phases(customers: tuple[Customer, ...], rng: np.random.Generator) -> list[Customer]:
    """The same, with a phase drawn where none is known."""
    return [c if c.phase is not None else replace(c, phase=int(rng.integers(3))) for c in customers]


def kinds_of(
    customers: list[Customer], mix: tuple[tuple[str, float], ...], rng: np.random.Generator
) -> list[str]:
    """The class of each home: its own, else one of the station's mix by weight, else any."""
    if not mix:
        return [c.kind for c in customers]
    weight = np.array([w for _, w in mix])
    drawn = rng.choice(len(mix), len(customers), p=weight / weight.sum())
    return [c.kind or mix[int(k)][0] for c, k in zip(customers, drawn, strict=True)]


def draw(pool: Pool, names: list[str], kinds: list[str], rng: np.random.Generator) -> Profiles:
    """Profiles with one column per home, called as the home is."""
    source = pool.profiles
    per_day = round(86400 / source.step_s)
    order = {kind: rng.permutation(pool.columns(kind)) for kind in sorted(set(kinds))}
    used = dict.fromkeys(order, 0)
    watts = np.empty((len(source.watts), len(names)), np.float32)
    for k, kind in enumerate(kinds):
        again, place = divmod(used[kind], len(order[kind]))
        used[kind] += 1
        watts[:, k] = np.roll(source.watts[:, order[kind][place]], again * per_day)
    return replace(source, names=tuple(names), watts=watts)
