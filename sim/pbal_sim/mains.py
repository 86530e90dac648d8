"""The low-voltage mains of one transformer: three phases, a neutral, and their voltages under load.

Loads draw constant power at their own power factor; below 0.7 of nominal they turn into constant
impedance, as a solver needs and as most appliances do. The neutral current is the phasor sum of
the phase currents. Impedances: a 250 kVA transformer (4 %, X/R about 3) and 150 m of 95 mm2
aluminium cable (0.32 + j0.08 ohm/km), lumped; each home has 20 m of 16 mm2 service line.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Complex = npt.NDArray[np.complex128]
Float = npt.NDArray[np.float64]

_A = np.exp(-2j * np.pi / 3)
_ROTATION: Complex = np.array([1.0, _A, _A * _A])


@dataclass
class MainsConfig:
    """Volts, hertz, ohms."""

    nominal_v: float = 230.0
    source_v: float = 235.0
    nominal_hz: float = 50.0
    z_phase: complex = 0.056 + 0.036j
    z_neutral: complex = 0.048 + 0.012j
    z_service: complex = 0.036 + 0.002j


@dataclass
class Supply:
    """What the network gives at the transformer; faults are set here."""

    scale: list[float] = field(default_factory=lambda: [1.0, 1.0, 1.0])
    on: bool = True
    hz: float = 50.0


class Mains:
    """Solves the street. Phases are 0, 1, 2; -1 = the home is open.

    After `solve`: `v_phase` complex[3] at the homes' busbar, `v_home` complex[n] (0 when open),
    `i_home` complex[n], `i_phase` complex[3], `i_neutral` complex; all RMS phasors.
    """

    def __init__(self, homes: int, config: MainsConfig | None = None) -> None:
        self.config = config or MainsConfig()
        self.supply = Supply(hz=self.config.nominal_hz)
        self.v_phase: Complex = self.config.source_v * _ROTATION
        self.v_home: Complex = np.zeros(homes, dtype=np.complex128)
        self.i_home: Complex = np.zeros(homes, dtype=np.complex128)
        self.i_phase: Complex = np.zeros(3, dtype=np.complex128)
        self.i_neutral: complex = 0j

    def solve(
        self, p_w: Float, tan_phi: Float, phase: npt.NDArray[np.int64], rounds: int = 8
    ) -> None:
        """`p_w` watts (negative = generation), `tan_phi` = Q / P of each home."""
        c = self.config
        source = c.source_v * _ROTATION * np.asarray(self.supply.scale)
        if not self.supply.on:
            source = source * 0.0
        # A phase that is lost is an open fuse: no source behind it, nothing flows.
        lost = np.abs(source) < 0.1 * c.nominal_v
        closed = (phase >= 0) & ~lost[np.where(phase >= 0, phase, 0)]
        at = np.where(phase >= 0, phase, 0)
        s = p_w * (1.0 + 1j * tan_phi)
        v_phase = np.where(lost, source, np.where(np.abs(self.v_phase) < 1.0, source, self.v_phase))
        v_home = np.where(closed, v_phase[at], 0.0)
        i = np.zeros_like(v_home)
        knee = 0.7 * c.nominal_v
        for _ in range(rounds):
            size = np.abs(v_home)
            safe = np.where(size > 1.0, v_home, 1.0)
            # Below the knee: the admittance that it had at the knee.
            i = np.where(size >= knee, np.conj(s / safe), np.conj(s) * v_home / knee**2)
            i = np.where(closed, i, 0.0)
            i_phase = np.array([i[closed & (at == k)].sum() for k in range(3)])
            i_neutral = i_phase.sum()
            target = source - c.z_phase * i_phase - c.z_neutral * i_neutral
            target = np.where(lost, source, target)
            v_phase = 0.5 * v_phase + 0.5 * target
            v_home = np.where(closed, v_phase[at] - c.z_service * i, 0.0)
        self.v_phase = v_phase
        self.v_home = v_home
        self.i_home = i
        self.i_phase = i_phase
        self.i_neutral = complex(i_neutral)

    def neutral_if(self, phase: npt.NDArray[np.int64]) -> float:
        """Neutral current in ampere had the homes been on other phases, same powers.

        First order: each home's current keeps its size and its angle to its own voltage.
        """
        here = np.where(phase >= 0, phase, 0)
        own = self._relative
        return float(abs((own * _ROTATION[here])[phase >= 0].sum()))

    @property
    def _relative(self) -> Complex:
        v = self.v_home
        size = np.abs(v)
        unit = np.where(size > 1.0, v / np.where(size > 1.0, size, 1.0), 1.0)
        return self.i_home * np.conj(unit)
