"""Rows with times become a regular grid: gaps found or filled, seconds averaged, units checked.

A gap is refused by default, because every way to fill it is a guess that the reader of the report
should know.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .doubts import doubt_values
from .quantity import Quantity

Watts = NDArray[np.float32]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


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
                "Repair the profiles, or use --fill-gaps (same clock time of the nearest day)."
                + _of_the_clock(
                    int(times[0] + row * step), np.asarray(missing[row:].all(axis=1)), step
                ),
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
    doubt_values(path, names, full, step, notes, quantity.unit)
    return step, np.ascontiguousarray(full), tuple(notes)


def _of_the_clock(first: int, gone: NDArray[np.bool_], step: int) -> str:
    """The remedy for an hour of a Sunday's night that is missing, as when summer time begins; ""
    for other gaps. gone: from time `first` on, whether a row is missing."""
    rows = len(gone) if gone.all() else int(np.argmin(gone))
    sunday = (first // _DAY + 4) % 7 == 0
    if rows * step == _HOUR and sunday and first % _DAY <= 3 * _HOUR:
        return " If the clocks change there: write times with their offset from UTC, or in UTC."
    return ""


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
