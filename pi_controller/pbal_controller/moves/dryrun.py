"""Plans that are made and explained, and never ordered; and what they would have saved.

Each home has the phase it would be on, had every plan been carried out at once. The planner decides
on those, so that its next plan builds on its last; the neutral current that would flow is the
measured one with each home's own current turned to that phase. What it leaves out: a transfer that
a node would have refused or put off, and the voltage that another phase would have had.
"""

from __future__ import annotations

import cmath
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pbal_controller.balancing import Move
from pbal_controller.homes import PHASE_NAMES, ROTATION, Home

_KEPT_MOVES = 50
_KEPT_SAMPLES = 900


class DryRun:
    """The arrangement of homes as it would be. Phases here are 1..3, 0 for unknown."""

    def __init__(self, homes: Sequence[Home]) -> None:
        self._homes = homes
        self._measured = [0] * len(homes)
        self._phases = [0] * len(homes)
        self.moves: deque[dict[str, Any]] = deque(maxlen=_KEPT_MOVES)
        self.moves_total = 0
        self.history: deque[tuple[float, float]] = deque(maxlen=_KEPT_SAMPLES)
        self._since_s = 0.0
        self._n = 0
        # Sums over the samples: of |I|, A, and of |I|^2, A^2; as measured, as it would be.
        self._sums = np.zeros((2, 2))

    def see(self) -> None:
        """Take over the homes' phases, also of those that moved by themselves or by hand."""
        for index, home in enumerate(self._homes):
            if home.phase and home.phase != self._measured[index]:
                self._measured[index] = self._phases[index] = home.phase

    def phases(self, measured: NDArray[np.int64]) -> NDArray[np.int64]:
        """int64[n], 0..2 or -1 where `measured` does not know: what the planner is to decide on."""
        would = np.asarray(self._phases, np.int64) - 1
        return np.where(measured < 0, measured, would)

    def take(self, move: Move, wall: float) -> dict[str, Any]:
        """A move that would be ordered now; returns it in the words of a decision."""
        home = self._homes[move.home].address
        self._phases[move.home] = move.to_phase + 1
        self.moves_total += 1
        self.moves.append(
            {
                "issued_s": round(wall, 3),
                "home": home,
                "from": move.from_phase + 1,
                "to": move.to_phase + 1,
                "state": "not ordered",
                "detail": "",
                "reason": move.reason,
                "saving": float(move.saving),
            }
        )
        begin, end = (PHASE_NAMES[phase + 1] for phase in (move.from_phase, move.to_phase))
        return {"home": home, "from": begin, "to": end, "why": move.reason}

    def would_be(self, measured: complex, now: float, max_age_s: float) -> complex:
        """The neutral current as it would be, A, from the measured one; both in phase A's frame."""
        for index, home in enumerate(self._homes):
            turned = ROTATION[self._phases[index]] - ROTATION[self._measured[index]]
            if turned and home.phase and home.age_s(now) <= max_age_s:
                current = home.counted_a()
                if not cmath.isnan(current):
                    measured += current * turned
        return measured

    def sample(self, measured: complex, now: float, max_age_s: float, wall: float) -> None:
        """Count one moment. `measured`: the neutral current, A, in phase A's frame."""
        self.see()
        if cmath.isnan(measured):
            return
        would = abs(self.would_be(measured, now, max_age_s))
        self._since_s = self._since_s or wall
        self._n += 1
        self._sums += [[abs(measured), abs(measured) ** 2], [would, would**2]]
        self.history.append((wall, would))

    def as_dict(self) -> dict[str, Any]:
        """For the status. Losses in the neutral go with the mean square of its current."""
        mean = self._sums / max(self._n, 1)
        square = mean[0, 1]
        return {
            "since_s": round(self._since_s, 1),
            "moves": self.moves_total,
            "neutral_mean_a": round(float(mean[0, 0]), 3),
            "neutral_would_mean_a": round(float(mean[1, 0]), 3),
            "neutral_loss_cut": round(float(1 - mean[1, 1] / square), 4) if square else 0.0,
            "last_moves": list(self.moves)[-20:],
            "history": [[round(t, 1), round(a, 3)] for t, a in self.history],
        }
