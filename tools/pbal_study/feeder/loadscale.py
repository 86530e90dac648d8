"""What a feeder file does to all its loads at once: Set LoadMult, Set Year, and a load's Status.

The engine's own rules, found by trying each setting (the tests compare with it):

    power = kW x shape x growth x LoadMult
    growth: 1 in the shape's first year, times its Mult of each year since; without a growth shape
            1 in year 1, times 1 + %Growth / 100 for each year since; 1 for all while no year is set
    status=fixed    kW x growth all the time: no shape, no LoadMult
    status=exempt   no LoadMult with a Daily shape or none
    shape with useactual=yes    its own kilowatts: neither growth nor LoadMult
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from ..errors import InputError

_FIXED, _EXEMPT = 1, 2
#: No street's load grows to more, or falls to less than one of so many parts.
_MOST_GROWTH = 100.0


@dataclass(frozen=True)
class LoadScale:
    """Circuit-wide factors: `load_mult` by Set LoadMult, `growth` by Set Year and %Growth, and
    `shapes` by Set Year and each growth shape, in small letters."""

    load_mult: float
    growth: float
    shapes: Mapping[str, float] = field(default_factory=dict)

    def of(self, status: int, *, yearly: bool = False, shape: str = "") -> float:
        """The factor of a load's kW, by its `status` (0 variable, 1 fixed, 2 exempt) and the growth
        shape that it follows, if any."""
        exempt = status == _FIXED or (status == _EXEMPT and not yearly)
        grown = self.shapes.get(shape.lower(), self.growth)
        return grown * (1.0 if exempt else self.load_mult)


def read_scale(circuit: Any, notes: list[str]) -> LoadScale:
    """The factors of a compiled circuit; a note where they change anything."""
    solution = circuit.Solution
    year, load_mult = int(solution.Year), float(solution.LoadMult)
    growth, shapes = 1.0, {}
    used: list[str] = []
    if year > 0:
        growth = _sane("%growth", (1 + float(solution.pctGrowth) / 100), year - 1, year)
        curves = _growth_shapes(circuit)
        used = sorted(_used(circuit) & set(curves))
        shapes = {name: grown(name, *curves[name], year) for name in used}
    if load_mult != 1:
        notes.append(f"The feeder file multiplies its loads by {load_mult:g} (LoadMult).")
    if growth != 1:
        notes.append(f"The feeder file lets its loads grow to {growth:.3g} times (Year {year}).")
    if used:
        listed = ", ".join(f"{shapes[name]:.3g} by {name}" for name in used[:4])
        notes.append(f"Growth shapes in year {year}, times: {listed}{', ...' if used[4:] else ''}.")
    return LoadScale(load_mult, growth, shapes)


def is_fixed(status: int) -> bool:
    """True for a load that follows no shape."""
    return status == _FIXED


def grown(name: str, years: list[int], mult: list[float], year: int) -> float:
    """What growth shape `name` has made of a load by `year`: the multiplier of each year from the
    first one on, which holds until the next is given."""
    if any(later <= one for one, later in pairwise(years)):
        raise InputError(
            f"The years of growth shape {name} do not ascend.", "Sort them, with one Mult for each."
        )
    factor = 1.0
    for first, until, rate in zip(years, [*years[1:], max(year, years[-1])], mult, strict=True):
        factor *= _sane(f"growth shape {name}", rate, max(min(until, year) - first, 0), year)
    return factor


def _sane(what: str, rate: float, times: int, year: int) -> float:
    """rate to the power of times; InputError where that is no growth of a street."""
    if rate <= 0 or abs(times * math.log(rate)) > math.log(_MOST_GROWTH):
        raise InputError(
            f"By 'Set Year={year}' and {what} ({rate:g} a year for {times} years) loads would be "
            f"more than {_MOST_GROWTH:g} times what they are, or next to nothing.",
            "Count Set Year as the growth is counted: from 1 on with %growth, from the growth "
            "shape's first year on with one.",
        )
    return float(rate**times)


def _growth_shapes(circuit: Any) -> dict[str, tuple[list[int], list[float]]]:
    """Years and multipliers of every growth shape that has points."""
    found = {}
    circuit.SetActiveClass("growthshape")
    kind = circuit.ActiveClass
    k = kind.First
    while k:
        element = circuit.ActiveDSSElement
        years, mult = (
            [float(x) for x in str(element.Properties(name).Val).strip("[]() ").split()]
            for name in ("Year", "Mult")
        )
        if years and len(years) == len(mult):
            found[str(element.Name).partition(".")[2].lower()] = ([int(y) for y in years], mult)
        k = kind.Next
    return found


def _used(circuit: Any) -> set[str]:
    """Growth shapes that enabled loads follow."""
    loads, used = circuit.Loads, set()
    k = loads.First
    while k:
        if circuit.ActiveCktElement.Enabled:
            used.add(str(loads.Growth).lower())
        k = loads.Next
    return used
