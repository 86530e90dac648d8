"""The planner: takes readings and returns a few moves, with reasons.

Drivable from NumPy alone: `observe` readings as they come, `decide` when a decision is
due. Memory: that of outlook.py and wear.py, and n * n * 3 numbers while deciding; nothing grows
with time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import _core, _outlook
from .config import PlannerConfig
from .moves import Move, explain
from .outlook import LASTING, LATER, LOOK, MIDDLES, Outlook
from .phasors import TURN, neutral_current, phase_currents
from .waiting import put_off
from .wear import Wear

_THREE = np.arange(3, dtype=np.int8)
_LATE_S = 600.0
_EVER_S = 1e300
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
        self.outlook = Outlook(n_homes, self.config)
        self._newest_s = -np.inf
        self._decided_s = -np.inf
        self._clock_s = 0.0  # what the clock was set back by, in all
        self._behind: _Reading | None = None  # the last reading older than the newest one
        self._loose = np.ones(n_homes, bool)
        self._loose[list(self.config.fixed)] = False
        limits = self.config.limits_a
        self._least_limit_a = math.inf if limits is None else float(np.min(limits))
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
        self._newest_s = on_clock_s
        self.outlook.observe(on_clock_s, amps, other)

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
        homes, since_s = self.outlook.homes, self._since(time_s)
        known, able, now, start, count, square = _outlook.drawn(
            since_s, x, homes.seen_s, homes.last, self._loose, still
        )
        rest_square, with_rest = 0.0, max(self.outlook.rest.seen_s.tolist()) >= since_s
        if with_rest:
            rest_known = self._rest_known(time_s)
            rest = np.where(rest_known, self.outlook.rest.last, 0.0)
            rest_square = float(np.abs(neutral_current(rest, _THREE)) ** 2)
        # Half of the time between readings, and what has passed since the last.
        every_min = self.outlook.persistence.every_min
        lag_min = (time_s - self._newest_s) / 60 + max(every_min - 1, 0) / 2
        self.wear.see(time_s, x, square, lag_min, rest_square, known=known, able=able)
        if not count:
            return []
        scenarios, weights = self.outlook.scenarios(time_s, now, known)
        price = _outlook.priced(self.wear.prices(time_s), able, self.wear.free(time_s), start)
        resistance = c.resistance
        if with_rest:
            # As three more homes that stay where they are.
            now, scenarios = self.outlook.with_rest(rest, rest_known, now, scenarios)
            start = np.append(start, _THREE)
            price = np.vstack((price, np.where(np.eye(3, dtype=bool), 0.0, np.inf)))
            if resistance is not None:
                if self._padded is None:
                    self._padded = np.pad(resistance, ((0, 3), (0, 3), (0, 0)))
                resistance = self._padded
        if self._gram is not None and len(self._gram) != len(start):
            self._gram = None
        gram = self._gram = _core.build_gram(scenarios, weights, c.beta, resistance, self._gram)
        limits_a = None if self._roomy(now) else c.limits_a
        limits = {} if limits_a is None else {"limit_currents": now[None], "limits_a": limits_a}
        if 1 <= most <= 3 and len(start) <= _EXACT_HOMES and not self._over(now, start):
            best = _core.best_of(gram, start, price, most, **limits)[0]
        else:
            best = _core.solve(
                gram, start, price, max_moves=most, restarts=c.restarts, seed=c.seed,
                **limits,
            )[0]  # fmt: skip
        if best.tobytes() == start.tobytes():
            return []
        best = self._patient(time_s, start, best, price, now, known, scenarios, resistance)
        return explain(
            gram, price, start, best, now, limits_a=limits_a,
            later=scenarios[LATER] if c.predict else None, later_min=MIDDLES[LATER],
        )  # fmt: skip

    def urgent(self, time_s: float, phases: ArrayLike) -> bool:
        """True when a phase is over its limit now: do not wait for the next decision."""
        x = self._checked(phases)
        time_s = self._on_clock(time_s)
        now = np.where(self._known(time_s, x), self.outlook.homes.last, 0.0)
        rest = np.where(self._rest_known(time_s), self.outlook.rest.last, 0.0)
        return self._over(np.append(now, rest), np.append(x, _THREE))

    def state(self) -> dict[str, Any]:
        """Wear and what has been learnt: nested dicts of arrays and numbers, for a journal."""
        return {"version": 2, "wear": self.wear.state(), **self.outlook.state()}

    def load(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave, as it was or with lists for arrays.

        Raises ValueError where it is of another street or damaged; then nothing has changed.
        """
        if state.get("version") not in (1, 2):
            raise ValueError(f"planner state: version {state.get('version')!r} is not known")
        wear = Wear(self.n, self.config)
        wear.load_state(state["wear"])
        self.outlook.load(state)
        self.wear = wear

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
            self.outlook.not_after(self._newest_s)
        if (set_back or ahead) and self._behind is not None:
            reading, self._behind = self._behind, None
            if self._on_clock(reading[0]) <= self._decided_s:
                self.observe(*reading)
        return self._decided_s

    def _checked(self, phases: ArrayLike) -> NDArray[np.int8]:
        x = whole = np.asarray(phases)
        if x.shape != (self.n,):
            raise ValueError(f"phases: expected {self.n} values, got shape {x.shape}")
        if x.dtype != np.int8:
            with np.errstate(invalid="ignore"):
                whole = x.astype(np.int8)
        other = whole is not x and np.count_nonzero(whole != x)
        if other or not _outlook.on_phases(whole):
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
        return np.asarray((self.outlook.homes.seen_s >= self._since(time_s)) & (x >= 0))

    def _rest_known(self, time_s: float) -> NDArray[np.bool_]:
        return np.asarray(self.outlook.rest.seen_s >= self._since(time_s))

    def _since(self, time_s: float) -> float:
        """The time from which a reading counts as known; infinity where none does."""
        # Old data is better than none: all may be late alike, one home among others may not.
        if time_s - self._newest_s > self.config.blind_s:
            return math.inf
        return float(max(self._newest_s - self.config.stale_s, -_EVER_S))

    def _roomy(self, now: NDArray[np.complex128]) -> bool:
        """True where no phase would be over its limit though it carried all of it."""
        return self._least_limit_a == math.inf or bool(
            _outlook.most_carried(now) * (1.0 + 1e-9) <= self._least_limit_a
        )

    def _over(self, now: NDArray[np.complex128], x: NDArray[np.int8]) -> bool:
        if self.config.limits_a is None or self._roomy(now):
            return False
        return bool((np.abs(phase_currents(now, x)) > np.asarray(self.config.limits_a)).any())

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
        c, ahead = self.config, self.outlook
        moves = best != start
        if not c.predict or self._over(now, start):
            return best
        soon, lasting = scenarios[:LOOK], scenarios[-1]
        weights = ahead.weights[:LOOK], np.append(ahead.weights[LOOK:], LASTING)
        if resistance is not None:
            later = ahead.ways(time_s, now, known, scenarios)
            x = put_off(
                start, best, price, (soon, weights[0]), (later, weights[1]), c.beta, resistance
            )
            return best if self._over(now, x) else x
        # Homes that stay count in the sum only: as one load.
        later = ahead.ways_of_some(time_s, now, known, scenarios, moves, start)
        others = np.where(moves, 0.0, TURN[start])
        always = np.append(lasting[moves], lasting @ others)
        always = np.broadcast_to(always, (len(later), 1, len(always)))
        later = np.concatenate((later, always), axis=1)
        one = np.zeros(1, np.int8)
        x = start.copy()
        x[moves] = put_off(
            np.append(start[moves], one), np.append(best[moves], one),
            np.vstack((price[moves], np.zeros((1, 3)))),
            (np.column_stack((soon[:, moves], soon @ others)), weights[0]),
            (later, weights[1]), c.beta, None,
        )[:-1]  # fmt: skip
        return best if self._over(now, x) else x
