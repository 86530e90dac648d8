"""What relays may be spent on: dwell, daily caps, and a price that meets a wear budget.

The price is the Lagrange multiplier of the budget: one number for all homes and hours, so
that a switching is made where and when it saves most. It moves slowly (days), because a
price that followed the hour would buy cheap savings at night and refuse dear ones at
supper.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .config import PlannerConfig

_DAY_S = 86400.0
_ADAPT_DAYS = 1.5
# Price in A^2 that met a budget of 1 a day on the development homes; where it starts only.
_PRICE_AT_ONE = 520.0
_ELASTICITY = 0.9


class Wear:
    """Counts switchings and prices them. Memory: n * daily_cap times and 24 hourly counts."""

    def __init__(self, n_homes: int, config: PlannerConfig) -> None:
        self.n = n_homes
        self.config = config
        self.times_s = np.full((config.daily_cap, n_homes), -np.inf)
        budget = config.wear_budget_per_day
        if config.price is not None:
            self.price = float(config.price)
        elif budget is None:
            self.price = 300.0
        else:
            self.price = _PRICE_AT_ONE * budget**-_ELASTICITY
        # With a feeder model costs are in W, and beta ohm stands for one A^2 of neutral.
        scale = config.beta if config.resistance is not None else 1.0
        if config.price is None:
            self.price *= scale
        self._floor = config.price_floor * scale
        self._hours = np.full(24, (budget or 0.0) * n_homes / 24.0)
        self._hour = -1
        self._age_days = 0.0
        self._last_s: float | None = None
        self._phases: NDArray[np.int8] | None = None

    def see(self, time_s: float, phases: NDArray[np.int8]) -> None:
        """Note which homes have changed phase since the last call, and adapt the price."""
        if self._phases is None:
            self._phases = np.full(self.n, -1, np.int8)
        changed = (phases >= 0) & (self._phases >= 0) & (phases != self._phases)
        if changed.any():
            self.times_s[1:, changed] = self.times_s[:-1, changed]
            self.times_s[0, changed] = time_s
        self._phases = np.where(phases >= 0, phases, self._phases)
        hour = int(time_s // 3600)
        if hour != self._hour:
            if self._hour >= 0:
                self._hours[np.arange(self._hour + 1, min(hour, self._hour + 24) + 1) % 24] = 0.0
            self._hour = hour
        self._hours[hour % 24] += int(changed.sum())
        self._adapt(time_s)

    def _adapt(self, time_s: float) -> None:
        budget = self.config.wear_budget_per_day
        if budget is not None and self._last_s is not None and self.n:
            days = min(max(time_s - self._last_s, 0.0), 3600.0) / _DAY_S
            off = self._hours.sum() / (0.97 * budget * self.n) - 1.0
            self._age_days += days
            pace = min(_ADAPT_DAYS, 0.4 + 0.5 * self._age_days)  # quick while it is a guess
            step = min(max(off, -1.0), 2.0) * days / pace
            self.price = max(self.price * float(np.exp(step)), self._floor)
        self._last_s = time_s

    def today(self, time_s: float) -> NDArray[np.int64]:
        """Switchings of each home in the last 24 hours, counted up to the daily cap."""
        return np.asarray((time_s - self.times_s < _DAY_S).sum(axis=0))

    def free(self, time_s: float) -> NDArray[np.bool_]:
        """Homes whose dwell and daily cap allow a switching now."""
        rested = time_s - self.times_s[0] >= self.config.dwell_s
        return np.asarray(rested & (time_s - self.times_s[-1] >= _DAY_S))

    def prices(self, time_s: float) -> NDArray[np.float64]:
        """Price of switching each home now, float64[n]."""
        used = self.today(time_s) / self.config.daily_cap
        price = self.price * (1.0 + self.config.fairness * used)
        if self.config.home_prices is not None:
            price = price * np.asarray(self.config.home_prices, np.float64)
        return np.asarray(price)

    def state(self) -> dict[str, Any]:
        return {"times_s": self.times_s.copy(), "hours": self._hours.copy(), "price": self.price,
                "hour": self._hour, "age_days": self._age_days}  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        times = np.asarray(state["times_s"], np.float64)
        if times.ndim != 2 or times.shape[1] != self.n:
            raise ValueError(f"times_s: expected {self.n} homes, got shape {times.shape}")
        keep = min(len(times), len(self.times_s))
        self.times_s[:keep] = times[:keep]
        self._hours = np.asarray(state["hours"], np.float64).copy()
        self._hour = int(state["hour"])
        self._age_days = float(state["age_days"])
        self.price = float(state["price"])
