"""What a feeder file does to all its loads at once: Set LoadMult, Set Year, and a load's Status.

The engine's own rules, found by trying each setting (the tests compare with it):

    power = kW x shape x growth x LoadMult
    status=fixed    kW x growth all the time: no shape, no LoadMult
    status=exempt   no LoadMult with a Daily shape or none
    shape with useactual=yes    its own kilowatts: neither growth nor LoadMult
"""

from dataclasses import dataclass
from typing import Any

from ..errors import InputError

_FIXED, _EXEMPT = 1, 2


@dataclass(frozen=True)
class LoadScale:
    """Circuit-wide factors: `load_mult` by Set LoadMult, `growth` by Set Year and %Growth."""

    load_mult: float
    growth: float

    def of(self, status: int, *, yearly: bool = False) -> float:
        """The factor of a load's kW, by its `status` (0 variable, 1 fixed, 2 exempt)."""
        exempt = status == _FIXED or (status == _EXEMPT and not yearly)
        return self.growth * (1.0 if exempt else self.load_mult)


def read_scale(circuit: Any, notes: list[str]) -> LoadScale:
    """The factors of a compiled circuit; a note where they change anything."""
    solution = circuit.Solution
    year, load_mult = int(solution.Year), float(solution.LoadMult)
    growth = 1.0
    if year > 0:
        _refuse_growth_shapes(circuit, year)
        growth = (1 + float(solution.pctGrowth) / 100) ** (year - 1)
    if load_mult != 1:
        notes.append(f"The feeder file multiplies its loads by {load_mult:g} (LoadMult).")
    if growth != 1:
        notes.append(f"The feeder file lets its loads grow to {growth:.3g} times (Year {year}).")
    return LoadScale(load_mult, growth)


def is_fixed(status: int) -> bool:
    """True for a load that follows no shape."""
    return status == _FIXED


def _refuse_growth_shapes(circuit: Any, year: int) -> None:
    loads = circuit.Loads
    k = loads.First
    while k:
        if circuit.ActiveCktElement.Enabled and str(loads.Growth):
            raise InputError(
                f"Load {loads.Name} has a growth shape of its own, and the file sets Year={year}.",
                "Remove 'Set Year', or write the grown kW into the loads.",
            )
        k = loads.Next
