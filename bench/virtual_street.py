"""A street in virtual time: true loads and mains, homes whose reports may be false, the real
planner loop.

Homes are read at different moments of the last two seconds and rounded as meters round;
their loads change at different moments. The voltage of the network behind it varies by some tenths
of a volt.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from pbal_controller.balancing.phasors import TURN
from pbal_controller.config import HomeConfig, PlannerConfig, PlausibilityConfig
from pbal_controller.homes import Fleet, Home
from pbal_controller.meters import TransformerReading
from pbal_controller.moves import PlannerLoop
from pbal_protocol import records as r
from pbal_sim.mains import Mains

LOOK_S, PLAN_S = 5.0, 60.0


@dataclass
class Said:
    """What a home reports: watts and vars, the voltages, the phase."""

    p_w: float
    q_var: float
    v: list[float]
    vout_v: float
    phase: int  # 1..3
    current_a: float = math.nan  # by default that of power and voltage
    freq_hz: float = 50.0
    wh: float = 0.0


Lie = Callable[[Said, float], Said]  # (true values, time) -> what is reported


@dataclass
class VirtualStreet:
    """n homes. `watts(home, t_s)` is what a home draws; `lies` what some homes report instead."""

    n: int
    watts: Callable[[int, float], float]
    lies: dict[int, Lie] = field(default_factory=dict)
    fuse_a: float = 63.0
    seed: int = 1
    with_meter: bool = False
    bare_watts: Callable[[int, float], float] | None = None  # of what has no node, per phase
    wander_v: float = 0.3
    plausibility: PlausibilityConfig = field(default_factory=PlausibilityConfig)
    core: dict[str, Any] = field(default_factory=dict)
    obeys: bool = True  # also a home with false reports makes the moves it is ordered

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.now = 0.0
        self.mains = Mains(self.n + 3)
        self.phase = np.arange(self.n) % 3
        self.said_phase = self.phase.copy()
        self.tan_phi = self.rng.uniform(0.1, 0.4, self.n + 3)
        self.source = self.mains.config.source_v
        self.wh = np.zeros(self.n)
        self.neutral: list[float] = []
        self.doubts: list[tuple[float, int, str]] = []
        self.moves: list[tuple[float, int, int]] = []
        self.reading: TransformerReading | None = None
        homes = []
        for i in range(self.n):
            config = HomeConfig(address=i + 1, bus="s", fuse_a=self.fuse_a)
            homes.append(Home(config, SimpleNamespace(), alive=True))
        self.homes = homes
        self.loop = PlannerLoop(
            Fleet(homes), self, PlannerConfig(core=self.core), self._published,
            lambda: self.reading, lambda: 1.8e9 + self.now, self.plausibility,
        )  # fmt: skip

    # The dispatcher's interface, as the loop uses it.
    standing = SimpleNamespace(why_not=lambda now: "")

    def why_not(self, now: float) -> str:
        return ""

    def busy(self, address: int) -> bool:
        return False

    def under_way(self, address: int) -> None:
        return None

    def moving(self) -> int:
        return 0

    async def order(self, home: Home, to_phase: int, reason: str, saving: float) -> int:
        i = home.address - 1
        self.moves.append((self.now, i, to_phase))
        self.said_phase[i] = to_phase - 1
        if self.obeys or i not in self.lies:
            self.phase[i] = to_phase - 1
        return len(self.moves)

    def _published(self, kind: str, body: dict[str, Any]) -> None:
        if kind == "doubt":
            self.doubts.append((self.now, body["home"], body["why"]))

    def solve(self) -> None:
        """The true state of this moment."""
        bare = self.bare_watts or (lambda k, t: 0.0)
        p = [self.watts(i, self.now) for i in range(self.n)]
        p += [bare(k, self.now) for k in range(3)]
        self.mains.solve(np.array(p), self.tan_phi, np.append(self.phase, [0, 1, 2]), rounds=5)

    def truth_a(self) -> float:
        """The true neutral current, A."""
        return abs(self.mains.i_neutral)

    def with_phases_a(self, phases: np.ndarray) -> float:
        """What it would be with the homes on these phases, to the first order."""
        return self.mains.neutral_if(np.append(phases, [0, 1, 2]))

    def _read(self) -> None:
        """Every home's reading, as of up to 2 s ago; then the meter's."""
        end = self.now
        for homes in np.array_split(self.rng.permutation(self.n), 3):
            self.now = end - self.rng.uniform(0, 2)
            self.solve()
            for i in homes:
                self._say(int(i))
        self.now = end
        self.solve()
        m = self.mains
        if self.with_meter:
            s = m.v_phase * np.conj(m.i_phase)
            self.reading = TransformerReading(
                v=tuple(np.abs(m.v_phase)), i=tuple(np.abs(m.i_phase)),
                p_w=tuple(s.real), q_var=tuple(s.imag),
            )  # fmt: skip

    def _say(self, i: int) -> None:
        m = self.mains
        watts = self.watts(i, self.now)
        vout = abs(m.v_home[i]) + self.rng.normal(0, 0.05)
        v = [float(x) for x in np.abs(m.v_phase) + self.rng.normal(0, 0.05, 3)]
        said = Said(watts, watts * self.tan_phi[i], v, vout, int(self.said_phase[i]) + 1)
        if i in self.lies:
            said = self.lies[i](said, self.now)
        size = math.hypot(said.p_w, said.q_var) / said.vout_v if said.vout_v > 1 else 0.0
        current = size if math.isnan(said.current_a) else said.current_a
        self.wh[i] += abs(said.p_w) * LOOK_S / 3600
        home = self.homes[i]
        home.telemetry = r.Telemetry(
            va_v=round(said.v[0], 1), vb_v=round(said.v[1], 1), vc_v=round(said.v[2], 1),
            vout_v=round(said.vout_v, 1), current_a=round(current, 3), p_w=round(said.p_w, 1),
            q_var=round(said.q_var, 1), freq_hz=said.freq_hz, phase=said.phase,
            state=r.STATE_CLOSED, e_import_wh=int(said.wh or self.wh[i]),
        )  # fmt: skip
        home.sampled_at = self.now

    async def run(self, seconds: float) -> None:
        """Look every 5 s, plan every minute."""
        end = self.now + seconds
        while self.now < end:
            self.now += LOOK_S
            pull = 0.02 * (235.0 - self.source)
            self.source += pull + self.rng.normal(0, self.wander_v)
            self.mains.config = replace(self.mains.config, source_v=self.source)
            self._read()
            self.loop.judge(self.now)
            self.loop.planner.observe(
                1.8e9 + self.now, self.loop.currents(self.now), self.loop.rest(self.now)
            )
            if self.now % PLAN_S < LOOK_S:
                await self.loop.decide(self.now, "it is time")
                self.solve()
            self.neutral.append(self.truth_a())

    def play(self, seconds: float) -> VirtualStreet:
        """`run`, from where no event loop is."""
        asyncio.run(self.run(seconds))
        return self

    def moved_neutral(self, phases: np.ndarray, home: int) -> complex:
        """Phasor of all homes but one on these phases, with the loads of now."""
        own = self.mains._relative
        turned = own[: self.n] * TURN[phases]
        return complex(turned.sum() - turned[home])
