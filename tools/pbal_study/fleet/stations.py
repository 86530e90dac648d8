"""Which transformers there are: a table, a folder of feeders, or a list of customers.

A *station* is one transformer with its low-voltage feeders, under the name that it has in the
utility's register. What is wrong with one row of a table or of the customers is kept with its
station (`fault`); what is wrong with a whole file ends the fleet.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import InputError
from ..feeder.dssfiles import defines_circuit
from ..input import sheet
from ..input.homes import PHASES

TABLE = (
    "station", "feeder", "transformer", "homes_list", "homes", "homes_a", "homes_b", "homes_c",
    "class", "profiles", "kva", "main_ohm", "phase_limit", "participation", "longitude", "latitude",
)  # fmt: skip
CUSTOMERS = ("station", "home", "phase", "class")
_MOST_HOMES = 5000


@dataclass(frozen=True)
class Customer:
    """A home of a station: phase 0..2, None where not known; class of its load, "" for any."""

    home: str
    phase: int | None = None
    kind: str = ""


@dataclass(frozen=True)
class Station:
    """A row of the table. None, "" or () where the table is empty.

    counted: how many homes the table says, also where they are listed elsewhere.
    kva, main_ohm, phase_limit_a and participation stand for the options of the same name.
    mix: classes of the station's homes and their weights, for those without a class of their own.
    """

    name: str
    feeder: Path | None = None
    transformer: str = ""
    homes_list: Path | None = None
    customers: tuple[Customer, ...] = ()
    counted: int | None = None
    mix: tuple[tuple[str, float], ...] = ()
    profiles: Path | None = None
    kva: float | None = None
    main_ohm: float | None = None
    phase_limit_a: float | None = None
    participation: float | None = None
    longitude: float | None = None
    latitude: float | None = None
    fault: str = field(default="")
    """Why it cannot be studied, in words."""


def read_stations(table: Path | None, folder: Path | None, customers: Path | None) -> list[Station]:
    """All stations of a table, else of a folder of feeders, else of a list of customers; the
    customers of the list join those of the same name. Raises InputError."""
    theirs, faults = ({}, {}) if customers is None else _read_customers(customers)
    if table is not None:
        found = list(_read_table(table))
    elif folder is not None:
        found = _feeders_below(folder)
    elif customers is not None:
        found = [Station(name) for name in theirs]
    else:
        raise InputError(
            "Neither a table of stations nor a folder of feeders is given.",
            "Give a table, --feeders FOLDER, or --customers FILE.",
        )
    names = {station.name for station in found}
    lost = [name for name in theirs if name not in names]
    if lost:
        raise InputError(
            f"{customers}: there is no station {lost[0]!r}"
            + (f", nor {len(lost) - 1} others of the list." if len(lost) > 1 else "."),
            "Name stations as the table or the folder does.",
        )
    return [
        replace(
            s,
            customers=theirs.get(s.name, s.customers),
            fault=s.fault or faults.get(s.name, ""),
        )
        for s in found
    ]


def _rows(path: Path, known: tuple[str, ...], option: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Number and cells of every row of a CSV file, by column."""
    if path.is_dir() or not path.is_file():
        raise InputError(f"No such file: {path}", f"Give {option} a CSV file.")
    for number, columns, cells in sheet.rows(path, known):
        cell = dict.fromkeys(known, "")
        cell |= {c: t.strip() for c, t in zip(columns, cells, strict=False)}
        if any(text.strip() for text in cells[len(columns) :]):
            cell[""] = f"{len(cells)} cells, but {len(columns)} columns are named"
        yield number, cell


def _read_table(path: Path) -> Iterator[Station]:
    seen: set[str] = set()
    for number, cell in _rows(path, TABLE, "the fleet"):
        name = cell["station"] or f"row {number}"
        if name in seen:
            raise InputError(
                f"{path} row {number}: station {name!r} is there twice.",
                "Keep one row per station.",
            )
        seen.add(name)
        try:
            if not cell["station"]:
                raise ValueError("the station has no name")
            if "" in cell:
                raise ValueError(cell[""])
            yield _station(path, name, cell)
        except ValueError as exc:
            yield Station(name, fault=f"{path.name} row {number}: {exc}")
    if not seen:
        raise InputError(f"{path} lists no stations.", "Add one row per station.")


def _station(path: Path, name: str, cell: dict[str, str]) -> Station:
    """One row. Raises ValueError in words."""

    def number(column: str, low: float, high: float) -> float | None:
        text = cell[column]
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise ValueError(f"{column} is {text!r}, not a number from {low:g} to {high:g}")
        return value

    def beside(column: str) -> Path | None:
        # Paths are those of the table, wherever the command is started.
        return (path.parent / cell[column]).resolve() if cell[column] else None

    mix = _mix(cell["class"])
    numbers = [number(f"homes{phase}", 0, _MOST_HOMES) for phase in ("", "_a", "_b", "_c")]
    counted = _counted(numbers)
    return Station(
        name=name,
        feeder=beside("feeder"),
        transformer=cell["transformer"],
        homes_list=beside("homes_list"),
        customers=counted,
        counted=None if numbers == [None] * 4 else len(counted),
        mix=mix,
        profiles=beside("profiles"),
        kva=number("kva", 0, 1e6),
        main_ohm=number("main_ohm", 0, 10),
        phase_limit_a=number("phase_limit", 1, 1e6),
        participation=number("participation", 0, 1),
        longitude=number("longitude", -180, 180),
        latitude=number("latitude", -90, 90),
    )


def _counted(numbers: list[float | None]) -> tuple[Customer, ...]:
    """Homes of which only the number is known: in all, or on each phase."""
    for value in numbers:
        if value is not None and value != int(value):
            raise ValueError(f"{value:g} homes is not a whole number")
    count, *each = [None if value is None else int(value) for value in numbers]
    said = [n or 0 for n in each]
    if any(n is not None for n in each) and count is not None and count != sum(said):
        raise ValueError(f"homes is {count}, but {sum(said)} are on the three phases")
    phases: list[int | None] = [p for p, n in enumerate(said) for _ in range(n)]
    if not phases and count is not None:
        phases = [None] * count
    return tuple(Customer(f"home {k + 1}", phase) for k, phase in enumerate(phases))


def _mix(text: str) -> tuple[tuple[str, float], ...]:
    """`house`, or weights: `house:3 flat:1`."""
    parts = []
    for word in text.split():
        kind, _, weight = word.partition(":")
        try:
            value = float(weight) if weight else 1.0
        except ValueError:
            value = math.nan
        if not kind or not 0 < value < 1e9:
            raise ValueError(f"class is {text!r}; write house, or house:3 flat:1")
        parts.append((kind, value))
    return tuple(parts)


def _read_customers(path: Path) -> tuple[dict[str, tuple[Customer, ...]], dict[str, str]]:
    """Customers by station, in the order of the file; and what is wrong with a station's, the first
    of it. Raises InputError where a row is of no station."""
    found: dict[str, list[Customer]] = {}
    names: dict[str, set[str]] = {}
    faults: dict[str, str] = {}
    for number, cell in _rows(path, CUSTOMERS, "--customers"):
        station = cell["station"]
        if not station:
            raise InputError(
                f"{path} row {number}: no station is named.", "Fill in the column 'station'."
            )
        own = found.setdefault(station, [])
        name, phase = cell["home"] or f"home {len(own) + 1}", cell["phase"].lower()
        fault = ""
        if "" in cell:
            fault = cell[""]
        elif phase and phase not in PHASES:
            fault = (
                f"phase is {cell['phase']!r}; write A, B or C, and leave it empty where it is not "
                "known"
            )
        elif name.lower() in names.setdefault(station, set()):
            fault = f"station {station!r} has two homes called {name!r}"
        if fault:
            faults.setdefault(station, f"{path.name} row {number}: {fault}")
        names.setdefault(station, set()).add(name.lower())
        own.append(Customer(name, PHASES.get(phase), cell["class"]))
    if not found:
        raise InputError(f"{path} lists no customers.", "Add one row per customer.")
    return {station: tuple(own) for station, own in found.items()}, faults


def _feeders_below(folder: Path) -> list[Station]:
    """Every file below a folder that defines a circuit, named by its path there."""
    if not folder.is_dir():
        raise InputError(f"No such folder: {folder}", "Give --feeders a folder of OpenDSS feeders.")
    files = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() == ".dss" and p.is_file()]
    masters = [p for p in files if defines_circuit(p)]
    if not masters:
        raise InputError(
            f"No file below {folder} defines a circuit ({len(files)} .dss files were looked at).",
            "A feeder is a .dss file that holds the line 'New Circuit.NAME'.",
        )
    alone = [p.parent for p in masters]
    found = []
    for path in masters:
        # The only one of its folder is known by the folder.
        only = alone.count(path.parent) == 1 and path.parent != folder
        name = path.parent if only else path.with_suffix("")
        found.append(Station(str(name.relative_to(folder)), feeder=path.resolve()))
    return found
