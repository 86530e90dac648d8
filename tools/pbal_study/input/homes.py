"""Which home is which: joins the feeder's loads, the homes list and the profile columns."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..feeder.model import Feeder, LoadPoint
from . import sheet
from .profiles import Profiles

PHASES = {"a": 0, "b": 1, "c": 2, "1": 0, "2": 1, "3": 2, "l1": 0, "l2": 1, "l3": 2}
_YES = {
    "yes": True,
    "y": True,
    "1": True,
    "true": True,
    "no": False,
    "n": False,
    "0": False,
    "false": False,
}
_COLUMNS = ("home", "phase", "profile", "pf", "relay", "ev", "pv")


@dataclass(frozen=True)
class Listed:
    """One row of the homes list; None where the cell was empty or the column is absent."""

    name: str
    phase: int | None = None
    profile: str | None = None
    power_factor: float | None = None
    relay: bool | None = None
    ev: bool | None = None
    pv: bool | None = None


def read_homes(path: Path) -> list[Listed]:
    """Reads a homes list: CSV with the columns home, phase[, profile, pf, relay, ev, pv]."""
    if path.is_dir():
        raise InputError(f"{path} is a folder.", "Give the CSV file in it that lists the homes.")
    if not path.is_file():
        raise InputError(f"No such homes list: {path}", "Check the path given with --homes.")
    rows = [
        _listed(path, number, columns, cells)
        for number, columns, cells in sheet.rows(path, _COLUMNS, " (home is required)")
    ]
    if not rows:
        raise InputError(f"{path} lists no homes.", "Add one row per home.")
    names = [row.name.lower() for row in rows]
    twice = next((row.name for row in rows if names.count(row.name.lower()) > 1), None)
    if twice is not None:
        raise InputError(f"{path}: home {twice!r} is listed twice.", "Keep one row per home.")
    return rows


def _listed(path: Path, number: int, columns: list[str], cells: list[str]) -> Listed:
    where = f"{path} row {number}"
    if any(cell.strip() for cell in cells[len(columns) :]):
        raise InputError(
            f"{where}: {len(cells)} cells, but the first line names {len(columns)} columns.",
            "Write decimals with a point, and names that hold a comma in double quotes.",
        )
    cell = dict.fromkeys(columns, "") | {
        column: text.strip() for column, text in zip(columns, cells, strict=False)
    }
    if not cell["home"]:
        raise InputError(f"{where}: the home has no name.", "Fill in the column 'home'.")

    def known(column: str, table: dict[str, object]) -> object:
        text = cell.get(column, "").lower()
        if not text:
            return None
        if text not in table:
            raise InputError(f"{where}: {column} is {text!r}.", f"Use one of: {', '.join(table)}.")
        return table[text]

    factor = None
    if cell.get("pf"):
        try:
            factor = float(cell["pf"])
        except ValueError:
            factor = 0.0
        if not 0.1 <= factor <= 1:
            raise InputError(
                f"{where}: pf is {cell['pf']!r}.", "Use a power factor from 0.1 to 1, with a point."
            )
    phase = known("phase", dict(PHASES))
    yes = {c: known(c, dict(_YES)) for c in ("relay", "ev", "pv")}
    return Listed(
        name=cell["home"],
        phase=phase if isinstance(phase, int) else None,
        profile=cell.get("profile") or None,
        power_factor=factor,
        relay=None if yes["relay"] is None else bool(yes["relay"]),
        ev=None if yes["ev"] is None else bool(yes["ev"]),
        pv=None if yes["pv"] is None else bool(yes["pv"]),
    )


def points_of(listed: list[Listed], power_factor: float, volts: float) -> list[LoadPoint]:
    """Load points for a study without a feeder; every home needs its phase."""
    missing = [row.name for row in listed if row.phase is None]
    if missing:
        raise InputError(
            f"Home {missing[0]!r} has no phase.",
            "Without a feeder the homes list must say each home's phase (A, B or C).",
        )
    return [
        LoadPoint(
            name=row.name,
            bus="",
            phase=int(row.phase or 0),
            v_base=volts,
            power_factor=row.power_factor or power_factor,
        )
        for row in listed
    ]


def apply_list(
    feeder: Feeder, listed: list[Listed], power_factor: float | None
) -> tuple[Feeder, list[Listed]]:
    """Joins a homes list with a feeder's loads by name; returns a row per load in feeder order,
    the homes first, then the loads that stay where they are.

    A listed phase or power factor overrides the feeder file; so does `power_factor` for all.
    """
    by_name = {row.name.lower(): row for row in listed}
    there = {load.name.lower() for load in (*feeder.homes, *feeder.fixed)}
    part_of = {
        part.name.lower(): load.name
        for load in (*feeder.homes, *feeder.fixed)
        for part in load.parts_of_it
    }
    part = next((row.name for row in listed if row.name.lower() in part_of), None)
    if part is not None:
        raise InputError(
            f"{part!r} of the homes list is a part of the customer {part_of[part.lower()]!r}, whom "
            "the feeder writes as several loads.",
            f"Keep one row for the customer, named {part_of[part.lower()]!r}.",
        )
    unknown = next((row.name for row in listed if row.name.lower() not in there), None)
    if unknown is not None:
        raise InputError(
            f"Home {unknown!r} of the homes list is not a load of the feeder.",
            f"Use the load names of the .dss file, such as {feeder.homes[0].name!r}.",
        )
    rows = [by_name.get(p.name.lower(), Listed(p.name)) for p in (*feeder.homes, *feeder.fixed)]
    homes, fixed = [], []
    for home, row in zip(feeder.homes, rows, strict=False):
        factor = row.power_factor or power_factor or home.power_factor
        phase = home.phase if row.phase is None else row.phase
        homes.append(replace(home, phase=phase, power_factor=factor))
    _one_phase_a_cable(feeder, homes)
    for load, row in zip(feeder.fixed, rows[len(homes) :], strict=True):
        if row.phase is not None or row.relay or row.ev or row.pv:
            raise InputError(
                f"{row.name!r} of the homes list cannot be moved: it is three-phase, between two "
                "phases, fed by another transformer, or not on a line that can be moved.",
                "Leave its columns phase, relay, ev and pv empty.",
            )
        fixed.append(replace(load, power_factor=row.power_factor or load.power_factor))
    for load in (*homes, *fixed):
        # A profile gives watts; what vars go with them must follow from the power factor.
        if not 0.05 <= load.power_factor <= 1:
            raise InputError(
                f"Load {load.name!r} has a power factor of {load.power_factor:g}.",
                "Give its kW and PF (0.05 to 1) in the .dss file, or its pf in the homes list; "
                "what only draws vars is a Capacitor or a Reactor.",
            )
    return replace(feeder, homes=tuple(homes), fixed=tuple(fixed)), rows


def _one_phase_a_cable(feeder: Feeder, homes: list[LoadPoint]) -> None:
    """Homes of one single-phase cable are on one phase: InputError where a list says otherwise."""
    for home, joint in zip(homes, feeder.joint_of, strict=True):
        first = homes[int(feeder.first_at[joint])]
        if home.phase != first.phase:
            raise InputError(
                f"The homes list puts {first.name!r} and {home.name!r} on two phases, but they "
                "share a single-phase cable.",
                "Give all homes of that cable the same phase.",
            )


def assign_columns(
    feeder: Feeder, rows: list[Listed], profiles: Profiles, repeat: bool
) -> tuple[NDArray[np.float32], list[str]]:
    """Watts of every home, then of every fixed load: float32 [T, H + fixed], and notes.

    By the list's `profile` column; else by equal names; else, if neither names any home, in
    the order of both files.
    """
    loads, homes = [*feeder.homes, *feeder.fixed], feeder.n_homes
    profiles, notes = _joined(loads, profiles)
    place = {name.lower(): k for k, name in enumerate(profiles.names)}
    rows = [*rows, *(Listed(load.name) for load in loads[len(rows) :])]
    columns: list[int | None] = []
    for load, row in zip(loads, rows, strict=True):
        if row.profile and row.profile.lower() not in place:
            raise InputError(
                f"The profiles have no column {row.profile!r}, which the homes list names for "
                f"{row.name!r}.",
                f"Their columns are {_some(profiles.names)}.",
            )
        columns.append(place.get((row.profile or load.name).lower()))
    unmatched = [load.name for load, k in zip(loads[:homes], columns, strict=False) if k is None]
    if len(unmatched) == homes:
        columns = _in_order(loads, homes, columns, len(profiles.names), repeat, notes)
    elif unmatched:
        raise InputError(
            f"The profiles have no column for {len(unmatched)} of {homes} homes, first "
            f"{unmatched[0]!r}.",
            "Name the columns after the homes, or give every home its column in the homes list "
            f"(profile). The columns are {_some(profiles.names)}.",
        )
    elif len(set(columns)) < len(profiles.names):
        unused = [n for k, n in enumerate(profiles.names) if k not in set(columns)]
        notes.append(f"{len(unused)} profile columns are of no load and unused: {_some(unused)}.")
    own = [k for k in columns[:homes] if k is not None]
    watts = np.ascontiguousarray(profiles.watts[:, own])
    if len(set(own)) < len(own):
        watts = _shifted(watts, own, round(86400 / profiles.step_s))
    if not feeder.fixed:
        return watts, notes
    extra = []
    bare = [p for p, k in zip(feeder.fixed, columns[homes:], strict=True) if k is None]
    if bare:
        notes.append(
            f"{len(bare)} fixed loads have no profile and draw their kW all the time: "
            f"{_some([f'{p.name} {p.kw:g} kW' for p in bare])}."
        )
    for load, column in zip(feeder.fixed, columns[homes:], strict=True):
        if column is None:
            extra.append(np.full(len(watts), load.kw * 1000, dtype=np.float32))
        else:
            extra.append(profiles.watts[:, column])
    return np.hstack([watts, np.column_stack(extra)]), notes


def _joined(loads: list[LoadPoint], profiles: Profiles) -> tuple[Profiles, list[str]]:
    """The profiles with one column for a customer that the feeder writes as several loads.

    Columns of the parts are added up, by name; by order, where there is one for each load of the
    file and none is named after a load.
    """
    several = [load for load in loads if load.parts_of_it]
    if not several:
        return profiles, []
    notes = []
    names = [name.lower() for name in profiles.names]
    written = sorted((p for load in loads for p in load.written), key=lambda p: p.place)
    if len(names) == len(written) and not {p.name.lower() for p in written} & set(names):
        names = [p.name.lower() for p in written]
        notes.append("Profile columns go to all loads of the feeder in file order.")
    watts, gone = profiles.watts.copy(), set()
    for load in several:
        here = [names.index(p.name.lower()) for p in load.written if p.name.lower() in names]
        if here:
            watts[:, here[0]] = profiles.watts[:, here].sum(axis=1)
            names[here[0]] = load.name.lower()
            gone.update(here[1:])
    keep = [k for k in range(len(names)) if k not in gone]
    told = [own if own.lower() == name else name
            for own, name in zip(profiles.names, names, strict=True)]  # fmt: skip
    kept = tuple(told[k] for k in keep)
    return replace(profiles, names=kept, watts=np.ascontiguousarray(watts[:, keep])), notes


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")


def _in_order(
    loads: list[LoadPoint],
    homes: int,
    columns: list[int | None],
    count: int,
    repeat: bool,
    notes: list[str],
) -> list[int | None]:
    """Columns by order alone. As many columns as loads: load k of the file gets column k. Else
    the homes get the first ones; a fixed load only the one of its name."""
    if count == len(loads) and homes < len(loads):
        notes.append("Profile columns go to all loads in file order, fixed ones included.")
        order = sorted(range(len(loads)), key=lambda k: loads[k].place)
        return [order.index(k) for k in range(len(loads))]
    named = {k for k in columns if k is not None}
    free = [k for k in range(count) if k not in named]
    if len(free) >= homes:
        if len(free) > homes:
            notes.append(f"The first {homes} of {count} profile columns are used, in file order.")
        else:
            notes.append("Profile columns go to the homes in file order.")
    elif not repeat:
        raise InputError(
            f"{homes} homes, but the profiles have only {len(free)} columns.",
            "Give a column per home, or use --repeat-profiles (each reuse is shifted by a day).",
        )
    else:
        notes.append(f"{len(free)} profile columns serve {homes} homes, each reuse a day later.")
    if not free:
        raise InputError("The profiles have no column for the homes.", "Give a column per home.")
    return [free[k % len(free)] for k in range(homes)] + columns[homes:]


def _shifted(watts: NDArray[np.float32], columns: list[int], per_day: int) -> NDArray[np.float32]:
    """Shifts every reuse of a column by one more day, around the end."""
    seen: dict[int, int] = {}
    out = watts.copy()
    for k, column in enumerate(columns):
        times = seen.get(column, 0)
        out[:, k] = np.roll(watts[:, k], times * per_day)
        seen[column] = times + 1
    return out


def n_relays(feeder: Feeder, relays: NDArray[np.bool_]) -> int:
    """The number of relays that move these homes, bool [H]: one for all of a shared cable."""
    return int(relays[feeder.first_at].sum())


def relays_by_joint(
    feeder: Feeder,
    rows: list[Listed],
    mean_w: NDArray[np.floating],
    participation: float,
    how: str,
    seed: int,
) -> NDArray[np.bool_]:
    """`choose_relays` where homes may share a cable, and so a relay: bool [H].

    Raises InputError where the list gives a relay to some of them and not to others.
    """
    merged: list[Listed] = []
    for joint in range(feeder.n_joints):
        own = [rows[int(k)] for k in np.flatnonzero(feeder.joint_of == joint)]
        said = [row for row in own if row.relay is not None]
        if len({row.relay for row in said}) > 1:
            raise InputError(
                f"The homes list gives {_some([row.name for row in own])} relays of their own, but "
                "they share a single-phase cable and are moved together.",
                "Write the same in their column relay, or leave it empty.",
            )
        merged.append(said[0] if said else own[0])
    drawn = np.bincount(feeder.joint_of, mean_w).astype(float)
    return choose_relays(merged, drawn, participation, how, seed)[feeder.joint_of]


def choose_relays(
    rows: list[Listed], mean_w: NDArray[np.floating], participation: float, how: str, seed: int
) -> NDArray[np.bool_]:
    """Which homes have a relay: bool [H].

    The list's `relay` column decides where it is filled in; the rest is filled up to
    `participation` of all homes, at random or heaviest first.
    """
    n = len(rows)
    relay = np.array([row.relay is True for row in rows])
    open_places = np.array([row.relay is None for row in rows])
    wanted = max(0, round(participation * n) - int(relay.sum()))
    if how == "heaviest":
        order = np.argsort(-np.asarray(mean_w), kind="stable")
    elif how == "random":
        order = np.random.default_rng([seed, 4]).permutation(n)
    else:
        raise InputError(f"Unknown way to choose relays: {how!r}.", "Use random or heaviest.")
    chosen = [k for k in order if open_places[k]][:wanted]
    relay[chosen] = True
    return relay
