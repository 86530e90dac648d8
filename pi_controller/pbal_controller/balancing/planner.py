"""The planner: takes readings and returns a few moves, with reasons.

Drivable from NumPy alone: `observe` readings as they come, `decide` when a decision is
due. Memory: readings of the last half hour, the step statistics (see persistence.py), and
n * n * 3 numbers while deciding; nothing grows with time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core, _outlook
from .config import PlannerConfig
from .lasting import Lasting
from .moves import Move, explain
from .persistence import Persistence
from .phasors import TURN, neutral_current, phase_currents
from .readings import Readings
from .waiting import gains, lumped, put_off
from .wear import COURSE, Wear

#: The time ahead in buckets, minutes; each is evaluated at its mean time.
_EDGES = np.array([0, 1, 2, 4, 8, 16, 32, 64, 128.0])
_MIDDLES = np.concatenate(([0.0], 0.5 * (_EDGES[1:-1] + _EDGES[2:] - 1)))
#: Weight of the mean of the recent past beside the steps that are on: it includes loads that recur,
#: and needs no learning. Its lag is that of a half-hour window's mean, or of two readings.
#: Infrequent readings miss steps, so it weighs more: up to _RARE_SHARE, at _RARE_MIN between them.
_RECENT_S = 900.0
_RECENT_SHARE = 0.25 * -np.expm1(-_MIDDLES / 4.0)
_RARE_SHARE = 1.6
_RARE_MIN = 15.0
#: A mean over 15 minutes smooths the steps of a load: by how much their weight is reduced there.
_RARE_STEPS = 0.7
_REST_SHARE = 0.3 - 0.4 * np.expm1(-_MIDDLES / 8.0)
#: Weight of the lasting imbalance, beside the time ahead.
_LASTING = 1.0
_THREE = np.arange(3, dtype=np.int8)
_LATE_S = 600.0
_EVER_S = 1e300
#: The bucket whose savings reasons state.
_LATER = 4
#: When a postponed move is considered again: the bucket that then begins, after 8 minutes.
_LOOK = 4
_EXACT_HOMES = 256  # best-of-K is exact up to here; beyond, it is a search

_Reading = tuple[float, NDArray[np.complex128], NDArray[np.complex128] | None]


class Planner:
    """Chooses which homes to move. One instance per transformer; not thread-safe.

    Times are seconds. A reading older than the newest one is late and left out. The time of a
    decision is now: where it is more than ten minutes before the last one, the clock was set
    back, and time goes on from where it was. Persist and restore with `state` and `load` so
    that a restart forgets neither wear nor what was learnt.
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
        self.lasting = Lasting(n_homes, COURSE)
        self._rest_lasting = Lasting(3, COURSE, pooled=False)
        self._newest_s = -np.inf
        self._decided_s = -np.inf
        self._clock_s = 0.0  # what the clock was set back by, in all
        self._behind: _Reading | None = None  # the last reading older than the newest one
        self._loose = np.ones(n_homes, bool)
        self._loose[list(self.config.fixed)] = False
        self._every = np.arange(n_homes)
        tau = self.config.horizon_min
        weights = tau * (np.exp(-_EDGES[:-1] / tau) - np.exp(-_EDGES[1:] / tau))
        self._weights = weights / weights.sum()
        self._padded: NDArray[np.float64] | None = None  # resistance with the rest's, zero
        self._gram: NDArray[np.float64] | None = None  # kept: allocation costs time

    # ------------------------------------------------------------------ public

    def observe(self, time_s: float, currents: ArrayLike, rest: ArrayLike | None = None) -> None:
        """Take one reading of every home: complex[n] A, NaN where unknown.

        time_s: when it was measured, not when it arrived. What no home can draw counts as
        unknown. rest: complex[3] A, what else loads phases A, B, C, each referred to its own
        voltage: the transformer's meter less the homes known. It is part of what is balanced.
        """
        amps = np.asarray(currents, np.complex128)
        if amps.shape != (self.n,):
            raise ValueError(f"currents: expected {self.n} values, got shape {amps.shape}")
        other = None if rest is None else np.asarray(rest, np.complex128)
        if other is not None and other.shape != (3,):
            raise ValueError(f"rest: expected 3 values, got shape {other.shape}")
        on_clock_s = self._on_clock(time_s)
        if on_clock_s < self._newest_s - _LATE_S and np.isneginf(self._decided_s):
            # No decision yet: recorded readings are replayed to it, once more from their beginning.
            self._clock_s += self._newest_s - on_clock_s
            on_clock_s = self._newest_s
        if on_clock_s < self._newest_s:
            # Late, or the clock was set back: the time of the next decision shows which.
            self._behind = (time_s, amps.copy(), None if other is None else other.copy())
            return
        self._behind = None
        self._take(on_clock_s, amps, other)

    def _take(
        self, time_s: float, amps: NDArray[np.complex128], other: NDArray[np.complex128] | None
    ) -> None:
        lag_s = max(_RECENT_S, 120.0 * self.persistence.every_min)
        hour = (time_s + self.config.utc_offset_s) % 86400.0 / 3600.0
        if other is not None:
            seen = self._rest.observe(time_s, other, lag_s)
            self._rest_lasting.observe(time_s, other, seen, hour)
        self._newest_s = time_s
        known = self._homes.observe(time_s, amps, lag_s)
        if self.config.predict:
            self.lasting.observe(time_s, amps, known, hour)
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
        immovable: Iterable[int] = (),
        max_moves: int | None = None,
    ) -> list[Move]:
        """Moves worth making now, best first. phases: int[n], 0..2, -1 open or unknown.

        immovable: homes that load the transformer but may not be moved this time, beside
            those fixed for good. max_moves: instead of the configured one, this time.
        """
        c = self.config
        most = c.max_moves if max_moves is None else max_moves
        x = self._checked(phases)
        still = self._homes_of(immovable)
        time_s = self._now(time_s)
        known, rest_known = self._known(time_s, x), self._rest_known(time_s)
        able = known & self._loose
        if still.size:
            able[still] = False
        now = np.where(known, self._homes.last, 0.0)
        count, with_rest = np.count_nonzero(known), np.count_nonzero(rest_known) > 0
        square = float((np.abs(now[known]) ** 2).sum() / count) if count else np.nan
        rest = np.where(rest_known, self._rest.last, 0.0)
        rest_square = float(np.abs(neutral_current(rest, _THREE)) ** 2) if with_rest else 0.0
        # Half of the time between readings, and what has passed since the last.
        lag_min = (time_s - self._newest_s) / 60 + max(self.persistence.every_min - 1, 0) / 2
        self.wear.see(time_s, x, square, lag_min, rest_square, known=known, able=able)
        if not count:
            return []
        scenarios, weights = self._scenarios(time_s, now, known)
        start = np.maximum(x, 0)
        price = np.empty((self.n, 3))
        price[:] = self.wear.prices(time_s)[:, None]
        price[~(able & self.wear.free(time_s))] = np.inf
        price[self._every, start] = 0.0
        resistance = c.resistance
        if with_rest:
            # As three more homes that stay where they are.
            now, scenarios = self._with_rest(rest, rest_known, now, scenarios)
            start = np.append(start, _THREE)
            price = np.vstack((price, np.where(np.eye(3, dtype=bool), 0.0, np.inf)))
            if resistance is not None:
                if self._padded is None:
                    self._padded = np.pad(resistance, ((0, 3), (0, 3), (0, 0)))
                resistance = self._padded
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
        return explain(
            gram, price, start, best, now, limits_a=c.limits_a,
            later=scenarios[_LATER] if c.predict else None, later_min=_MIDDLES[_LATER],
        )  # fmt: skip

    def urgent(self, time_s: float, phases: ArrayLike) -> bool:
        """True when a phase is over its limit now: do not wait for the next decision."""
        x = self._checked(phases)
        time_s = self._on_clock(time_s)
        now = np.where(self._known(time_s, x), self._homes.last, 0.0)
        rest = np.where(self._rest_known(time_s), self._rest.last, 0.0)
        return self._over(np.append(now, rest), np.append(x, _THREE))

    def state(self) -> dict[str, Any]:
        """Wear and what has been learnt: nested dicts of arrays and numbers, for a journal."""
        return {"version": 2, "wear": self.wear.state(), "persistence": self.persistence.state(),
                "lasting": self.lasting.state()}  # fmt: skip

    def load(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave, as it was or with lists for arrays.

        Raises ValueError where it is of another street or damaged; then nothing has changed.
        """
        if state.get("version") not in (1, 2):
            raise ValueError(f"planner state: version {state.get('version')!r} is not known")
        wear = Wear(self.n, self.config)
        wear.load_state(state["wear"])
        lasting = Lasting(self.n, COURSE)
        if "lasting" in state:  # older states have none
            lasting.load(state["lasting"])
        self.persistence.load(state["persistence"])
        self.wear, self.lasting = wear, lasting

    # ------------------------------------------------------------------ inside

    def _on_clock(self, time_s: float) -> float:
        """time_s on a clock that is never set back. Raises ValueError for no time at all."""
        if not math.isfinite(time_s):
            raise ValueError(f"time_s: expected a number of seconds, got {time_s}")
        return float(time_s) + self._clock_s

    def _now(self, time_s: float) -> float:
        """The time of a decision. Only this shows a clock set back: a reading may be late."""
        now_s = self._on_clock(time_s)
        set_back = self._decided_s - now_s > _LATE_S
        if set_back:
            self._clock_s += self._decided_s - now_s
        self._decided_s = max(now_s, self._decided_s)
        ahead = self._newest_s - self._decided_s > _LATE_S
        if ahead:  # readings of times to come are as good as of now
            self._newest_s = self._decided_s
            for seen_s in (self._homes.seen_s, self._rest.seen_s, self._times):
                np.minimum(seen_s, self._newest_s, out=seen_s)
            self.persistence.not_after(self._newest_s)
        if (set_back or ahead) and self._behind is not None:
            reading, self._behind = self._behind, None
            if self._on_clock(reading[0]) <= self._decided_s:
                self.observe(*reading)
        return self._decided_s

    def _checked(self, phases: ArrayLike) -> NDArray[np.int8]:
        x = np.asarray(phases)
        if x.shape != (self.n,):
            raise ValueError(f"phases: expected {self.n} values, got shape {x.shape}")
        with np.errstate(invalid="ignore"):
            whole = x.astype(np.int8)
        # -1 to 2 are 0 to 3 with one added, all else is more without a sign.
        if np.count_nonzero(whole != x) or np.count_nonzero((whole + 1).view(np.uint8) > 3):
            raise ValueError("phases: expected 0, 1, 2, or -1 for open or unknown")
        return whole

    def _homes_of(self, homes: Iterable[int]) -> NDArray[np.int64]:
        """Indices of homes. Raises ValueError where there are no such homes, or for a mask."""
        which = list(homes)
        if not which:
            return np.empty(0, np.int64)
        index = np.array(which, np.int64)
        mask = isinstance(which[0], (bool, np.bool_))
        if mask or index.min() < 0 or index.max() >= self.n:
            raise ValueError(f"immovable: expected homes 0 to {self.n - 1}, got {which}")
        return index

    def _known(self, time_s: float, x: NDArray[np.int8]) -> NDArray[np.bool_]:
        return self._fresh(time_s, self._homes) & np.asarray(x >= 0)

    def _rest_known(self, time_s: float) -> NDArray[np.bool_]:
        return self._fresh(time_s, self._rest)

    def _fresh(self, time_s: float, readings: Readings) -> NDArray[np.bool_]:
        # Old data is better than none: all may be late alike, one home among others may not.
        if time_s - self._newest_s > self.config.blind_s:
            return np.zeros(len(readings.seen_s), bool)
        return np.asarray(readings.seen_s >= max(self._newest_s - self.config.stale_s, -_EVER_S))

    def _with_rest(
        self,
        last: NDArray[np.complex128],
        known: NDArray[np.bool_],
        now: NDArray[np.complex128],
        scenarios: NDArray[np.complex128],
    ) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
        # Many homes as one: no steps to follow, but its mean predicts better than its last value.
        share = _REST_SHARE if self.config.predict else np.array((0.0, 1.0))
        ahead = last + share[:, None] * np.where(known, self._rest.recent - last, 0.0)
        if self.config.predict:
            ahead = np.vstack((ahead, np.where(known, self._rest_lasting.mean(), 0.0)))
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
            soon = self._currents(ahead, now, known, self._recent_share())
            lasting = np.where(known, self.lasting.mean(), 0.0)
            return np.vstack((soon, lasting)), np.append(self._weights, _LASTING)
        recent = self._ring[time_s - self._times <= self.config.window_s]
        count = np.isfinite(recent).sum(axis=0)
        mean = np.nansum(recent, axis=0) / np.maximum(count, 1)
        mean = np.where(known & (count > 0), mean, now)
        w = self.config.window_weight
        return np.stack((now, mean)), np.array((1 - w, w))

    def _recent_share(self) -> NDArray[np.float64]:
        return np.asarray(_RECENT_SHARE * (1.0 + (_RARE_SHARE - 1.0) * self._rare()))

    def _rare(self) -> float:
        """How infrequent readings are: 0 every minute, 1 every 15 minutes or less often."""
        rare = (self.persistence.every_min - 1.0) / (_RARE_MIN - 1.0)
        return min(max(rare, 0.0), 1.0)

    def _currents(
        self,
        level: NDArray[np.float64],
        now: NDArray[np.complex128],
        known: NDArray[np.bool_],
        share: NDArray[np.float64],
    ) -> NDArray[np.complex128]:
        """Forecasts of `persistence`, float[..., k, n] A, as currents; share [k] of the mean."""
        fall = 1.0 - _RARE_STEPS * self._rare()
        flat = level.reshape(-1, self.n)
        of = (self.persistence.level, now, self._homes.recent, known)
        each = np.tile(share, len(flat) // len(share)) if len(flat) > len(share) else share
        out = _outlook.currents(flat, *of, each, fall)
        return np.asarray(out.reshape(*level.shape))

    def _lean(self, now: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Fall of a home's current per ampere of a step that ends, with its reactive part:
        complex[n]."""
        real = now.real
        leans = real > 0.2 * np.abs(now)
        lean = np.ones(self.n, np.complex128)
        np.divide(now, real, out=lean, where=leans)
        return lean

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
        moves = best != start
        if not c.predict or not moves.any() or self._over(now, start):
            return best
        gain = gains(c.beta, resistance)
        rng = np.random.default_rng((c.seed, int(abs(time_s))))
        share, soon, n = self._recent_share()[_LOOK:], scenarios[:_LOOK], self.n
        lasting = scenarios[-1]
        if resistance is None:
            # Homes that stay count in the sum only: as one load.
            own, others = now[:n], np.where(moves, 0.0, TURN[start])
            amps = own + share[:, None] * np.where(known, self._homes.recent - own, 0.0)
            lean = self._lean(own) * (known * (1.0 - share[:, None]))
            lean *= 1.0 - _RARE_STEPS * self._rare()
            chances = self.persistence.chances(time_s, _EDGES[_LOOK], _MIDDLES[_LOOK:], rng)
            later = lumped(moves[:n], start[:n], amps, lean, chances)
            later[:, :, -1] += scenarios[_LOOK:-1, n:] @ others[n:]
            lasting = np.append(lasting[moves], lasting @ others)
            soon = np.column_stack((soon[:, moves], soon @ others))
        else:
            level = self.persistence.sample(time_s, _EDGES[_LOOK], _MIDDLES[_LOOK:], rng)
            later = self._currents(level, now[:n], known, self._recent_share()[_LOOK:])
            rest = np.broadcast_to(scenarios[_LOOK:-1, n:], (*later.shape[:2], len(start) - n))
            later = np.concatenate((later, rest), axis=2)
            moves = np.ones(len(start), bool)
        always = np.broadcast_to(lasting, (len(later), 1, len(lasting)))
        later = np.concatenate((later, always), axis=1)
        one = np.zeros(int(resistance is None), np.int8)
        stay = np.append(start[moves], one)
        x = start.copy()
        x[moves] = put_off(
            stay, np.append(best[moves], one), price[moves],
            (soon, self._weights[:_LOOK]),
            (later, np.append(self._weights[_LOOK:], _LASTING)),
            gain,
        )[:moves.sum()]  # fmt: skip
        return best if self._over(now, x) else x
