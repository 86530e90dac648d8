"""What a site may choose about balancing. Every field has a default that is safe to keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PlannerConfig:
    """Configuration of a `Planner`.

    price: what one switching must save, in A^2 of neutral current averaged over the time
        ahead (W with a resistance array). Where the wear budget is set, only the start.
    wear_budget_per_day: switchings per home per day that the relays may be spent at, averaged
        over the homes that could be moved at some time of the last 24 hours; the price adapts
        to meet it. None keeps the price fixed.
    price_floor: the adapted price never falls below this: smaller savings wear no relay.
    fairness: 0..; a home that has used its daily cap pays (1 + fairness) times the price.
    home_prices: factor on the price of each home, for relays or customers unlike the rest.
    dwell_s: least time between two switchings of a home. daily_cap: most in 24 hours.
    max_moves: most switchings in one decision; -1 for any number.
    fixed: homes that can never be moved (indices, no mask).
    limits_a: phase current limits of the transformer, A, one or three; None for none.
    resistance: None, or float[n, n, 3] ohm: Re(Z) between homes by relative phase; beta
        then weighs the neutral current (ohm).
    stale_s: a home's reading this much older than the newest one of the street no longer
        counts as known. blind_s: no decision while the newest is older than this.
    utc_offset_s: local time minus the clock's, for the typical day that a street starts from.
    predict: learn how long loads last and price moves by it; False is the simple rule,
        window_weight on the mean of the last window_s and the rest on the last reading.
    horizon_min: how fast later minutes lose weight, as they can still be corrected.
    restarts: kicks of the search where it is not exact. seed: of kicks and of sampled scenarios.

    Raises ValueError for a value that makes no sense.
    """

    price: float | None = None
    wear_budget_per_day: float | None = 3.0
    price_floor: float = 10.0
    fairness: float = 0.3
    home_prices: Sequence[float] | None = None
    dwell_s: float = 1800.0
    daily_cap: int = 6
    max_moves: int = -1
    fixed: Sequence[int] = ()
    limits_a: float | Sequence[float] | None = None
    resistance: NDArray[np.float64] | None = field(default=None, repr=False, compare=False)
    beta: float = 1.0
    stale_s: float = 180.0
    blind_s: float = 3600.0
    utc_offset_s: float = 0.0
    predict: bool = True
    horizon_min: float = 10.0
    window_s: float = 1800.0
    window_weight: float = 0.3
    restarts: int = 10
    seed: int = 1

    def __post_init__(self) -> None:
        for name in ("price_floor", "fairness", "dwell_s", "beta", "stale_s", "blind_s",
                     "window_s"):  # fmt: skip
            if not getattr(self, name) >= 0:
                raise ValueError(f"planner.{name} must be zero or more, got {getattr(self, name)}")
        if self.price is not None and not self.price >= 0:
            raise ValueError(f"planner.price must be zero or more, got {self.price}")
        if self.wear_budget_per_day is not None and not self.wear_budget_per_day > 0:
            raise ValueError("planner.wear_budget_per_day must be more than zero, or left out")
        if not 0 <= self.window_weight <= 1:
            raise ValueError("planner.window_weight must be between 0 and 1")
        if not self.horizon_min > 0:
            raise ValueError("planner.horizon_min must be more than zero")
        for name in ("restarts", "seed"):
            if getattr(self, name) < 0:
                raise ValueError(f"planner.{name} must be zero or more, got {getattr(self, name)}")
        if self.daily_cap < 1:
            raise ValueError("planner.daily_cap must be at least 1")
        if not math.isfinite(self.utc_offset_s):
            raise ValueError("planner.utc_offset_s must be a number of seconds")
        if self.limits_a is not None:
            limits = np.asarray(self.limits_a, np.float64)
            if limits.shape not in ((), (3,)) or not (limits > 0).all():
                raise ValueError("planner.limits_a must be one or three currents, more than zero")

    def check_homes(self, n: int) -> None:
        """Raise ValueError where a field does not fit a street of n homes."""
        if any(isinstance(h, (bool, np.bool_)) for h in self.fixed):
            raise ValueError("planner.fixed: expected indices of homes, got a mask")
        wrong = sorted(h for h in self.fixed if not 0 <= h < n)
        if wrong:
            raise ValueError(f"planner.fixed: there is no home {wrong[0]} among {n}")
        if self.home_prices is not None:
            prices = np.asarray(self.home_prices, np.float64)
            if prices.shape != (n,) or not (prices >= 0).all():
                raise ValueError(f"planner.home_prices must be {n} factors, zero or more")
        if self.resistance is not None:
            ohm = np.asarray(self.resistance, np.float64)
            if ohm.shape != (n, n, 3) or not np.isfinite(ohm).all():
                raise ValueError(f"planner.resistance must be {n} x {n} x 3 ohm, got {ohm.shape}")
