"""The wear of relays: dwell, daily caps, and a price that meets a wear budget.

The price is the Lagrange multiplier of the budget: one number for all homes and hours, so
that a switching is made where and when it saves most. It must fit from the first day on,
and it must move slowly, because a price that followed the hour would allow switchings of small
savings at night and prevent those of large savings in the evening. Hence two factors:

* the *load*: savings go with the square of the currents, so the price is a multiple of the
  mean square of a home's current over the day. While less than a day has been seen, what was seen
  is compared with a typical home's load over the same hours.
* the *demand*: how many switchings this street asks for at that price, against those
  expected. Switchings arrive like a Poisson stream whose rate has a Gamma prior; the mean of
  the posterior, with old days fading, determines by how much the price changes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _outlook
from .config import PlannerConfig

_DAY_S = 86400.0
_HOUR_S = 3600.0
_LONG_AGO_S = -1e300
# Fitted on development homes and made-up streets (docs/balancing.md): the price, in mean
# squares of a home's current, at which each home switches once a day. With few homes each can gain
# less. The simple rule overestimates what its moves save, so its price is twice as high.
_PRICE_AT_ONE = 17.0
_PRICE_AT_ONE_RULE = 35.0
_FEW_HOMES = 18.0
# Where only one home in s can be moved, each asks for s^0.4 times as many switchings.
_SHARE_POWER = 0.4
_MOST_SHARE = 10.0
# Predicted from old readings savings are smaller: per minute of age.
_LAG_MIN = 8.0
_MOST_LAG_MIN = 15.0
# Switchings fall as price^-1.1, with readings 20 minutes old half as fast.
_ELASTICITY = 1.1
_LAG_HALF_MIN = 20.0
# Where nothing has been seen: a home's mean square, A^2, and the weight of that assumption in
# typical hours. Many homes show their load at once: beyond so many it weighs less.
_TYPICAL_LOAD = 25.0
_TYPICAL_HOURS = 1.0
_TYPICAL_HOMES = 3.0
# The first reading counts for so long.
_FIRST_S = 300.0
_LOAD_DAYS = 4.0
_DEMAND_DAYS = 2.5
# The prior's weight, in days of the budget and in switchings of the street.
_PRIOR_DAYS = 0.3
_PRIOR_SWITCHINGS = 3.0
# Bound on the ratio of demand to what was expected, either way; and the least that is kept of old
# switchings.
_MOST_DEMAND = 8.0
_LITTLE = 1e-9
# The price's exponent in what the last 24 hours spent beyond the budget, and where that is
# more than a tenth.
_BRAKE = 3.0
_BRAKE_HARD = 12.0
_TOO_MUCH = 1.1
# The same below: what is left over lowers the price within the day, down to so much.
_CATCH_UP = 3.0
_LEAST_OF_DAY = 0.3
# Beyond so many times the budget nothing is switched at any price.
_MOST_DAY = 1e6
# A day of the development homes, smoothed: mean square of the current, and switchings at
# a fixed price, by the hour; each with mean 1.
_LOAD_HOURS = np.array(
    [3, 2, 2, 2, 2, 3, 6, 10, 11, 11, 9, 8, 8, 8, 8, 9, 13, 20, 22, 21, 21, 19, 14, 8.0]
)
_SPENT_HOURS = np.array(
    [2, 1, 1, 1, 2, 3, 7, 12, 13, 12, 9, 8, 8, 8, 8, 10, 14, 20, 21, 19, 18, 17, 11, 6.0]
)
_LOAD: list[float] = (_LOAD_HOURS / _LOAD_HOURS.mean()).tolist()
_SPENT: list[float] = (_SPENT_HOURS / _SPENT_HOURS.mean()).tolist()
#: A typical home's mean current by the hour, with mean 1.
COURSE = np.sqrt(_LOAD) / np.sqrt(_LOAD).mean()


class Wear:
    """Counts switchings and prices them. Memory: n * (daily_cap + 2) times and a few numbers."""

    def __init__(self, n_homes: int, config: PlannerConfig) -> None:
        self.n = n_homes
        self.config = config
        self.times_s = np.full((config.daily_cap, n_homes), -np.inf)
        self.unit = _unit(config, n_homes)
        # When each home was last known, and when it could last be moved (dwell and cap apart).
        self._known_s = np.full(n_homes, -np.inf)
        self._able_s = np.full(n_homes, -np.inf)
        self._fixed = np.zeros(n_homes, bool)
        self._fixed[list(config.fixed)] = True
        self._known, self._able = n_homes, int((~self._fixed).sum())
        weight = _TYPICAL_HOURS * min(_TYPICAL_HOMES / max(n_homes, 1), 1.0)
        self._load = np.array([_TYPICAL_LOAD * weight, weight])
        # Switchings made, switchings expected; each home adds its share when it is first seen.
        self._demand = np.array([_PRIOR_SWITCHINGS, _PRIOR_SWITCHINGS])
        # Mean squares of what has no node (of its neutral current) and of a home, A^2 h.
        self._rest = np.array([0.0, _TYPICAL_LOAD * _TYPICAL_HOURS])
        self._begun = 0.0  # how much of a first day's switchings were due by now, 0..1
        self._lag_min = 0.0
        self._last_s: float | None = None
        self._phases: NDArray[np.int8] | None = None

    @property
    def price(self) -> float:
        """What one switching must save now, before fairness and `home_prices`."""
        c = self.config
        if c.wear_budget_per_day is None:
            return float(c.price) if c.price is not None else 300.0 * self.unit
        asked = self.demand
        if c.price is not None:
            base = float(c.price)
        else:
            base = (_PRICE_AT_ONE if c.predict else _PRICE_AT_ONE_RULE) * self.load * self.unit
            base *= -math.expm1(-self.homes / _FEW_HOMES)
            if c.predict:
                base *= math.exp(-self._lag_min / _LAG_MIN)
            # Where few homes can be moved, each has more to put right.
            share = self.homes / self._able if self._able else 1.0
            asked *= min(share, _MOST_SHARE) ** _SHARE_POWER / c.wear_budget_per_day
        return float(max(base * asked ** (1 / self._elasticity()), c.price_floor * self.unit))

    def _elasticity(self) -> float:
        if not self.config.predict:
            return _ELASTICITY
        return _ELASTICITY / (1.0 + self._lag_min / _LAG_HALF_MIN)

    @property
    def load(self) -> float:
        """Mean square of a home's current over a day, A^2, as far as it is known."""
        seen, typical = self._load.tolist()
        return float(seen / typical)

    @property
    def movable(self) -> int:
        """Homes that could be moved at some time of the last 24 hours: those of the budget."""
        return self._able

    @property
    def per_day(self) -> float:
        """Switchings of the whole street per day; 0 where no budget is set."""
        return (self.config.wear_budget_per_day or 0.0) * self._able

    @property
    def homes(self) -> float:
        """Homes known in the last 24 hours, and as many more as what has no node is worth: so
        many independent homes would have its mean squared neutral current."""
        rest, home = self._rest.tolist()
        return float(self._known + rest / home)

    @property
    def demand(self) -> float:
        """Switchings asked for at the price that should meet the budget, over the budget."""
        made, expected = self._demand.tolist()
        return float(made / expected)

    def see(
        self,
        time_s: float,
        phases: NDArray[np.int8],
        mean_square: float,
        lag_min: float = 0.0,
        rest_square: float = 0.0,
        *,
        known: NDArray[np.bool_] | None = None,
        able: NDArray[np.bool_] | None = None,
    ) -> None:
        """Note which homes have changed phase since the last call, and adapt the price.

        phases: int8[n], -1 open or unknown. mean_square: of the homes' currents now, A^2; NaN
        where none is known. lag_min: how old readings are when they are acted upon, beyond the
        minute that is usual. rest_square: squared neutral current of all that has no node, A^2.
        known, able: bool[n], homes whose current is known (left out: all), and those that could
        be moved, were it not for dwell and cap (left out: all but the fixed ones).
        """
        self._lag_min = min(max(lag_min, 0.0), _MOST_LAG_MIN)
        # Times to come are those of a clock that was set back since: as good as now.
        if self._last_s is None or time_s < self._last_s:
            for times_s in (self.times_s, self._known_s, self._able_s):
                np.minimum(times_s, time_s, out=times_s)
        self._count(time_s, known, able)
        if self._phases is None:
            self._phases = np.full(self.n, -1, np.int8)
        spent = 0
        if phases.tobytes() != self._phases.tobytes():
            changed = (phases >= 0) & (self._phases >= 0) & (phases != self._phases)
            self.times_s[1:, changed] = self.times_s[:-1, changed]
            self.times_s[0, changed] = time_s
            self._phases = np.where(phases >= 0, phases, self._phases)
            spent = int(np.count_nonzero(changed))
        if self._last_s is None:
            self._weigh(time_s, _FIRST_S, mean_square, rest_square)
        else:
            spent_s = min(max(time_s - self._last_s, 0.0), _HOUR_S)
            self._weigh(time_s, spent_s, mean_square, rest_square)
            self._adapt(time_s, spent_s)
        self._demand[0] += spent
        self._last_s = time_s

    def _count(
        self, time_s: float, known: NDArray[np.bool_] | None, able: NDArray[np.bool_] | None
    ) -> None:
        """Counts the homes. One that is seen for the first time adds its prior."""
        known = np.ones(self.n, bool) if known is None else known
        able = ~self._fixed if able is None else able
        since_s = time_s - _DAY_S
        come, self._known, self._able = _outlook.counted(
            time_s, since_s, known, able, self._known_s, self._able_s
        )
        if come:
            prior = _PRIOR_DAYS * ((self.config.wear_budget_per_day or 0.0) * come)
            self._demand = self._demand + prior * np.array((self.demand, 1.0))

    def _within_a_day(self, time_s: float) -> tuple[int, int]:
        """How many homes were known, and could be moved, in the 24 hours up to time_s."""
        since_s = time_s - _DAY_S
        known, able = (np.count_nonzero(s > since_s) for s in (self._known_s, self._able_s))
        return int(known), int(able)

    def _hour(self, time_s: float) -> int:
        return int((time_s + self.config.utc_offset_s) % _DAY_S // _HOUR_S)

    def _weigh(self, time_s: float, spent_s: float, mean_square: float, rest_square: float) -> None:
        if math.isfinite(mean_square):
            fade = math.exp(-spent_s / (_LOAD_DAYS * _DAY_S))
            hours, typical = spent_s / _HOUR_S, _LOAD[self._hour(time_s)]
            for pair, new in (
                (self._load, (mean_square, typical)),
                (self._rest, (rest_square, mean_square)),
            ):
                first, second = pair.tolist()
                pair[0], pair[1] = first * fade + hours * new[0], second * fade + hours * new[1]

    def _adapt(self, time_s: float, spent_s: float) -> None:
        hour = self._hour(time_s)
        self._begun = min(self._begun + _SPENT[hour] * spent_s / _DAY_S, 1.0)
        if self.per_day:
            now = min(max(self.demand, 1.0 / _MOST_DEMAND), _MOST_DEMAND)
            fade = math.exp(-spent_s / (_DEMAND_DAYS * _DAY_S))
            made, expected = self._demand.tolist()
            # Asked for at the present price; what was asked for at the first one is that, times
            # the demand that has raised it. That has bounds: at the floor, or while overloads
            # force switchings, nothing it does to the price changes what is spent, and it would
            # drift for weeks and need as long to return.
            self._demand[0] = max(made * fade, _LITTLE)
            due = self.per_day * _SPENT[hour] * spent_s / _DAY_S / now
            self._demand[1] = expected * fade + due

    def today(self, time_s: float) -> NDArray[np.int64]:
        """Switchings of each home in the last 24 hours, counted up to the daily cap."""
        return np.asarray(_outlook.within(self.times_s, time_s, _DAY_S)[0])

    def free(self, time_s: float) -> NDArray[np.bool_]:
        """Homes whose dwell and daily cap allow a switching now."""
        of = (self.times_s, time_s, self.config.dwell_s, _DAY_S)
        return np.asarray(_outlook.rested(*of))

    def prices(self, time_s: float) -> NDArray[np.float64]:
        """Price of switching each home now, float64[n]."""
        today, spent = _outlook.within(self.times_s, time_s, _DAY_S)
        price, per_day = self.price, self.per_day
        if per_day:
            # The demand above is that of days; this holds a day's excess down within the day.
            # On the first one, what is still to come counts as spent as planned.
            day = min(spent / per_day + 1.0 - self._begun, _MOST_DAY)
            price *= min(max(day, 1.0), _TOO_MUCH) ** _BRAKE
            price *= max(day / _TOO_MUCH, 1.0) ** _BRAKE_HARD
            price *= min(max(day, _LEAST_OF_DAY), 1.0) ** _CATCH_UP
        each = _outlook.shared(today, price, self.config.fairness, self.config.daily_cap)
        if self.config.home_prices is not None:
            each = each * np.asarray(self.config.home_prices, np.float64)
        return np.asarray(each)

    def state(self) -> dict[str, Any]:
        """The switchings so far and what prices follow from: arrays and numbers."""
        phases = np.full(self.n, -1, np.int8) if self._phases is None else self._phases.copy()
        return {"times_s": self.times_s.copy(), "phases": phases,
                "known_s": self._known_s.copy(), "able_s": self._able_s.copy(),
                "load": self._load.copy(), "demand": self._demand.copy(),
                "rest": self._rest.copy(), "begun": self._begun}  # fmt: skip

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave, or an older version did. Raises ValueError where it is of
        another street or damaged; then nothing has changed."""
        times = np.asarray(state["times_s"], np.float64)
        if times.ndim != 2 or times.shape[1] != self.n:
            raise ValueError(f"times_s: expected {self.n} homes, got shape {times.shape}")
        # Older states lack some. Homes of which nothing is kept have been there before.
        before = {"known_s": np.full(self.n, _LONG_AGO_S), "able_s": np.full(self.n, _LONG_AGO_S)}
        before["able_s"][self._fixed] = -np.inf
        seen = {k: np.array(state.get(k, v), np.float64) for k, v in before.items()}
        for name, value in seen.items():
            if value.shape != (self.n,):
                raise ValueError(f"{name}: expected {self.n} homes, got shape {value.shape}")
        for name, value in {"times_s": times, **seen}.items():
            if np.isnan(value).any():
                raise ValueError(f"{name}: expected times, got NaN")
        phases = np.array(state.get("phases", np.full(self.n, -1)), np.int8)
        if phases.shape != (self.n,) or not ((phases >= -1) & (phases <= 2)).all():
            raise ValueError(f"phases: expected {self.n} phases, got {phases}")
        pairs = {"load": self._load, "demand": self._demand, "rest": self._rest}
        pairs |= {k: np.array(state[k], np.float64) for k in pairs if k in state}
        for name, pair in pairs.items():
            if pair.shape != (2,) or not (np.isfinite(pair) & (pair >= 0)).all() or not pair[1]:
                raise ValueError(f"{name}: expected two numbers, not negative, got {pair}")
        for name in ("load", "demand"):
            if not pairs[name][0]:
                raise ValueError(f"{name}: expected two positive numbers, got {pairs[name]}")
        begun = float(state.get("begun", 1.0))
        if not 0 <= begun <= 1:
            raise ValueError(f"begun: expected a share, got {begun}")
        keep = min(len(times), len(self.times_s))
        self.times_s[:] = -np.inf
        self.times_s[:keep] = times[:keep]
        self._phases, self._last_s = phases, None
        self._known_s, self._able_s = seen["known_s"], seen["able_s"]
        if self._known_s.max(initial=_LONG_AGO_S) > _LONG_AGO_S:
            self._known, self._able = self._within_a_day(self._known_s.max())
        self._load, self._demand, self._rest = pairs["load"], pairs["demand"], pairs["rest"]
        self._begun = begun


def _unit(config: PlannerConfig, n: int) -> float:
    """What one A^2 of neutral current costs: 1, or with a feeder model W.

    Two homes that meet on one phase instead of on two cost 2 |i|^2 (R_0 + R_1 / 2) more in
    the lines and 3 beta |i|^2 in the neutral: the feeder counts as that much more beta.
    """
    if config.resistance is None:
        return 1.0
    if n < 2:
        return config.beta
    r = np.asarray(config.resistance, np.float64)
    apart = ~np.eye(n, dtype=bool)
    met = r[:, :, 0] + 0.25 * (r[:, :, 1] + r[:, :, 2])
    return float(config.beta + max(met[apart].mean(), 0.0) / 1.5)
