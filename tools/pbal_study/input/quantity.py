"""The unit of a profile file's values: watts, kilowatts, energy per interval, a meter's count.

The user says it, or the column names do (`home_01 [kWh]`); nothing is guessed from the values, but
values that only grow are refused until the user says what they are, because a count taken as watts
would give a wrong report.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

UNITS = ("W", "kW", "Wh", "kWh")
#: `home kWh`, `home_kW`, `home [W]`; a bare W might be the home's own, as in `Flat W`.
_NAMED = re.compile(r"^(.+?)(?:[\s_]+(kwh?|wh)|[\s_]*[\[(](k?wh?)[\])])\s*$", re.IGNORECASE)
#: Units that a column may name and that are no active power.
_OTHER = re.compile(
    r"[\[(]\s*(m?a|k?v|k?va|k?varh?|k?vah|[mg]wh?|[kmg]?j)\s*[\])]\s*$", re.IGNORECASE
)
#: A column is asked about from so many rows on, where it rises so often, and falls at most once in
#: so many rises (a meter that was changed, or has wrapped).
_COUNT_ROWS = 24
_COUNT_RISES = 12
_RISES_A_FALL = 20
#: A whole file that never falls is asked about where its columns rise so often together: a few
#: hours of a count, or whole kilowatt-hours that are read every minute.
_FILE_RISES = 8


@dataclass(frozen=True)
class Quantity:
    """unit: one of UNITS, empty for what the column names say, else watts; energy is that of the
    interval, or with `cumulative` a count that grows (None: not said). start, step_s: the times of
    rows whose first column is a number of its own."""

    unit: str = ""
    cumulative: bool | None = None
    start: np.datetime64 | None = None
    step_s: int | None = None

    def __post_init__(self) -> None:
        if self.unit and self.unit not in UNITS:
            raise InputError(f"--unit is {self.unit!r}.", f"Use one of: {', '.join(UNITS)}.")
        if (self.start is None) != (self.step_s is None):
            raise InputError(
                "--start and --step belong together.",
                "Give the time of the first row and the seconds between rows.",
            )

    def with_names(
        self, path: Path, names: tuple[str, ...]
    ) -> tuple["Quantity", tuple[str, ...], str]:
        """With the unit that the column names say, the names without it, and a note.

        Raises InputError where columns say different units, or another one than `unit`.
        """
        for name in names:
            other = _OTHER.search(name)
            if other is not None:
                raise InputError(
                    f"{path}: the column {name} is in {other[1]}, which is no active power.",
                    f"Give {', '.join(UNITS)}; or take the unit out of the name.",
                )
        found = [_NAMED.match(name) for name in names]
        named = {(m[2] or m[3]).lower() for m in found if m is not None}
        if not named:
            return self, names, ""
        if len(named) > 1 or not all(found):
            raise InputError(
                f"{path}: the column names say different units.",
                "Bring all columns to one unit, or take the units out of the names.",
            )
        said = {u.lower(): u for u in UNITS}[named.pop()]
        if self.unit and self.unit != said:
            raise InputError(
                f"{path}: the columns are named in {said}, --unit says {self.unit}.",
                "Leave out --unit, or correct the names.",
            )
        bare = tuple(m[1] for m in found if m is not None)
        quantity = Quantity(said, self.cumulative, self.start, self.step_s)
        return quantity, bare, f"The columns' names say {said}."

    def watts(
        self, path: Path, names: tuple[str, ...], values: NDArray[np.floating], step_s: int
    ) -> tuple[NDArray[np.floating], list[str]]:
        """Values [T, N] on a regular grid, NaN where missing, as watts, and notes.

        A count gives one row less: the first interval is that from the first row to the second.
        """
        notes: list[str] = []
        unit = self.unit or "W"
        if self.cumulative:
            if not unit.endswith("h"):
                raise InputError(
                    "--cumulative is about a meter's count.",
                    "Say what it counts: --unit Wh or --unit kWh.",
                )
            values = np.diff(values, axis=0)
            back = np.argwhere(values < 0)
            if len(back):
                row, column = back[0]
                raise InputError(
                    f"{path}: the count of {names[column]} falls at row {row + 3}.",
                    "A meter was changed or has wrapped: split the file there, or leave the cells "
                    "around it empty and use --fill-gaps.",
                )
            notes.append(f"The values are a count of {unit}; its rises were taken.")
        elif self.unit:
            if unit.endswith("h") and self.cumulative is None:
                _ask_about_counts(path, names, values, unit)
            notes.append(
                f"The values are {unit}" + (" per interval." if unit.endswith("h") else ".")
            )
        else:
            _ask_about_counts(path, names, values)
        factor = 1000.0 if unit.startswith("k") else 1.0
        if unit.endswith("h"):
            factor *= 3600.0 / step_s
        return (values if factor == 1 else values * factor), notes


def _ask_about_counts(
    path: Path, names: tuple[str, ...], values: NDArray[np.floating], unit: str = ""
) -> None:
    """Raises InputError where a column grows, or falls, nearly all the time: no home's power does.
    unit: of the energy that was said."""
    change = np.nan_to_num(np.diff(values, axis=0))
    rises, falls = (change > 0).sum(axis=0), (change < 0).sum(axis=0)
    down = (falls >= _COUNT_RISES) & (_RISES_A_FALL * rises <= falls)
    if len(values) >= _COUNT_ROWS and down.any():
        raise InputError(
            f"{path}: the column {names[int(np.argmax(down))]} only falls, as a credit does, or "
            "the count of a meter with its rows turned round.",
            "Give power, energy per interval, or a count that grows.",
        )
    each = (rises >= _COUNT_RISES) & (_RISES_A_FALL * falls <= rises)
    if len(values) < _COUNT_ROWS:
        each[:] = False
    if not falls.any() and rises.sum() >= _FILE_RISES:
        each |= rises > 0
    count = np.flatnonzero(each)
    if len(count):
        which = f"column {names[count[0]]}" if len(count) < len(names) else "every column"
        raise InputError(
            f"{path}: {which} only grows, as a meter's count does"
            + (", but for a fall or two." if falls[count].any() else "."),
            f"Say so: --cumulative. If it is {unit} per interval after all: --per-interval."
            if unit
            else "Say so: --cumulative --unit kWh (or Wh). If these are watts after all: --unit W.",
        )
