"""When to decide, on which data, and how much may move: the planner's surroundings.

Readings go to the planner every few seconds; a decision is made every `every_s`, and at once when a
phase is overloaded. No decision is made while too few homes are fresh; one that was due meanwhile
is made once, as soon as enough are. What the planner proposes is checked again, home by home,
before it is ordered.
"""

from __future__ import annotations

import asyncio
import cmath
import dataclasses
import logging
import math
import time
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

from pbal_controller.balancing import Move, Planner
from pbal_controller.balancing import PlannerConfig as CoreConfig
from pbal_controller.balancing.phasors import TURN
from pbal_controller.balancing.wear import Wear
from pbal_controller.config import PlannerConfig, PlausibilityConfig
from pbal_controller.documents import toml_value
from pbal_controller.errors import ConfigError
from pbal_controller.homes import ROTATION, Fleet
from pbal_controller.meters import TransformerReading
from pbal_controller.moves import memory as planner_memory
from pbal_controller.moves.dispatcher import Dispatcher
from pbal_controller.moves.dryrun import DryRun
from pbal_controller.moves.held import Held, Hold
from pbal_controller.plausibility import Watch, WordBound
from pbal_controller.standing import Mode, Restraint
from pbal_host.tables import meant

log = logging.getLogger(__name__)

_TICK_S = 0.5
_BOUND = "bound"  # in the memory, beside what the planner keeps


def core_config(config: PlannerConfig) -> CoreConfig:
    """The balancing core's own configuration. Raises ConfigError for what it does not know."""
    known = {field.name: field for field in dataclasses.fields(CoreConfig)}
    values: dict[str, Any] = dict(config.core)
    wrong = sorted(set(values) - set(known))
    if wrong:
        raise ConfigError(
            f"planner.core.{wrong[0]}: is not a known key{meant(wrong[0], known)}; "
            f"the planner knows {', '.join(sorted(known))}",
            ("planner", "core", wrong[0]),
        )
    for name, value in values.items():
        kind = str(known[name].type)
        if (isinstance(value, str) and "str" not in kind) or (
            isinstance(value, bool) and "bool" not in kind
        ):
            raise ConfigError(
                f"planner.core.{name}: must be a number (it is {toml_value(value)})",
                ("planner", "core", name),
            )
        # TOML writes 300 for 300.0; the core's arrays take their type from the value.
        if "float" in str(known[name].type) and type(value) is int:
            values[name] = float(value)
    if "limits_a" not in values and config.phase_limit_a is not None:
        values["limits_a"] = config.phase_limit_a
    try:
        # For the typical day that a street starts from, so an hour's error does not matter.
        values.setdefault("utc_offset_s", float(time.localtime().tm_gmtoff))
        return CoreConfig(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"planner.core: {error}", ("planner", "core")) from None


class PlannerLoop:
    """Feeds the planner and orders what it proposes."""

    def __init__(
        self,
        fleet: Fleet,
        dispatcher: Dispatcher,
        config: PlannerConfig,
        publish: Callable[[str, dict[str, Any]], None],
        meter: Callable[[], TransformerReading | None] = lambda: None,
        wall: Callable[[], float] = time.time,
        plausibility: PlausibilityConfig | None = None,
        restraint: Restraint | None = None,
    ) -> None:
        self.restraint = restraint or Restraint()
        self._fleet = fleet
        self._homes = list(fleet)
        self._dispatcher = dispatcher
        self._config = config
        self._publish = publish
        self._meter = meter
        self._wall = wall
        self.planner = Planner(len(self._homes), core_config(config)) if self._homes else None
        checks = plausibility or PlausibilityConfig()
        self.watch = Watch(self._homes, checks)
        fuses_a = [home.config.fuse_a for home in self._homes]
        self.bound = WordBound(fuses_a, strict=checks.strict)
        self.dry_run: DryRun | None = None
        self._worn: Wear | None = None  # what relays were really spent on, during a dry run
        self.decisions_total = 0
        self.skipped_total = 0
        self._missed = False  # the last decision was skipped because homes were stale
        self.last_decision: dict[str, Any] = {}
        self.last_decide_s = 0.0
        self._planner_s = 0.0
        self._planner_at = time.monotonic()

    def planner_time_s(self) -> float:
        """Site time that only grows, as the planner's memory of wear and steps needs it.

        A clock that was wrong and is set back would leave switchings at future times, after which
        no dwell would end.
        """
        now = time.monotonic()
        self._planner_s = max(self._planner_s + now - self._planner_at, self._wall())
        self._planner_at = now
        return self._planner_s

    @property
    def held_back_total(self) -> int:
        """Moves not ordered because they would depend on one home's reports."""
        return self.bound.held_back_total

    def as_dict(self) -> dict[str, Any]:
        """For the status."""
        return {
            "enabled": self._config.enabled,
            "dry_run": self.dry_run.as_dict() if self.dry_run is not None else None,
            "every_s": self._config.every_s,
            "decisions": self.decisions_total,
            "skipped": self.skipped_total,
            "held_back": self.held_back_total,
            "last": self.last_decision,
        }

    def memory(self) -> bytes | None:
        """What the planner has learnt, for the journal; None without homes."""
        if self.planner is None:
            return None
        state = self.planner.state() | {_BOUND: self.bound.state()}
        if self._worn is not None:
            state["wear"] = self._worn.state()
        return planner_memory.pack(state, [home.address for home in self._homes])

    def remember(self, blob: bytes | None) -> None:
        """Take up what `memory` gave before a restart; what does not fit is left."""
        if self.planner is None or blob is None:
            return
        try:
            state = planner_memory.unpack(blob, [home.address for home in self._homes])
            # From a run whose clock was ahead: as if it had been just now.
            times = state["wear"]["times_s"]
            state["wear"]["times_s"] = np.minimum(times, self.planner_time_s())
            bound = state.pop(_BOUND, None)  # none from older versions
            self.planner.load(state)
            if bound is not None:
                self.bound.load(bound)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("the planner starts with an empty memory", extra={"why": str(error)})
            self.planner = Planner(len(self._homes), core_config(self._config))

    async def run(self, beat: Callable[[], None]) -> None:
        """Decide until cancelled."""
        loop = asyncio.get_running_loop()
        next_observe = 0.0
        next_decide = loop.time() + self._config.settle_s
        settled = next_decide
        last_overload = -math.inf
        while True:
            await asyncio.sleep(_TICK_S)
            now = loop.time()
            if self.planner is None:
                beat()
                continue
            again = self._missed and not self.stale(now)
            if now >= next_observe or again:
                next_observe = now + self._config.observe_every_s
                self.judge(now)
                self.planner.observe(self.planner_time_s(), self.currents(now), self.rest(now))
                dry = self._in_dry_run()
                if dry is not None:
                    dry.sample(self.neutral_a(now), now, self._config.max_age_s, self._wall())
            overload = self.overload(now)
            urgent = (
                overload != ""
                and now >= settled
                and now - last_overload >= self._config.overload_hold_s
            )
            if now >= next_decide or urgent or again:
                if urgent:
                    last_overload = now
                next_decide = now + self._config.every_s
                if self._config.enabled:
                    on_time = "homes are fresh again" if again else "it is time"
                    await self.decide(now, overload or on_time)
            beat()

    def judge(self, now: float) -> None:
        """Check the homes' reports; log which came into doubt or out of it."""
        for change in self.watch.look(now, self._config.max_age_s, self._meter()):
            home, why = change.home.address, change.why
            if why:
                log.error("home in doubt", extra={"home": home, "why": why})
            else:
                log.info("home no longer in doubt", extra={"home": home, "was": change.ended})
            self._publish("doubt", {"home": home, "why": why, "was": change.ended})

    def currents(self, now: float) -> np.ndarray[Any, np.dtype[np.complex128]]:
        """complex[n] A of every home in order, NaN where it is not fresh or in doubt."""
        values = np.full(len(self._homes), complex(math.nan, math.nan))
        for index, home in enumerate(self._homes):
            if home.age_s(now) <= self._config.max_age_s:
                values[index] = home.counted_a()
        return values

    def rest(self, now: float) -> np.ndarray[Any, np.dtype[np.complex128]] | None:
        """complex[3] A: what loads each phase beside the fresh homes; None without a meter."""
        meter = self._meter()
        if meter is None:
            return None
        sums = self._fleet.phase_sums(now, self._config.max_age_s)
        return np.asarray(np.array(meter.phasors_a()) - np.array(sums))

    def neutral_at_transformer_a(self) -> complex | None:
        """Phasor of the neutral current, A, by the meter; None where it does not tell."""
        meter = self._meter()
        if meter is None:
            return None
        total = sum(a * turn for a, turn in zip(meter.phasors_a(), ROTATION[1:], strict=True))
        return None if cmath.isnan(total) else complex(total)

    def neutral_a(self, now: float) -> complex:
        """Phasor of the neutral current, A: by the meter, else the sum of the fresh homes."""
        measured = self.neutral_at_transformer_a()
        if measured is None:
            sums = self._fleet.phase_sums(now, self._config.max_age_s)
            measured = sum((a * t for a, t in zip(sums, ROTATION[1:], strict=True)), 0j)
        return measured

    def overload(self, now: float) -> str:
        """Which phase carries more than the limit, in words; empty when none does.

        The transformer's meter, where there is one, measures what no node measures; the larger of
        its reading and the homes' sum counts.
        """
        limit = self.restraint.limit_a(self._config.phase_limit_a)
        if limit is None:
            return ""
        amps = [abs(s) for s in self._fleet.phase_sums(now, self._config.max_age_s)]
        meter = self._meter()
        if meter is not None:
            amps = [max(a, b) for a, b in zip(amps, meter.i, strict=True)]
        for name, total in zip("ABC", amps, strict=True):
            if total > limit:
                return f"overload: phase {name} carries {total:.0f} A, limit {limit:.0f} A"
        return ""

    def blocked(self, now: float) -> Held | None:
        """Why no plan may be made now; None when one may."""
        if restrained := self.restraint.why_not():
            return Held(Hold.RESTRAINED, restrained)
        if self.dry_run is None:
            if standing := self._dispatcher.standing.why_not(now):
                return Held(Hold.STANDING_DOWN, f"standing down: {standing}")
            if trouble := self._dispatcher.why_not(now):
                return Held(Hold.NO_ORDERS, trouble)
        if stale := self.stale(now):
            return Held(Hold.STALE, stale)
        return None

    def stale(self, now: float) -> str:
        """Why too few homes are fresh for a plan; empty when enough are."""
        reachable = [home for home in self._homes if home.session is not None]
        fresh = sum(home.age_s(now) <= self._config.max_age_s for home in reachable)
        need = self._config.min_fresh_share * len(reachable)
        if not reachable or fresh < need:
            return f"stale: {fresh} of {len(reachable)} homes are fresh, {math.ceil(need)} needed"
        return ""

    def room(self) -> int:
        """How many more homes may start moving now."""
        share = self.restraint.moving_share(self._config.max_moving_share)
        allowed = max(1, int(share * len(self._homes)))
        return max(0, allowed - self._dispatcher.moving())

    def _in_dry_run(self) -> DryRun | None:
        """The dry run, where the configuration or HQ wants one; begun and ended here."""
        assert self.planner is not None
        if self._config.dry_run or self.restraint.mode is Mode.DRY_RUN:
            if self.dry_run is None:
                self.dry_run = DryRun(self._homes)
                # Moves that are not made wear no relays.
                self._worn, self.planner.wear = self.planner.wear, deepcopy(self.planner.wear)
        elif self.dry_run is not None:
            self.dry_run = None
            if self._worn is not None:
                self.planner.wear, self._worn = self._worn, None
        return self.dry_run

    async def decide(self, now: float, cause: str) -> int:
        """Make one decision and order its moves. Returns how many were ordered."""
        assert self.planner is not None
        dry = self._in_dry_run()
        held = self.blocked(now)
        self._missed = held is not None and held.by is Hold.STALE
        room = self.room()
        if held is None and room == 0:
            held = Held(Hold.FULL, "as many homes are moving as may move at once")
        if held is not None:
            self.skipped_total += 1
            self._note({"time_s": self._wall(), "cause": cause, "skipped": held.why, "moves": 0})
            return 0
        phases = np.full(len(self._homes), -1, np.int64)
        immovable = []
        under_way: dict[int, tuple[int, int]] = {}
        for index, home in enumerate(self._homes):
            fresh = home.age_s(now) <= self._config.max_age_s
            if fresh and home.phase and not home.doubted:
                phases[index] = home.phase - 1
            # The node would only wait for less load until the command expires (S6).
            heavy = abs(home.current_a()) > self._config.max_switch_a
            if home.immovable(now) or heavy or self._dispatcher.busy(home.address):
                immovable.append(index)
            way = self._dispatcher.under_way(home.address)
            if way is not None:
                under_way[index] = (way[0] - 1, way[1] - 1)
        measured = self.neutral_at_transformer_a()
        if dry is not None:
            dry.see()
            phases = dry.phases(phases)
            if measured is not None:
                measured = dry.would_be(measured, now, self._config.max_age_s)
        most = self.planner.config.max_moves
        began = time.perf_counter()
        # In a thread: a large site's decision takes longer than a frame.
        moves = await asyncio.to_thread(
            self.planner.decide,
            self.planner_time_s(),
            phases,
            immovable=immovable,
            max_moves=room if most < 0 else min(room, most),
        )
        proposed = len(moves)
        rest = self.rest(now)
        others = 0j if rest is None else complex((np.nan_to_num(rest) * TURN[:3]).sum())
        moves = await asyncio.to_thread(
            self.bound.admit, moves, phases, self.currents(now), rest_a=others,
            measured_a=measured, under_way=under_way,
        )  # fmt: skip
        self.last_decide_s = time.perf_counter() - began
        self.decisions_total += 1
        ordered = 0
        would_move = []
        for move in moves[:room]:
            if dry is not None:
                would_move.append(dry.take(move, self._wall()))
            else:
                ordered += await self._order(move, now)
        self._note(
            {
                "time_s": self._wall(),
                "cause": cause,
                "skipped": "dry run: nothing is ordered" if dry else "",
                "moves": ordered,
                **({"would_move": would_move} if dry is not None else {}),
                "held_back": proposed - len(moves),
                "took_s": round(self.last_decide_s, 6),
            }
        )
        return ordered

    async def _order(self, move: Move, now: float) -> bool:
        home = self._homes[move.home]
        why = home.immovable(now)
        if why or home.phase != move.from_phase + 1:
            log.info("move dropped", extra={"home": home.address, "why": why or "moved meanwhile"})
            return False
        command = await self._dispatcher.order(
            home, move.to_phase + 1, move.reason, float(move.saving)
        )
        return command is not None

    def _note(self, decision: dict[str, Any]) -> None:
        self.last_decision = decision
        self._publish("decision", decision)
