"""Rows with times become a regular grid: gaps found or filled, seconds averaged, units checked.

A gap is refused by default, because every way to fill it is a guess that the reader of the report
should know.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..feeder.model import LARGEST_HOME_KW
from .quantity import Quantity

Watts = NDArray[np.float32]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_KILOWATTS = 50.0
"""A home whose highest value is below this is in kilowatts, or draws nothing."""
_LITTLE_W, _SOME_HOMES = 2000.0, 5
"""In a day of five homes one draws more than this for half an hour: of 60 homes on 15 days, five
drawn at random have a highest half-hour of 4.5 kW in the median, and above 2.4 kW always."""


def regular(
    path: Path,
    names: tuple[str, ...],
    times: NDArray[np.int64],
    values: NDArray[np.floating],
    fill_gaps: bool,
    quantity: Quantity,
) -> tuple[int, Watts, tuple[str, ...]]:
    """Step in seconds (a minute or more), watts [T, N] without gaps, and notes.

    `times` are seconds, `values` [rows, N] of a quantity, NaN where a cell is empty. Raises
    InputError.
    """
    step = _step(path, times)
    index = np.round((times - times[0]) / step).astype(np.int64)
    values, notes = quantity.watts(path, names, _on_grid(path, index, times, values), step)
    full = values.astype(np.float32, copy=False)
    missing = np.isnan(full)
    count = int(missing.sum())
    if count:
        row, column = divmod(int(np.argmax(missing)), len(names))
        if not fill_gaps:
            raise InputError(
                f"{path}: {count} values are missing, first {names[column]} at "
                f"{_iso(times[0] + row * step)}.",
                "Repair the profiles, or use --fill-gaps (same clock time of the nearest day).",
            )
        _fill(path, full, missing, names, max(1, round(_DAY / step)))
        notes.append(f"{count} missing values ({missing.mean():.2%}) were filled in.")
    del missing
    if step < _MINUTE:
        n = _MINUTE // step if _MINUTE % step == 0 else 0
        if n == 0:
            raise InputError(
                f"{path}: a step of {step} s does not divide a minute.", "Resample to 60 s."
            )
        full = full[: len(full) // n * n].reshape(-1, n, len(names)).mean(axis=1)
        notes.append(f"Profiles at {step} s were averaged to one minute.")
        step = _MINUTE
    if step > _HOUR:
        raise InputError(
            f"{path}: one value every {step / 3600:g} hours says nothing about balancing.",
            "Give at least hourly profiles; one value a minute shows what pbal does.",
        )
    if len(full) < 2:
        raise InputError(f"{path}: less than two time steps.", "Give at least an hour of profiles.")
    _doubt_units(path, names, full, step, notes, bool(quantity.unit))
    return step, np.ascontiguousarray(full), tuple(notes)


def _interval(step: int) -> str:
    """A step in words: minute, 15 minutes, hour."""
    if step in (_MINUTE, _HOUR):
        return "minute" if step == _MINUTE else "hour"
    return f"{step / 60:g} minutes"


def check_order(path: Path, times: NDArray[np.int64]) -> None:
    """Raises InputError unless the times grow."""
    steps = np.diff(times)
    if (steps <= 0).any():
        k = int(np.argmax(steps <= 0))
        raise InputError(
            f"{path}: {_iso(times[k + 1])} does not come after {_iso(times[k])}.",
            "Sort the rows by time, keep one per time; use UTC where the clocks change.",
        )


def _step(path: Path, times: NDArray[np.int64]) -> int:
    """The step most rows are apart; every row must be on its grid."""
    step = int(np.median(np.diff(times)))
    place = (times - times[0]) / step
    off = np.abs(place - np.round(place)) > 0.01
    if off.any():
        raise InputError(
            f"{path}: most rows are {step} s apart, but {_iso(times[np.argmax(off)])} is off that "
            "grid.",
            "Resample the profiles to a regular step.",
        )
    return step


def _on_grid(
    path: Path,
    index: NDArray[np.int64],
    times: NDArray[np.int64],
    watts: NDArray[np.floating],
) -> NDArray[np.floating]:
    """Rows at their places; NaN where none is."""
    rows = int(index[-1]) + 1
    if rows == len(watts):
        return watts
    k = int(np.argmax(np.diff(index)))
    if rows > 2 * len(watts):
        raise InputError(
            f"{path} has more gaps than rows: it is silent from {_iso(times[k])} to "
            f"{_iso(times[k + 1])}.",
            "Check the times; --days and --skip-days choose a stretch without that gap.",
        )
    full = np.full((rows, watts.shape[1]), np.nan, dtype=watts.dtype)
    full[index] = watts
    return full


def _doubt_units(
    path: Path, names: tuple[str, ...], full: Watts, step: int, notes: list[str], said: bool
) -> None:
    """Refuses kilowatts unless the unit was said; mentions columns that look like them, and homes
    that draw too much."""
    highest = np.maximum(full.max(axis=0), -full.min(axis=0))
    peak = float(highest.max())
    if peak == 0:
        raise InputError(
            f"{path}: every value is zero.", "Check the export, and --days and --skip-days."
        )
    if peak < _KILOWATTS and not said:
        raise InputError(
            f"{path}: no value exceeds {peak:.3g}; the profiles look like kilowatts, or like "
            f"kilowatt-hours per {_interval(step)}.",
            f"Give watts: multiply kilowatts by 1000, kilowatt-hours per {_interval(step)} by "
            f"{3_600_000 // step if 3_600_000 % step == 0 else 3_600_000 / step:g}; or say "
            "--unit kW, or --unit kWh.",
        )
    days = len(full) * step / _DAY
    if not said and step < _HOUR and peak < _LITTLE_W and days >= 1 and len(names) >= _SOME_HOMES:
        notes.append(
            f"Beware: no home ever exceeds {peak:.0f} W. Are these watts, or watt-hours per "
            f"{_interval(step)} (--unit Wh)?"
        )
    small = [n for n, w in zip(names, highest, strict=True) if 0 < w < _KILOWATTS]
    if small:
        notes.append(
            f"Beware: {_some(small)} never exceed{'s' if len(small) == 1 else ''} "
            f"{_KILOWATTS:g} W; kilowatts among columns of watts?"
        )
    large = [n for n, w in zip(names, highest, strict=True) if w > 1000 * LARGEST_HOME_KW]
    if large:
        notes.append(
            f"Beware: {_some(large)} reach{'es' if len(large) == 1 else ''} "
            f"{peak / 1000:.0f} kW, more than a home can draw from one phase; are these watts, and "
            "not a meter's count?"
        )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _iso(seconds: int | np.int64) -> str:
    return str(np.datetime64(int(seconds), "s"))


def _fill(
    path: Path,
    full: Watts,
    missing: NDArray[np.bool_],
    names: tuple[str, ...],
    per_day: int,
) -> None:
    """Fills gaps: up to half an hour by a straight line, longer ones from the nearest day."""
    short = max(1, per_day // 48)
    for column in np.flatnonzero(missing.any(axis=0)):
        values, gone = full[:, column], missing[:, column]
        if gone.all():
            raise InputError(
                f"{path}: {names[column]} has no values at all.", "Remove that column."
            )
        known, holes = np.flatnonzero(~gone), np.flatnonzero(gone)
        first = np.flatnonzero(np.diff(holes, prepend=-2) > 1)
        length = np.diff([*first, len(holes)])
        brief = np.repeat(length <= short, length)
        line = np.interp(holes[brief], known, values[known])
        long = holes[~brief]
        values[long] = values[_same_clock(gone, per_day)[long]]
        values[holes[brief]] = line


def _same_clock(gone: NDArray[np.bool_], per_day: int) -> NDArray[np.int64]:
    """For each step, the nearest known one at its clock time, the earlier of two; where no day
    has one, the nearest known at all."""
    days = -(-len(gone) // per_day)
    there = np.zeros(days * per_day, dtype=bool)
    there[: len(gone)] = ~gone
    day = _nearest(there.reshape(days, per_day))
    source = (day * per_day + np.arange(per_day)).ravel()[: len(gone)]
    anywhere = _nearest(there[: len(gone), None])[:, 0]
    return np.where(day.ravel()[: len(gone)] >= 0, source, anywhere)


def _nearest(there: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Row of the nearest True in each column of [rows, columns], -1 where a column has none."""
    rows = np.arange(len(there), dtype=np.int64)[:, None]
    far = 2 * len(there) + 1
    before = np.maximum.accumulate(np.where(there, rows, -far), axis=0)
    after = np.minimum.accumulate(np.where(there, rows, far)[::-1], axis=0)[::-1]
    near = np.where(rows - before <= after - rows, before, after)
    return np.where((near >= 0) & (near < len(there)), near, -1)
