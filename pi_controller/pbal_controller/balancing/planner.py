"""The planner: the recent past in, a few moves with reasons out.

Drivable from NumPy alone: `observe` readings as they come, `decide` when a decision is
due. Memory: readings of the last half hour, the step statistics (see persistence.py), and
n * n * 3 numbers while deciding; nothing grows with time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core
from .config import PlannerConfig
from .persistence import Persistence
from .phasors import TURN, neutral_current, phase_currents
from .waiting import gains, put_off
from .wear import Wear

#: The time ahead, minutes: each bucket counts with its mean, in the middle.
_EDGES = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128.0])
_MIDDLES = np.concatenate(([0.0], 0.5 * (_EDGES[1:-1] + _EDGES[2:] - 1)))
#: What the mean of the recent past counts for beside the steps still on: it knows of what comes
#: and goes, and needs no lessons. Its lag is that of a half-hour window's mean, or two readings'.
#: Rare readings miss steps, and it counts for more: up to so much, at so many minutes apart.
_RECENT_S = 900.0
_RECENT_SHARE = 0.25 * -np.expm1(-_MIDDLES / 4.0)
_RARE_SHARE = 1.6
_RARE_MIN = 15.0
_REST_SHARE = 0.3 - 0.4 * np.expm1(-_MIDDLES / 8.0)
_THREE = np.arange(3, dtype=np.int8)
_LATE_S = 600.0
_MOST_A = 1e4
_EVER_S = 1e300
#: When one would look again, as the bucket that then begins: after 8 minutes.
_LOOK = 4
_EXACT_HOMES = 256  # best-of-K is exact up to here; beyond, the search takes over


@dataclass(frozen=True)
class Move:
    """One switching: home index, phases 0..2, the saving expected (A^2, or W with a feeder
    model) after its price, and the reason in words."""

    home: int
    from_phase: int
    to_phase: int
    saving: float
    reason: str


class Readings:
    """The last reading of each of n loads, A, the mean of the recent past, and when."""

    def __init__(self, n: int) -> None:
        self.last = np.zeros(n, np.complex128)
        self.recent = np.zeros(n, np.complex128)
        self.seen_s = np.full(n, -np.inf)

    def observe(
        self, time_s: float, amps: NDArray[np.complex128], lag_s: float
    ) -> NDArray[np.bool_]:
        """Take one reading, NaN where unknown; returns what is known of it. lag_s: the mean's."""
        with np.errstate(over="ignore", invalid="ignore"):
            known = np.isfinite(amps) & (np.abs(amps) <= _MOST_A)
        new = -np.expm1(-(time_s - self.seen_s[known]) / lag_s)
        self.recent[known] += new * (amps[known] - self.recent[known])
        self.last[known] = amps[known]
        self.seen_s[known] = time_s
        return known


class Planner:
    """Chooses which homes to move. One instance per transformer; not thread-safe.

    Times are seconds. A reading up to ten minutes older than the newest is late and left out;
    a clock that falls back further was set, and time goes on from where it was. Persist and
    restore with `state` and `load` so that a restart forgets neither wear nor what was learnt.
    """

    def __init__(self, n_homes: int, config: PlannerConfig | None = None) -> None:
        if n_homes < 0:
            raise ValueError(f"n_homes must be zero or more, got {n_homes}")
        self.n = n_homes
        self.config = config or PlannerConfig()
        self.config.check_homes(n_homes)
        self.wear = Wear(n_homes, self.config)
        self.persistence = Persistence(n_homes)
        rows = 64
        self._times = np.full(rows, -np.inf)
        self._ring = np.full((rows, n_homes), np.nan + 0j)
        self._next = 0
        self._homes = Readings(n_homes)
        self._rest = Readings(3)
        self._newest_s = -np.inf
        self._decided_s = -np.inf
        self._clock_s = 0.0  # what the clock was set back by, in all
        self._fixed = np.zeros(n_homes, bool)
        self._fixed[list(self.config.fixed)] = True
        self._gram: NDArray[np.float64] | None = None  # kept: fresh pages cost time
        tau = self.config.horizon_min
        weights = tau * (np.exp(-_EDGES[:-1] / tau) - np.exp(-_EDGES[1:] / tau))
        self._weights = weights / weights.sum()

    # ------------------------------------------------------------------ doors

    def observe(self, time_s: float, currents: ArrayLike, rest: ArrayLike | None = None) -> None:
        """Take one reading of every home: complex[n] A, NaN where unknown.

        time_s: when it was measured, not when it arrived. What no home can draw counts as
        unknown. rest: complex[3] A, what else loads phases A, B, C, each referred to its own
        voltage: the transformer's meter less the homes known. It is balanced against.
        """
        amps = np.asarray(currents, np.complex128)
        if amps.shape != (self.n,):
            raise ValueError(f"currents: expected {self.n} values, got shape {amps.shape}")
        other = np.full(3, np.nan + 0j) if rest is None else np.asarray(rest, np.complex128)
        if other.shape != (3,):
            raise ValueError(f"rest: expected 3 values, got shape {other.shape}")
        time_s = self._on_clock(time_s, self._newest_s)
        if time_s < self._newest_s:
            return
        lag_s = max(_RECENT_S, 120.0 * self.persistence.every_min)
        self._rest.observe(time_s, other, lag_s)
        self._newest_s = time_s
        known = self._homes.observe(time_s, amps, lag_s)
        if self.config.predict:
            self.persistence.observe(time_s, np.where(known, amps.real, np.nan))
        elif time_s - self._times[self._next - 1] >= self.config.window_s / len(self._times):
            self._times[self._next] = time_s
            self._ring[self._next] = np.where(known, amps, np.nan)
            self._next = (self._next + 1) % len(self._times)

    def decide(
        self,
        time_s: float,
        phases: ArrayLike,
        *,
        immovable: Sequence[int] = (),
        max_moves: int | None = None,
    ) -> list[Move]:
        """Moves worth making now, best first. phases: int[n], 0..2, -1 open or unknown.

        immovable: homes that load the transformer but may not be moved this time, beside
            those fixed for good. max_moves: instead of the configured one, this time.
        """
        c = self.config
        most = c.max_moves if max_moves is None else max_moves
        x = self._checked(phases)
        still = np.asarray(immovable, np.int64)
        if still.size and (still.min() < 0 or still.max() >= self.n):
            raise ValueError(f"immovable: expected homes 0 to {self.n - 1}, got {list(immovable)}")
        time_s = max(self._on_clock(time_s, self._decided_s), self._decided_s)
        self._decided_s = time_s
        known = self._known(time_s, x)
        now = np.where(known, self._homes.last, 0.0)
        square = float((np.abs(now[known]) ** 2).mean()) if known.any() else np.nan
        # Half of the time between readings, and what has passed since the last.
        lag_min = (time_s - self._newest_s) / 60 + max(self.persistence.every_min - 1, 0) / 2
        rest = np.where(self._rest_known(time_s), self._rest.last, 0.0)
        self.wear.see(time_s, x, square, lag_min, float(np.abs(neutral_current(rest, _THREE)) ** 2))
        if not known.any():
            return []
        scenarios, weights = self._scenarios(time_s, now, known)
        start = np.where(x >= 0, x, 0).astype(np.int8)
        price = np.repeat(self.wear.prices(time_s)[:, None], 3, axis=1)
        movable = known & self.wear.free(time_s) & ~self._fixed
        movable[still] = False
        price[~movable] = np.inf
        price[np.arange(self.n), start] = 0.0
        resistance = c.resistance
        if self._rest_known(time_s).any():
            # As three more homes that stay where they are.
            now, scenarios = self._with_rest(time_s, now, scenarios)
            start = np.append(start, _THREE)
            price = np.vstack((price, np.where(np.eye(3, dtype=bool), 0.0, np.inf)))
            if resistance is not None:
                resistance = np.pad(resistance, ((0, 3), (0, 3), (0, 0)))
        if self._gram is not None and len(self._gram) != len(start):
            self._gram = None
        gram = self._gram = _core.build_gram(scenarios, weights, c.beta, resistance, self._gram)
        limits = {} if c.limits_a is None else {"limit_currents": now[None], "limits_a": c.limits_a}
        if 1 <= most <= 3 and len(start) <= _EXACT_HOMES and not self._over(now, start):
            best = _core.best_of(gram, start, price, most, **limits)[0]
        else:
            best = _core.solve(
                gram, start, price, max_moves=most, restarts=c.restarts, seed=c.seed,
                **limits,
            )[0]  # fmt: skip
        best = self._patient(time_s, start, best, price, now, known, scenarios, resistance)
        return self._explain(gram, price, start, best, now, scenarios)

    def urgent(self, time_s: float, phases: ArrayLike) -> bool:
        """True when a phase is over its limit now: do not wait for the next decision."""
        x = self._checked(phases)
        time_s = self._on_clock(time_s, self._decided_s)
        now = np.where(self._known(time_s, x), self._homes.last, 0.0)
        rest = np.where(self._rest_known(time_s), self._rest.last, 0.0)
        return self._over(np.append(now, rest), np.append(x, _THREE))

    def state(self) -> dict[str, Any]:
        """Wear and what has been learnt: nested dicts of arrays and numbers, for a journal."""
        return {"version": 2, "wear": self.wear.state(), "persistence": self.persistence.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave. Raises ValueError where it is of another street."""
        if state.get("version") not in (1, 2):
            raise ValueError(f"planner state: version {state.get('version')!r} is not known")
        self.wear.load_state(state["wear"])
        self.persistence.load(state["persistence"])

    # ------------------------------------------------------------------ inside

    def _on_clock(self, time_s: float, before_s: float) -> float:
        """time_s on a clock that is never set back. Raises ValueError for no time at all."""
        if not np.isfinite(time_s):
            raise ValueError(f"time_s: expected a number of seconds, got {time_s}")
        behind = before_s - (time_s + self._clock_s)
        if behind > _LATE_S:
            self._clock_s += behind
        return time_s + self._clock_s

    def _checked(self, phases: ArrayLike) -> NDArray[np.int8]:
        x = np.asarray(phases)
        if x.shape != (self.n,):
            raise ValueError(f"phases: expected {self.n} values, got shape {x.shape}")
        with np.errstate(invalid="ignore"):
            whole = x.astype(np.int8)
        if not ((whole == x) & (whole >= -1) & (whole <= 2)).all():
            raise ValueError("phases: expected 0, 1, 2, or -1 for open or unknown")
        return whole

    def _known(self, time_s: float, x: NDArray[np.int8]) -> NDArray[np.bool_]:
        # Old data is better than none: all may be late alike, one home among others may not.
        fresh = self._homes.seen_s >= max(self._newest_s - self.config.stale_s, -_EVER_S)
        blind = time_s - self._newest_s > self.config.blind_s
        return np.asarray(fresh & (x >= 0) & (not blind))

    def _rest_known(self, time_s: float) -> NDArray[np.bool_]:
        fresh = self._rest.seen_s >= max(self._newest_s - self.config.stale_s, -_EVER_S)
        return np.asarray(fresh & (time_s - self._newest_s <= self.config.blind_s))

    def _with_rest(
        self, time_s: float, now: NDArray[np.complex128], scenarios: NDArray[np.complex128]
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        known = self._rest_known(time_s)
        last = np.where(known, self._rest.last, 0.0)
        # Many homes as one: no steps to follow, but its mean tells more than its last value.
        share = _REST_SHARE if self.config.predict else np.array((0.0, 1.0))
        ahead = last + share[:, None] * np.where(known, self._rest.recent - last, 0.0)
        return np.append(now, last), np.hstack((scenarios, ahead))

    def _over(self, now: NDArray[np.complex128], x: NDArray[np.int8]) -> bool:
        if self.config.limits_a is None:
            return False
        return bool((np.abs(phase_currents(now, x)) > np.asarray(self.config.limits_a)).any())

    def _scenarios(
        self, time_s: float, now: NDArray[np.complex128], known: NDArray[np.bool_]
    ) -> tuple[NDArray[np.complex128], NDArray[np.float64]]:
        if self.config.predict:
            ahead = self.persistence.forecast(time_s, _MIDDLES)
            return self._currents(ahead, now, known, self._recent_share()), self._weights
        recent = self._ring[time_s - self._times <= self.config.window_s]
        count = np.isfinite(recent).sum(axis=0)
        mean = np.nansum(recent, axis=0) / np.maximum(count, 1)
        mean = np.where(known & (count > 0), mean, now)
        w = self.config.window_weight
        return np.stack((now, mean)), np.array((1 - w, w))

    def _recent_share(self) -> NDArray[np.float64]:
        rare = (self.persistence.every_min - 1.0) / (_RARE_MIN - 1.0)
        return np.asarray(_RECENT_SHARE * (1.0 + (_RARE_SHARE - 1.0) * min(max(rare, 0.0), 1.0)))

    def _currents(
        self,
        level: NDArray[np.float64],
        now: NDArray[np.complex128],
        known: NDArray[np.bool_],
        share: NDArray[np.float64],
    ) -> NDArray[np.complex128]:
        """Forecasts of `persistence`, float[..., k, n] A, as currents; share [k] of the mean."""
        # A step that goes takes its share of reactive current along.
        real = now.real
        with np.errstate(divide="ignore", invalid="ignore"):
            lean = np.where(real > 0.2 * np.abs(now), now / real, 1.0)
        change = np.where(known, level - self.persistence.level, 0.0)
        ahead = now + change * lean
        back = np.where(known, self._homes.recent - ahead, 0.0)
        return np.asarray(ahead + share[:, None] * back)

    def _patient(
        self,
        time_s: float,
        start: NDArray[np.int8],
        best: NDArray[np.int8],
        price: NDArray[np.float64],
        now: NDArray[np.complex128],
        known: NDArray[np.bool_],
        scenarios: NDArray[np.complex128],
        resistance: NDArray[np.float64] | None,
    ) -> NDArray[np.int8]:
        """`best` less the moves that are better put off (waiting.py); limits come first."""
        c = self.config
        if not c.predict or (best == start).all() or self._over(now, start):
            return best
        gain = gains(c.beta, resistance)
        rng = np.random.default_rng((c.seed, int(abs(time_s))))
        level = self.persistence.sample(time_s, _EDGES[_LOOK], _MIDDLES[_LOOK:], rng)
        later = self._currents(level, now[: self.n], known, self._recent_share()[_LOOK:])
        if len(start) > self.n:
            rest = np.broadcast_to(scenarios[_LOOK:, self.n :], (*later.shape[:2], 3))
            later = np.concatenate((later, rest), axis=2)
        x = put_off(
            start, best, price,
            (scenarios[:_LOOK], self._weights[:_LOOK]), (later, self._weights[_LOOK:]), gain,
        )  # fmt: skip
        return best if self._over(now, x) else x

    def _explain(
        self,
        gram: NDArray[np.float64],
        price: NDArray[np.float64],
        start: NDArray[np.int8],
        best: NDArray[np.int8],
        now: NDArray[np.complex128],
        scenarios: NDArray[np.complex128],
    ) -> list[Move]:
        """Moves in the order that saves most first, each with what it saves at its turn."""
        moves: list[Move] = []
        left = np.flatnonzero(best != start)
        if not left.size:
            return moves
        x, to = start[left], best[left]
        price, amps = price[left, to], now[left]
        later = scenarios[4, left] if len(scenarios) > 2 else None
        # The field of these homes alone, kept up to date as each of them moves in turn.
        q = np.arange(3)
        field = _core.fields(gram, start, left)
        among = gram[left[:, None], left]
        neutral = neutral_current(now, start)
        here = np.arange(left.size)
        waits = np.ones(left.size, bool)
        while waits.any():
            gains = 2 * (field[here, x] - field[here, to]) - price
            k = int(np.argmax(np.where(waits, gains, -np.inf)))
            was, then = int(x[k]), int(to[k])
            before = abs(neutral)
            neutral += amps[k] * (TURN[then] - TURN[was])
            reason = (
                f"{abs(amps[k]):.1f} A from {'ABC'[was]} to {'ABC'[then]}: "
                f"neutral {before:.1f} A to {abs(neutral):.1f} A"
            )
            if later is not None and abs(amps[k]) > 0:
                stays = abs(later[k]) / abs(amps[k])
                reason += f", {100 * stays:.0f} % of it expected in {_MIDDLES[4]:.0f} min"
            moves.append(Move(int(left[k]), was, then, float(gains[k]), reason))
            # C[g, h, q - x_h] = C[h, g, x_h - q]
            field += among[k][:, (then - q) % 3] - among[k][:, (was - q) % 3]
            x[k] = then
            waits[k] = False
        return moves
