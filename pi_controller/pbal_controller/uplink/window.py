"""One window's sums: a sample a second in, the fields of a Summary out. Pure.

Losses avoided, method "first-phases": at each sample the homes' present currents are put on the
phases on which each home was first heard. The loss is R * (Ia^2 + Ib^2 + Ic^2) with the resistance
of a phase (winding and line) plus the line's own for the neutral; the difference between the two
phase assignments is what pbal's moves, and the nodes' own, have avoided. Loads that are not metered
homes are left out of both sides. It is an estimate: the order in which homes were wired is taken
for what would have stayed, and the line's resistance is taken as if all current flowed its length.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

NOMINAL_V = 230.0
Three = tuple[float, float, float]
Volts = tuple[float, float, float, int]  # lowest, sum, highest, count


@dataclass(frozen=True)
class Resistance:
    """Ohms of one phase's path (winding and main line), and of the neutral's."""

    phase_ohm: float
    neutral_ohm: float

    def loss_w(self, phases: Sequence[complex], neutral: complex) -> float:
        """Loss of these currents, W."""
        return self.phase_ohm * sum(abs(i) ** 2 for i in phases) + self.neutral_ohm * (
            abs(neutral) ** 2
        )


@dataclass(frozen=True)
class Sample:
    """A site at one moment. Currents in A, energies in Wh since the sample before."""

    phases_a: Three
    neutral_a: float
    volts: tuple[Volts, Volts, Volts]  # of phases A, B, C over the homes; count 0: not heard
    import_wh: Three = (0.0, 0.0, 0.0)
    export_wh: Three = (0.0, 0.0, 0.0)
    avoided_w: float | None = None
    polls: int = 0
    answers: int = 0


@dataclass
class Window:
    """The sums of one window."""

    start_s: int
    length_s: int
    samples: int = 0
    _sum: list[float] = field(default_factory=lambda: [0.0] * 4)
    _max: list[float] = field(default_factory=lambda: [0.0] * 4)
    _square: list[float] = field(default_factory=lambda: [0.0] * 3)
    _va: float = 0.0
    _volts: list[Volts] = field(default_factory=lambda: [(math.inf, 0.0, -math.inf, 0)] * 3)
    _import: list[float] = field(default_factory=lambda: [0.0] * 3)
    _export: list[float] = field(default_factory=lambda: [0.0] * 3)
    _avoided_w: float = 0.0
    _avoided_samples: int = 0
    _polls: int = 0
    _answers: int = 0

    def add(self, sample: Sample) -> None:
        """One more second."""
        self.samples += 1
        currents = (*sample.phases_a, sample.neutral_a)
        for k, current in enumerate(currents):
            self._sum[k] += current
            self._max[k] = max(self._max[k], current)
        for k, current in enumerate(sample.phases_a):
            self._square[k] += current * current
            low, total, high, count = sample.volts[k]
            if count:
                a, b, c, n = self._volts[k]
                self._volts[k] = (min(a, low), b + total, max(c, high), n + count)
                self._va += current * total / count
            self._import[k] += sample.import_wh[k]
            self._export[k] += sample.export_wh[k]
        if sample.avoided_w is not None:
            self._avoided_w += sample.avoided_w
            self._avoided_samples += 1
        self._polls += sample.polls
        self._answers += sample.answers

    def worst_load(self, rated_a: float) -> float:
        """The worst phase's effective current over the window, of the rated current."""
        if not self.samples:
            return 0.0
        return math.sqrt(max(self._square) / self.samples) / rated_a

    def fields(self, rated_kva: float | None, every_s: float = 1.0) -> dict[str, object]:
        """The measured fields of a Summary; `every_s`: the time a sample stands for."""
        n = max(1, self.samples)
        out: dict[str, object] = {"start_s": self.start_s, "length_s": self.length_s}
        for k, p in enumerate("abcn"):
            out[f"i{p}_mean_a"] = min(6000.0, self._sum[k] / n)
            out[f"i{p}_max_a"] = min(6000.0, self._max[k])
        means: list[float] = []
        for k, p in enumerate("abc"):
            low, total, high, count = self._volts[k]
            if count:
                means.append(total / count)
                out |= {f"v{p}_min_v": low, f"v{p}_mean_v": total / count, f"v{p}_max_v": high}
            out[f"e{p}_import_kwh"] = min(655.0, self._import[k] / 1000)
            out[f"e{p}_export_kwh"] = min(655.0, self._export[k] / 1000)
        if len(means) == 3:
            out["pvur_percent"] = min(100.0, pvur_percent(means))
        if rated_kva is not None and self.samples:
            rated_a = rated_current_a(rated_kva)
            out["load_mean_percent"] = min(1000.0, self._va / n / (rated_kva * 10))
            out["load_max_percent"] = min(1000.0, 100 * max(self._max[:3]) / rated_a)
        if self._avoided_samples:
            wh = self._avoided_w * every_s / 3600
            out["losses_avoided_wh"] = max(-1_000_000, min(1_000_000, round(wh)))
            out["losses_method"] = 1
        if self._polls > 0:
            out["rs485_percent"] = max(0.0, min(100.0, 100 * self._answers / self._polls))
        out["complete_percent"] = min(100, int(100 * self.samples * every_s / self.length_s))
        return out


def pvur_percent(means_v: Sequence[float]) -> float:
    """Phase voltage unbalance rate (IEEE 141) of three mean voltages, in per cent."""
    mean = sum(means_v) / 3
    return 100 * max(abs(v - mean) for v in means_v) / mean


def rated_current_a(rated_kva: float) -> float:
    """The rated current of a phase at 230 V."""
    return rated_kva * 1000 / (3 * NOMINAL_V)


def resistance(
    rated_kva: float | None, load_loss_w: float | None, line_ohm: float | None
) -> Resistance | None:
    """Of the path from the winding to the homes; None where nothing of it is known.

    `load_loss_w` is the name plate's loss at rated current in all three phases.
    """
    winding = 0.0
    if rated_kva is not None and load_loss_w is not None:
        winding = load_loss_w / (3 * rated_current_a(rated_kva) ** 2)
    if not winding and line_ohm is None:
        return None
    return Resistance(winding + (line_ohm or 0.0), line_ohm or 0.0)
