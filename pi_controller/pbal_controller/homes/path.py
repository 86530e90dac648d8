"""One path to one home: a bearer, and where on it the home is."""

from __future__ import annotations

from dataclasses import dataclass, field

from pbal_controller.bearers import Where


@dataclass(slots=True, eq=False)
class Path:
    """One path to one home."""

    bearer: str
    where: Where
    alive: bool = False  # answers, as far as the polling knows
    resting: bool = False  # an earlier path answers
    quality: dict[str, float] = field(default_factory=dict)  # of a radio's link, as its bearer says
