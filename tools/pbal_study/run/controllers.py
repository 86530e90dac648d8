"""The controllers side by side, as phase trajectories over time.

`as built` and `best static` never switch, `pbal` runs the shipped planner causally in a control
loop, `hindsight` knows the future. All return the same thing, a `Trajectory`, and all are then
judged by the same power flow.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pbal_controller.balancing import Planner, PlannerConfig, _core
from pbal_controller.balancing.hindsight import again, at_budget, hindsight

from ..feeder.model import Complex
from ..feeder.powerflow import MinuteFlow
from .street import CHUNK, Street

Progress = Callable[[int], None]
_SHIPPED = PlannerConfig()

#: The hindsight optimum is the cheapest of so many searches, ...
_TRIES = 3
#: ... up to so many weeks: over a year one search each week takes long enough.
_WEEKS = 4


@dataclass(frozen=True)
class Loop:
    """How pbal runs: the shape of the control loop and of its imperfections."""

    period_s: int = 60
    delay_s: int = 0
    """Age of the newest reading when a decision takes effect, beyond the step it averages."""
    failure_rate: float = 0.0
    """Chance that a reading is lost, and chance that a command is not carried out."""
    dwell_s: float = _SHIPPED.dwell_s
    daily_cap: int = _SHIPPED.daily_cap
    price: float | None = _SHIPPED.price
    """What a switching must save: A^2, or watts with `use_feeder`; None: the planner decides."""
    beta: float = 1.0
    use_feeder: bool | None = False
    """Price losses with the feeder's impedance, not the neutral current alone; None: where the
    impedance is known (a study decides it when it has read the feeder)."""
    phase_limit_a: float | None = None
    """What a phase may carry at the transformer, A: an excess is brought down at any price."""
    budget_per_day: float | None = _SHIPPED.wear_budget_per_day
    others: str = "remainder"
    """What the planner knows of homes without a relay: `remainder` (a transformer meter shows what
    they draw together, per phase), `metered` (a node that only measures) or `unseen`."""
    seed: int = 1


@dataclass(frozen=True)
class Trajectory:
    """Phase of every home at every step, int8 [T, H], and how it came about.

    `start` is the phase each home has before the first step.
    """

    name: str
    title: str
    phases: NDArray[np.int8]
    start: NDArray[np.int8]
    facts: dict[str, float | int | str] = field(default_factory=dict)

    def switchings(self) -> NDArray[np.int64]:
        """Switchings of each home over the whole time, [H]; re-phasing at the start counts."""
        count: NDArray[np.int64] = (self.phases[0] != self.start).astype(np.int64)
        for a in range(0, len(self.phases) - 1, CHUNK):
            part = self.phases[a : a + CHUNK + 1]
            count = count + (part[1:] != part[:-1]).sum(axis=0, dtype=np.int64)
        return count


def as_built(street: Street) -> Trajectory:
    """Every home stays where the feeder file puts it."""
    phases = np.broadcast_to(street.start, (len(street), len(street.start)))
    return Trajectory("as_built", "As built", phases, street.start)


def best_static(street: Street, loop: Loop, progress: Progress | None = None) -> Trajectory:
    """One re-phasing of all homes on the first day, chosen with the whole period known."""
    joints = street.feeder.n_joints
    total = joints + street.feeder.n_fixed_ports
    resistance = street.resistance() if loop.use_feeder else None
    gram = np.zeros((total, total, 3))
    for a in range(0, len(street), CHUNK):
        currents = street.currents(a, min(a + CHUNK, len(street)))
        weights = np.full(len(currents), 1 / len(street))
        gram += _core.build_gram(currents, weights, loop.beta, resistance)
        if progress is not None:
            progress(len(currents))
    price = np.zeros((total, 3))
    start = street.all_start()
    price[joints:] = np.inf
    price[np.arange(joints, total), start[joints:]] = 0.0
    best, *_ = _core.solve(gram, start, price, restarts=400, seed=loop.seed)
    chosen = np.asarray(best[:joints], np.int8)[street.feeder.joint_of]
    phases = np.broadcast_to(chosen, (len(street), len(chosen)))
    return Trajectory("best_static", "Best static, in hindsight", phases, street.start)


def known_future(
    street: Street,
    relays: NDArray[np.bool_],
    peer: Trajectory | None,
    loop: Loop,
    progress: Progress | None = None,
    ready: Callable[[int], None] = lambda steps: None,
) -> Trajectory:
    """The hindsight optimum, with switching priced so that it switches as often as `peer` did.

    Neutral current only. The price is found on the middle days of the first week, at most two, so
    that both switch equally often there; for a study of no more than these days that is all. It
    holds for a week at a time (each starts where the last one ended) and follows the seasons: a
    week in which the optimum switches 10 % more or less often than its peer is done again at
    another price, at most twice. Without a peer, one switching per relay and day is the measure.
    `ready` waits until so many steps of `peer` are there.
    """
    first_at, joint_of = street.feeder.first_at, street.feeder.joint_of
    with_relay = int(relays[first_at].sum())
    total = len(first_at) + street.feeder.n_fixed_ports
    movable = np.zeros(total, bool)
    movable[: len(first_at)] = relays[first_at]
    paths = np.empty((len(street), len(joint_of)), np.int8)
    if not relays.any():
        paths[:] = street.start
        return Trajectory("hindsight", "Hindsight optimum", paths, street.start)
    per_day = round(86400 / street.step_s)
    week = 7 * per_day
    first = min(len(street), week)
    middle = max(0, (first - 2 * per_day) // 2)
    end = min(first, middle + 2 * per_day)
    sample = street.currents(middle, end)
    wanted = float(with_relay) * (end - middle) / per_day
    if peer is not None:
        ready(end)
        part = peer.phases[middle:end, first_at]
        wanted = max(1.0, float((part[1:] != part[:-1]).sum()))
    # at_budget counts per step and column, movable or not.
    found = at_budget(
        sample,
        street.all_start(),
        wanted / ((end - middle) * total),
        movable=movable,
        sweeps=25,
        seed=loop.seed,
    )
    if end - middle == len(street):
        paths[:] = found.paths[:, joint_of]
        if progress is not None:
            progress(len(street))
        return _hindsight(street, paths, [found.price], _TRIES, [found.spread])
    start = street.all_start()
    price, prices, spreads = found.price, [], []
    tries = _TRIES if len(street) <= _WEEKS * week else 1
    for a in range(0, len(street), week):
        b = min(len(street), a + week)
        if peer is None:
            wanted = float(with_relay) * (b - a) / per_day
        else:
            ready(b)
            wanted = max(1.0, float((np.diff(peer.phases[a:b, first_at], axis=0) != 0).sum()))
        currents = street.currents(a, b)
        for trial in range(3):
            best = hindsight(
                currents,
                start,
                price,
                movable=movable,
                # On a week of 60 homes the result of 25 sweeps differed by at most 2 % from that of
                # 10.
                sweeps=25,
                seed=loop.seed,
            )
            prices.append(price)
            used = best.switchings / wanted
            # The last part week is not repeated: its few switchings determine no price.
            if 0.9 < used < 1.1 or (a > 0 and b - a < week) or trial == 2:
                break
            price *= min(max(used, 0.5), 2.0) ** 1.1
        best = again(
            currents,
            start,
            best,
            (0.9 * wanted, 1.1 * wanted),
            tries,
            sweeps=25,
            seed=loop.seed,
            movable=movable,
        )
        spreads.append(best.spread)
        paths[a:b] = best.paths[:, joint_of]
        start = np.ascontiguousarray(best.paths[-1])
        if progress is not None:
            progress(b - a)
    return _hindsight(street, paths, prices, tries, spreads)


def _hindsight(
    street: Street,
    paths: NDArray[np.int8],
    prices: list[float],
    tries: int,
    spreads: list[float],
) -> Trajectory:
    facts: dict[str, float | int | str] = {
        "price_a2_minutes": float(np.median(prices)) * street.step_s / 60,
        "searches": tries,
        "search_spread_percent": round(100 * max(spreads), 2),
    }
    return Trajectory("hindsight", "Hindsight optimum", paths, street.start, facts)


def pbal(
    street: Street,
    relays: NDArray[np.bool_],
    loop: Loop,
    progress: Progress | None = None,
    steps: int | None = None,
    out: NDArray[np.int8] | None = None,
) -> Trajectory:
    """The shipped planner, causal: it never sees a reading before it could have arrived.

    Step k is decided with the mean of step k-1-delay and older. Homes without a relay have no
    node and are not seen, unless `Loop.others` says otherwise. `out` takes the phases, int8
    [steps, H], as they come about.
    """
    steps = len(street) if steps is None else steps
    phases = np.empty((steps, len(relays)), np.int8) if out is None else out
    return _Run(street, relays, loop, phases).run(progress)


class _Run:
    """One causal run; holds the state that one step hands to the next."""

    def __init__(
        self, street: Street, relays: NDArray[np.bool_], loop: Loop, phases: NDArray[np.int8]
    ) -> None:
        self.street, self.loop, self.phases = street, loop, phases
        self.joint_of = street.feeder.joint_of
        first = street.feeder.first_at
        able = relays[first]
        # Joints that have a node.
        self.nodes = np.arange(len(able)) if loop.others == "metered" else np.flatnonzero(able)
        self.delay, part = divmod(loop.delay_s, street.step_s)
        self.older = part / street.step_s  # of a reading that lies across two steps
        self.rng = np.random.default_rng([loop.seed, 5])
        # Where every load of the street has a node, the meter shows no further load.
        unknown = len(self.nodes) < len(able) or street.feeder.n_fixed_ports > 0
        self.metered_rest = loop.others == "remainder" and unknown
        still = [k for k, joint in enumerate(self.nodes) if not able[joint]]
        resistance = None
        if loop.use_feeder:
            seen = first[self.nodes]
            resistance = street.feeder.resistance()[np.ix_(seen, seen)]
        self.planner = Planner(
            len(self.nodes),
            PlannerConfig(
                price=None if loop.price is None else float(loop.price),
                beta=float(loop.beta),
                dwell_s=float(loop.dwell_s),
                daily_cap=loop.daily_cap,
                wear_budget_per_day=loop.budget_per_day,
                fixed=tuple(still),
                resistance=resistance,
                limits_a=loop.phase_limit_a,
                stale_s=max(180.0, 3.0 * street.step_s),
                seed=loop.seed,
            ),
        )

    def run(self, progress: Progress | None) -> Trajectory:
        street, phases = self.street, self.phases
        steps, now = len(phases), street.start[street.feeder.first_at]
        meter = MinuteFlow(street.flow, street.start)
        waiting: list[tuple[Complex, Complex | None]] = []
        keep = self.delay + (self.older > 0)
        asked = failed = decisions = 0
        thinking = 0.0
        power = np.empty((0, 0), complex)
        for k in range(steps):
            if k % CHUNK == 0:
                power = street.flow.expand(street.power(k, min(k + CHUNK, steps)))
                if progress is not None and k:
                    progress(CHUNK)
            if self._due(k):
                began = time.perf_counter()
                moves = self.planner.decide(k * street.step_s, now[self.nodes])
                thinking += time.perf_counter() - began
                decisions += 1
                done = [m for m in moves if self.rng.random() >= self.loop.failure_rate]
                asked += len(moves)
                failed += len(moves) - len(done)
                for move in done:
                    now[self.nodes[move.home]] = move.to_phase
                if done:
                    meter.set_phases(now[self.joint_of])
            phases[k] = now[self.joint_of]
            waiting.append(self._reading(meter, power[k % CHUNK], now))
            if len(waiting) > keep:
                own, rest = self._across(waiting)
                waiting.pop(0)
                measured_s = (k + 1) * street.step_s - self.loop.delay_s
                self.planner.observe(measured_s, self._lossy(own), rest)
        if progress is not None:
            progress((steps - 1) % CHUNK + 1)
        return Trajectory(
            "pbal",
            "pbal",
            phases,
            street.start,
            {
                "commands": asked,
                "commands_failed": failed,
                "decisions": decisions,
                "decision_ms": 1000 * thinking / max(1, decisions),
            },
        )

    def _due(self, k: int) -> bool:
        """True on the first step that begins in each period, once a reading has arrived."""
        step, period = self.street.step_s, self.loop.period_s
        arrived = k > self.delay + (self.older > 0)
        return arrived and len(self.nodes) > 0 and k * step % max(period, step) < step

    def _across(
        self, waiting: list[tuple[Complex, Complex | None]]
    ) -> tuple[Complex, Complex | None]:
        """The oldest reading that waits; with a delay of no whole steps, the mean over the time of
        one step that lies across the two oldest."""
        own, rest = waiting[0]
        if self.older == 0:
            return own.copy(), rest
        new, new_rest = waiting[1]
        own = self.older * own + (1 - self.older) * new
        if rest is not None and new_rest is not None:
            rest = self.older * rest + (1 - self.older) * new_rest
        return own, rest

    def _reading(
        self, meter: MinuteFlow, power: Complex, now: NDArray[np.int8]
    ) -> tuple[Complex, Complex | None]:
        """What the nodes measure, and the rest of the transformer's current, by its meter."""
        own = self.street.at_joints(meter.currents(power))[self.nodes]
        if not self.metered_rest:
            return own, None
        phase = now[self.nodes]
        seen = np.array([own[phase == p].sum() for p in range(3)])
        return own, meter.transformer() - seen

    def _lossy(self, reading: Complex) -> Complex:
        if self.loop.failure_rate > 0:
            reading[self.rng.random(len(reading)) < self.loop.failure_rate] = np.nan
        return reading
