"""The neutral current of a street while it runs, compared with that of a street without moves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pbal_sim.mains import Mains

_KEEP = 36000
_LAST_S = 10.0


class NeutralHistory:
    """Begins when every home has been on a phase: these are the homes' first phases."""

    def __init__(self, mains: Mains) -> None:
        self._mains = mains
        self._first: npt.NDArray[np.int64] | None = None
        self._transfers_before = 0
        self._before: list[float] = []
        self._history: list[tuple[float, float, float]] = []  # time, as it is, without moves

    def note(self, t_s: float, phases: npt.NDArray[np.int64], transfers: int) -> None:
        """The street at this moment: `phases` 0..2 per home (negative: open), changes of phase.

        Moments in which more than two homes are open are not comparable and are left out.
        """
        settled = bool((phases >= 0).sum() >= max(1, len(phases) - 2))
        if self._first is None and settled and bool((phases >= 0).all()):
            self._first = phases.copy()
            self._transfers_before = transfers
        if self._first is None or not settled:
            return
        neutral = abs(self._mains.i_neutral)
        start = np.where(phases >= 0, self._first, -1)
        self._history.append((t_s, neutral, self._mains.neutral_if(start)))
        if len(self._history) > _KEEP:
            del self._history[: _KEEP // 2]
        if transfers == self._transfers_before:
            self._before.append(neutral)

    @property
    def without_a(self) -> float | None:
        """The neutral current without moves at the last moment, in ampere."""
        return self._history[-1][2] if self._history else None

    def report(self, now_s: float) -> dict[str, float | None]:
        """Means in ampere: until the first transfer, over the last 10 s, and what it would then
        have been without any.
        """
        last = [h for h in self._history if h[0] > now_s - _LAST_S]
        return {
            "neutral_before_a": _mean(self._before),
            "neutral_after_a": _mean([h[1] for h in last]),
            "neutral_without_a": _mean([h[2] for h in last]),
        }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
