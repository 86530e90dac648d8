"""What a site may choose about balancing. Every field has a default that is safe to keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PlannerConfig:
    """Configuration of a `Planner`.

    price: what one switching must save, in A^2 of neutral current (W with a resistance
        array); the simple rule uses it as it stands.
    wear_budget_per_day: switchings per home per day the relays may be spent at, averaged
        over homes; the price then adapts to meet it. None keeps the price fixed.
    dwell_s: least time between two switchings of a home. daily_cap: most in 24 hours.
    max_moves: most switchings in one decision; -1 for any number.
    fixed: homes that can never be moved (indices).
    limits_a: phase current limits of the transformer, A, one or three; None for none.
    resistance: None, or float[n, n, 3] ohm: Re(Z) between homes by relative phase; beta
        then weighs the neutral current (ohm).
    stale_s: a reading older than this no longer counts as known.
    predict: learn how long loads last and price moves by it; False is the simple rule.
    """

    price: float = 300.0
    wear_budget_per_day: float | None = None
    dwell_s: float = 1800.0
    daily_cap: int = 12
    max_moves: int = -1
    fixed: Sequence[int] = ()
    limits_a: float | Sequence[float] | None = None
    resistance: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    beta: float = 1.0
    stale_s: float = 180.0
    window_s: float = 1800.0
    window_weight: float = 0.3
    restarts: int = 20
    seed: int = 1
    predict: bool = True

    def __post_init__(self) -> None:
        for name in ("price", "dwell_s", "beta", "stale_s", "window_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"planner.{name} must be zero or more, got {getattr(self, name)}")
        if self.wear_budget_per_day is not None and not self.wear_budget_per_day > 0:
            raise ValueError("planner.wear_budget_per_day must be more than zero, or left out")
        if not 0 <= self.window_weight <= 1:
            raise ValueError("planner.window_weight must be between 0 and 1")
