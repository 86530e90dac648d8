"""What values cannot be, or are unlikely to be, the power of homes: asked about, not studied.

What would give a report of nonsense is refused with the option that says what the values are; what
may be true all the same is a note that stands first in the report.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..feeder.model import LARGEST_HOME_KW

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_KILOWATTS = 50.0
"""A home whose highest value is below this is in kilowatts, or draws nothing."""
_HARDLY_W, _LITTLE_W, _SOME_HOMES = 1000.0, 2000.0, 5
"""In a day of five homes one draws more than the second for half an hour: of 60 homes on 15 days,
five drawn at random have a highest half-hour of 4.5 kW in the median, and above 2.4 kW always."""
_LARGEST_LOAD_KW = 5000.0
"""No low-voltage transformer carries as much."""
_MARKS = (-999.0, -9999.0, -99999.0, -999999.0, 9999.0, 65535.0, 99999.0, 999999.0)
"""What loggers write where they have no value."""
_FEW_ROWS = 24
_SILENT_S = 1800
_MOST_ROWS = 3000
"""So many rows tell whether a column is the sum of the others."""

Watts = NDArray[np.float32]


def doubt_values(
    path: Path, names: tuple[str, ...], full: Watts, step: int, notes: list[str], unit: str
) -> None:
    """Adds notes to `notes` on watts [T, N]; `unit`: what the user or the columns named, else "".

    Raises InputError, with what to say, for values that are no home's power.
    """
    highest, lowest = full.max(axis=0), full.min(axis=0)
    size = np.maximum(highest, -lowest)
    peak = float(size.max())
    if peak == 0:
        raise InputError(
            f"{path}: every value is zero.", "Check the export, and --days and --skip-days."
        )
    _refuse_units(path, names, full, size, step, unit)
    _refuse_sum(path, names, full)
    _refuse_sign(path, full, step)
    days = len(full) * step / _DAY
    if not unit and step < _HOUR and peak < _LITTLE_W and days >= 1 and len(names) >= _SOME_HOMES:
        notes.append(
            f"Beware: no home ever exceeds {peak:.0f} W. Are these watts, or watt-hours per "
            f"{interval(step)} (--unit Wh)?"
        )
    small = [n for n, w in zip(names, size, strict=True) if 0 < w < _KILOWATTS]
    if small:
        notes.append(
            f"Beware: {_some(small)} never exceed{'s' if len(small) == 1 else ''} "
            f"{_KILOWATTS:g} W; kilowatts among columns of watts?"
        )
    large = [n for n, w in zip(names, size, strict=True) if w > 1000 * LARGEST_HOME_KW]
    if large:
        notes.append(
            f"Beware: {_some(large)} reach{'es' if len(large) == 1 else ''} "
            f"{peak / 1000:.0f} kW, more than a home can draw from one phase; are these watts, and "
            "not a meter's count?"
        )
    if len(full) < _FEW_ROWS:
        return
    still = [n for n, a, b in zip(names, lowest, highest, strict=True) if a == b != 0]
    if still:
        notes.append(f"Beware: {_some(still)} never change{'s' if len(still) == 1 else ''}.")
    volts = [n for n, a, b in zip(names, lowest, highest, strict=True) if 195 < a < b < 260]
    if volts:
        notes.append(
            f"Beware: {_some(volts)} stay{'s' if len(volts) == 1 else ''} between 195 and 260 all "
            "the time; is that a voltage?"
        )
    notes += _marks(names, full, size)
    notes += _silence(full, step)


def interval(step: int) -> str:
    """A step in words: minute, 15 minutes, hour."""
    if step in (_MINUTE, _HOUR):
        return "minute" if step == _MINUTE else "hour"
    return f"{step / 60:g} minutes"


def _refuse_units(
    path: Path, names: tuple[str, ...], full: Watts, size: Watts, step: int, unit: str
) -> None:
    peak = float(size.max())
    factor = f"{3_600_000 // step if 3_600_000 % step == 0 else 3_600_000 / step:g}"
    if peak < _KILOWATTS and not unit:
        raise InputError(
            f"{path}: no value exceeds {peak:.3g}; the profiles look like kilowatts, or like "
            f"kilowatt-hours per {interval(step)}, or amperes.",
            f"Give watts: multiply kilowatts by 1000, kilowatt-hours per {interval(step)} by "
            f"{factor}; or say --unit kW, or --unit kWh.",
        )
    days = len(full) * step / _DAY
    if not unit and peak < _HARDLY_W and days >= 1 and len(names) >= _SOME_HOMES and step < _HOUR:
        raise InputError(
            f"{path}: {len(names)} homes, and none ever exceeds {peak:.0f} W; the profiles look "
            f"like watt-hours per {interval(step)}.",
            "Say --unit Wh; or --unit W if these are watts after all.",
        )
    kw = size / 1000
    over = kw > LARGEST_HOME_KW
    if unit != "W" and 2 * np.count_nonzero(over) > len(kw):
        raise InputError(
            f"{path}: {np.count_nonzero(over)} of {len(kw)} columns reach more than "
            f"{LARGEST_HOME_KW:g} kW (the highest is {kw.max():,.0f} kW).",
            "No home draws that from one phase: say what the values are with --unit (W if they are "
            "watts after all), and --cumulative for a meter's count.",
        )
    if unit != "W" and kw.max() > _LARGEST_LOAD_KW:
        column = int(np.argmax(kw))
        row = int(np.argmax(np.abs(full[:, column])))
        raise InputError(
            f"{path}: {names[column]} reaches {kw.max():,.0f} kW, in the {row + 1}. step.",
            "No low-voltage network carries that. Leave wrong cells empty and use --fill-gaps, or "
            "say --unit.",
        )


def _refuse_sum(path: Path, names: tuple[str, ...], full: Watts) -> None:
    """A column of totals is not a home."""
    if len(names) < 3 or len(full) < _FEW_ROWS:
        return
    part = full[:: max(1, len(full) // _MOST_ROWS)].astype(float)
    twice = part.sum(axis=1) / 2
    # Rounded to whole watts, a sum of N values is off by half a watt each.
    slack = np.maximum(1e-3 * np.abs(twice), 0.5 * len(names))
    same = (np.abs(part - twice[:, None]) <= slack[:, None]).all(axis=0)
    same &= np.abs(part).max(axis=0) > 10 * len(names)
    # One home that draws while all others draw nothing is its own sum, too.
    same &= (np.abs(part).max(axis=0) > 0).sum() > 2
    if same.sum() == 1:
        raise InputError(
            f"{path}: the column {names[int(np.argmax(same))]} is the sum of all others.",
            "Remove it: every column is a load of its own.",
        )


def _refuse_sign(path: Path, full: Watts, step: int) -> None:
    """Homes that all feed in, day and night."""
    if len(full) * step < _DAY:
        return
    negative = np.count_nonzero(full < 0)
    if negative > 0.95 * np.count_nonzero(full):
        raise InputError(
            f"{path}: {negative / np.count_nonzero(full):.0%} of all values are negative: nearly "
            "every home would feed in all the time.",
            "Turn the sign round: what a home draws is positive, what it feeds in negative.",
        )


def _marks(names: tuple[str, ...], full: Watts, size: Watts) -> list[str]:
    """Values that stand for a missing one, far from all others of their column."""
    found = []
    for mark in _MARKS:
        columns = np.flatnonzero((full == mark).any(axis=0) & (size == abs(mark)))
        for k in columns:
            others = full[full[:, k] != mark, k]
            if len(others) and 2 * float(np.abs(others).max()) < abs(mark):
                found.append((names[k], mark, int((full[:, k] == mark).sum())))
    if not found:
        return []
    name, mark, times = found[0]
    more = f", and {len(found) - 1} more columns" if found[1:] else ""
    return [
        f"Beware: {name} is {mark:g} {'once' if times == 1 else f'{times} times'}{more}: is that "
        "the mark of a missing value? Leave such cells empty, and use --fill-gaps."
    ]


def _silence(full: Watts, step: int) -> list[str]:
    """The longest time in which every home draws exactly nothing."""
    if full.shape[1] < _SOME_HOMES:
        return []
    silent = np.concatenate([[False], (full == 0).all(axis=1), [False]])
    edges = np.flatnonzero(silent[1:] != silent[:-1]).reshape(-1, 2)
    if not len(edges):
        return []
    longest = int((edges[:, 1] - edges[:, 0]).max()) * step
    if longest < _SILENT_S:
        return []
    return [
        f"Beware: all {full.shape[1]} columns are zero at once for up to {longest / 3600:.1f} h: "
        "an outage, or missing values? Leave missing cells empty, and use --fill-gaps."
    ]


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")
