"""Which homes are in doubt: whose reports are not plausible, why, and until when.

A home in doubt takes no part in plans; its load counts as unknown. This is no quarantine: it does
not follow from an order, and it ends by itself when the reports have been plausible for long
enough, or when a person ends it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pbal_controller.config import PlausibilityConfig
from pbal_controller.homes import Home
from pbal_controller.meters import TransformerReading
from pbal_controller.plausibility.reading import Energy, Fuse, claimed_a, contradiction
from pbal_controller.plausibility.steps import Look, Steps

log = logging.getLogger(__name__)

_DEAD_V = 50.0
#: What is wrong in one reading must be wrong for so long; the same beside the other homes.
_LASTS_S, _BESIDE_LASTS_S = 10.0, 60.0
#: More than the fuse's rating for so long: `home.fuse_a` may be too low.
_OVER_S = 600.0
#: How far a home may be from the middle of the others, volts and hertz.
_BESIDE_V, _BESIDE_HZ = 35.0, 1.0
_OTHERS = 3
#: A home in doubt again within a day stays there twice as long, up to so many times.
_AGAIN_S, _LONGEST = 86400.0, 32


@dataclass
class _State:
    fuse: Fuse
    energy: Energy = field(default_factory=Energy)
    wrong_since: dict[str, float] = field(default_factory=dict)
    last_wrong: float = -math.inf
    clear_after_s: float = 0.0
    ended: float = -math.inf
    hinted: bool = False

    def lasting(self, check: str, why: str, now: float, seconds: float) -> str:
        """`why`, once the check has found something for so long."""
        if not why:
            self.wrong_since.pop(check, None)
            return ""
        since = self.wrong_since.setdefault(check, now)
        return why if now - since >= seconds else ""


@dataclass(frozen=True)
class Change:
    """A home came into doubt, or out of it (`why` is then empty)."""

    home: Home
    why: str
    ended: str = ""


class Watch:
    """Looks at all homes and keeps `Home.doubted`. Times are monotonic seconds."""

    def __init__(self, homes: Sequence[Home], config: PlausibilityConfig) -> None:
        self.homes = list(homes)
        self._config = config
        self._states = [_State(Fuse(home.config.fuse_a)) for home in self.homes]
        self._steps = Steps(len(self.homes), config.drop_floor_ohm)

    def look(self, now: float, max_age_s: float, meter: TransformerReading | None) -> list[Change]:
        """Check the latest readings; returns the homes that came into doubt or out of it."""
        if not self._config.enabled or not self.homes:
            return []
        fresh = [home.age_s(now) <= max_age_s for home in self.homes]
        beside = self._beside(fresh)
        by_steps = self._steps.take(self._seen(fresh, meter))
        changes = []
        for index, (home, state) in enumerate(zip(self.homes, self._states, strict=True)):
            if not fresh[index]:
                state.fuse.forget()
                state.wrong_since.clear()
                if home.doubted:  # silence proves nothing
                    state.last_wrong = now
                continue
            why = self._wrong(home, state, now, beside[index]) or by_steps.get(index, "")
            change = self._judge(index, home, state, why, now)
            if change is not None:
                changes.append(change)
        return changes

    def doubt(self, index: int, why: str, now: float, clear_after_s: float | None = None) -> None:
        """Keep a home out of plans from now on."""
        home, state = self.homes[index], self._states[index]
        shortest = self._config.clear_s
        again = 2 * state.clear_after_s if now - state.ended <= _AGAIN_S else shortest
        state.clear_after_s = clear_after_s or min(max(again, shortest), _LONGEST * shortest)
        state.last_wrong = now
        home.doubted = why

    def release(self, home: Home) -> None:
        """End the doubt: a person has decided that the home's reports may be used again."""
        index = self.homes.index(home)
        self._end(index, -math.inf)
        self._states[index].clear_after_s = 0.0

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """The homes in doubt, for the journal: address to reason and length, s."""
        return {
            str(home.address): {"why": home.doubted, "clear_after_s": state.clear_after_s}
            for home, state in zip(self.homes, self._states, strict=True)
            if home.doubted
        }

    def restore(self, doubts: dict[str, dict[str, Any]], now: float) -> None:
        """Take up what `as_dict` gave before a restart. Raises ValueError for what is no such."""
        for index, home in enumerate(self.homes):
            told = doubts.get(str(home.address))
            if told is None:
                continue
            try:
                why, length = str(told["why"]), float(told["clear_after_s"])
            except (KeyError, TypeError) as error:
                raise ValueError(f"doubts: {error!r}") from None
            self.doubt(index, why, now, length)

    def _judge(self, index: int, home: Home, state: _State, why: str, now: float) -> Change | None:
        if why:
            state.last_wrong = now
            if home.doubted:
                return None
            self.doubt(index, why, now)
            self._steps.forget(index)
            return Change(home, why)
        if home.doubted and now - state.last_wrong >= state.clear_after_s:
            ended = home.doubted
            self._end(index, now)
            return Change(home, "", ended)
        return None

    def _end(self, index: int, now: float) -> None:
        self.homes[index].doubted = ""
        self._states[index].ended = now
        self._states[index].wrong_since.clear()
        self._steps.forget(index)

    def _wrong(self, home: Home, state: _State, now: float, beside: str) -> str:
        t = home.telemetry
        assert t is not None
        found = [
            state.lasting("reading", contradiction(t), now, _LASTS_S),
            state.fuse.blown(now, claimed_a(t)),
            state.lasting("beside", beside, now, _BESIDE_LASTS_S),
            state.energy.differs(now, t),
        ]
        self._hint(home, state, now)
        return next((why for why in found if why), "")

    def _hint(self, home: Home, state: _State, now: float) -> None:
        """Plans count a home up to its fuse: log once when that seems to be set too low."""
        amps, fuse = abs(home.current_a()), home.config.fuse_a
        over = f"{amps:.0f} A, home.fuse_a is {fuse:g} A" if amps > fuse else ""
        if state.lasting("over", over, now, _OVER_S) and not state.hinted:
            state.hinted = True
            log.warning(
                "home draws more than its fuse's rating; plans count no more than that",
                extra={"home": home.address, "why": over},
            )

    def _beside(self, fresh: list[bool]) -> list[str]:
        """For each home in what it differs from all others; empty when in nothing."""
        rows = np.full((len(self.homes), 4), math.nan)
        for index, home in enumerate(self.homes):
            t = home.telemetry
            if fresh[index] and t is not None:
                row = np.array((t.va_v, t.vb_v, t.vc_v, t.freq_hz))
                rows[index] = np.where(row > (_DEAD_V, _DEAD_V, _DEAD_V, 1.0), row, math.nan)
        words = [""] * len(self.homes)
        for k, (name, unit, apart) in enumerate(
            (("A", "V", _BESIDE_V), ("B", "V", _BESIDE_V), ("C", "V", _BESIDE_V),
             ("the mains", "Hz", _BESIDE_HZ))
        ):  # fmt: skip
            known = np.flatnonzero(np.isfinite(rows[:, k]))
            if len(known) <= _OTHERS:
                continue
            # One home among the others moves their median by less than their spread.
            middle = float(np.median(rows[known, k]))
            for index in known.tolist():
                if abs(rows[index, k] - middle) > apart:
                    words[index] = words[index] or (
                        f"{rows[index, k]:.0f} {unit} at {name}, the other homes see "
                        f"{middle:.0f} {unit}"
                    )
        return words

    def _seen(self, fresh: list[bool], meter: TransformerReading | None) -> Look:
        n = len(self.homes)
        claimed = np.full((n, 3), complex(math.nan, math.nan))
        v, vout = np.full((n, 3), math.nan), np.full(n, math.nan)
        for index, home in enumerate(self.homes):
            t = home.telemetry
            if t is None or not fresh[index] or home.phase not in (1, 2, 3):
                continue
            claimed[index] = 0.0
            claimed[index, home.phase - 1] = home.current_a()
            supply = np.array((t.va_v, t.vb_v, t.vc_v))
            v[index] = np.where(supply > _DEAD_V, supply, math.nan)
            vout[index] = t.vout_v if t.vout_v > _DEAD_V else math.nan
        seen = None if meter is None else np.array(meter.phasors_a())
        return Look(claimed, v, vout, seen)
