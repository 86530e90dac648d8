"""Both objectives side by side: the neutral current alone, or losses in lines and neutral.

Why losses are the default where the feeder is known: they are what is paid for, they hold the phase
currents down as well as the neutral (a phase's square counts in them), and the neutral current is
cut by nearly as much. Without a feeder model only the neutral current is known.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .controllers import Loop, Trajectory, as_built, pbal
from .metrics import judge, summarise
from .street import Street

LOSSES_BETA = 0.07
"""What the neutral current weighs beside the losses, ohm (docs/balancing.md)."""


@dataclass(frozen=True)
class Weighed:
    """The figures of pbal with one objective, over the first days."""

    objective: str
    days: float
    neutral_cut: float
    loss_cut: float
    peak_phase_a: float
    """Highest 10-minute phase current."""
    switchings_per_home_per_day: float

    def as_dict(self) -> dict[str, Any]:
        """For the JSON."""
        return asdict(self)


def both_objectives(
    street: Street,
    relays: NDArray[np.bool_],
    loop: Loop,
    *,
    days: float,
    progress: Callable[[int], None] | None = None,
) -> list[Weighed]:
    """pbal with either objective on the first `days`; nothing where the feeder is not known."""
    if not street.feeder.exact or not relays.any():
        return []
    steps = min(len(street), max(2, round(days * 86400 / street.step_s)))
    part = Street(street.feeder, street.watts[:steps], street.step_s, street.flow.load_model)
    base = judge(part, as_built(part), 20.0)
    found = []
    for name, feeder in (("losses", True), ("neutral", False)):
        its = replace(loop, use_feeder=feeder, beta=LOSSES_BETA if feeder else 1.0)
        its = its if feeder == bool(loop.use_feeder) else _own_price(its)
        trajectory: Trajectory = pbal(part, relays, its, progress)
        said = summarise(judge(part, trajectory, 20.0), base, part, relays, 0.0)
        found.append(
            Weighed(
                name,
                part.days,
                said["neutral_a"]["cut"],
                said["losses"]["cut"],
                said["peak_10min"]["phase_a"],
                said["switchings"]["per_home_per_day"],
            )
        )
    return found


def _own_price(loop: Loop) -> Loop:
    """A price means something else with the other objective: the planner's own, and its budget."""
    if loop.price is None:
        return loop
    shipped = Loop()
    return replace(loop, price=shipped.price, budget_per_day=shipped.budget_per_day)
