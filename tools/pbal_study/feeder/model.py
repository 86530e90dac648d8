"""A feeder reduced to what a balancing study needs: its impedance seen from the homes.

Everything between the source and the homes is linear (lines, cables, transformer), so the
whole network is one complex matrix. A *port* is a place where a load can draw current: every
movable home has three (its bus's three phases, each against the neutral), a fixed load has one
per phase. With `i` the currents drawn at the ports:

    port voltages          v     = v0 - z i
    transformer LV current i_lv  = lv_i0 + lv_i i        (three phases, leaving the transformer)
    transformer LV voltage v_lv  = lv_v0 + lv_v i        (three phases, against its neutral)
    source terminals       v_src = src_v0 + src_v i,  i_src = src_i0 + src_i i

The neutral current is the phasor sum of the three LV phase currents: what returns to the
transformer's star point, by the neutral conductor and the earth together.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Complex = NDArray[np.complex128]
Real = NDArray[np.float64]
Ints = NDArray[np.int64]

A = complex(np.exp(2j * np.pi / 3))
"""The 120 degree operator."""

PHASE_NAMES = "ABC"
LARGEST_HOME_KW = 100.0
"""No single-phase home draws as much; 100 kW are 435 A."""


@dataclass(frozen=True)
class LoadPoint:
    """A load as the feeder file describes it.

    `phase` is 0..2 for a home that a relay could move, -1 for a load that stays where it is.
    `zip_p`, `zip_q` are the constant-impedance, -current and -power shares of P and Q, valid
    between `v_min` and `v_max` (per unit of `v_base`, volts across one port); outside, the load
    behaves as OpenDSS lets it behave (see `powerflow.LoadModel`). The constant-power share goes
    with the voltage to the power of `exponent_p`, `exponent_q` (conservation voltage reduction);
    `place` is the load's place among those of the file.
    """

    name: str
    bus: str
    phase: int
    v_base: float = 230.0
    power_factor: float = 0.95
    leading: bool = False
    zip_p: tuple[float, float, float] = (0.0, 0.0, 1.0)
    zip_q: tuple[float, float, float] = (0.0, 0.0, 1.0)
    model: int = 1
    """Load model of the engine, for its habits outside the voltage band."""
    exponent_p: float = 0.0
    exponent_q: float = 0.0
    v_min: float = 0.95
    v_max: float = 1.05
    v_low: float = 0.5
    """Below this, per unit, the load is a constant impedance."""
    kw: float = 0.0
    """Rated power, drawn all the time by a fixed load that has no profile."""
    base_kw: float = 0.0
    """The same as the file writes it, before its factors for all loads."""
    parts: int = 1
    """Ports that share the load's power evenly: 1, or 3 for a three-phase load."""
    place: int = 0
    nodes: tuple[int, int, int] = (1, 2, 3)
    """The bus's node numbers for phases A, B and C: conductors may be transposed on the way."""
    service: str = ""
    """How the engine is told to join the home's own single-phase cable to node {}."""
    parts_of_it: "tuple[LoadPoint, ...]" = ()
    """Further loads of the same customer, at the same place: they and this one draw equal shares of
    the power, each by its own model."""

    @property
    def tan(self) -> float:
        """Vars per watt by the power factor, negative for a leading one."""
        size = float(np.sqrt(1 - self.power_factor**2) / self.power_factor)
        return -size if self.leading else size

    @property
    def held_var(self) -> float | None:
        """The vars of models 6 and 7: those of the file, whatever the load draws; else None."""
        return self.base_kw * 1000 * self.tan if self.model in (6, 7) else None

    @property
    def written(self) -> "tuple[LoadPoint, ...]":
        """The loads of the file that this one stands for, itself first."""
        return self, *self.parts_of_it


@dataclass(frozen=True)
class Transformer:
    """The transformer whose loading and ageing is studied. `rated_kva` 0 means unknown."""

    name: str
    rated_kva: float
    lv_volts: float
    """Rated line-to-line voltage of the low-voltage winding, in volts."""
    element: str = ""
    """The engine's name of it, such as Transformer.tr1; of the source where there is none."""

    @property
    def rated_current_a(self) -> float:
        """Rated phase current of the low-voltage winding, in amperes."""
        return self.rated_kva * 1000 / (np.sqrt(3) * self.lv_volts) if self.lv_volts else 0.0


@dataclass(frozen=True)
class Feeder:
    """The reduced network. P ports, of which the first 3*H belong to the H movable homes.

    Home h on phase p draws at port 3*h + p; the fixed loads' ports follow in load order.
    """

    name: str
    homes: tuple[LoadPoint, ...]
    fixed: tuple[LoadPoint, ...]
    v0: Complex
    z: Complex
    lv_i0: Complex
    lv_i: Complex
    lv_v0: Complex
    lv_v: Complex
    src_v0: Complex
    src_v: Complex
    src_i0: Complex
    src_i: Complex
    transformer: Transformer
    service_ohm: Complex = field(default_factory=lambda: np.zeros((0, 0), dtype=complex))
    """Impedance of the single-phase cables between homes and joints, part of `z`, [H, H]: on the
    diagonal a home's own way, beside it what two homes have in common. Empty for none."""
    joints: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """The joint that each home hangs on, [H], numbered in the order of their first homes: homes of
    one shared cable are moved together, by one relay. Empty where each home has its own."""
    exact: bool = True
    """False where there is no network model: then voltages and losses mean nothing."""
    notes: tuple[str, ...] = field(default=())

    @property
    def n_homes(self) -> int:
        """Number of homes that could be moved."""
        return len(self.homes)

    @property
    def joint_of(self) -> Ints:
        """The joint that each home hangs on, [H]."""
        return self.joints if len(self.joints) else np.arange(self.n_homes)

    @property
    def first_at(self) -> Ints:
        """The first home of each joint, [J]: a relay moves it and all others of its joint."""
        if not len(self.joints):
            return np.arange(self.n_homes)
        return np.unique(self.joints, return_index=True)[1].astype(np.int64)

    @property
    def n_joints(self) -> int:
        """Number of relays that would move every home."""
        return len(self.first_at)

    @property
    def n_fixed_ports(self) -> int:
        """Number of ports of the loads that stay where they are."""
        return sum(load.parts for load in self.fixed)

    @property
    def phases(self) -> Ints:
        """The phase each home is on as built, 0..2; shape [H]."""
        return np.array([home.phase for home in self.homes], dtype=np.int64)

    def resistance(self) -> Real:
        """Re(Z) between homes by relative phase, ohms, shape [H, H, 3], as the planner needs it.

        Entry [h, g, d] is seen by home h when it sits d phases after home g: the mean over the
        three places where the pair can then be.
        """
        h = self.n_homes
        z = self.z[: 3 * h, : 3 * h].real.reshape(h, 3, h, 3)
        out = np.empty((h, h, 3))
        for d in range(3):
            out[:, :, d] = sum(z[:, (p + d) % 3, :, p] for p in range(3)) / 3
        return out


def ideal_feeder(
    homes: list[LoadPoint],
    *,
    volts: float = 230.0,
    phase_ohm: complex = 0j,
    neutral_ohm: complex = 0j,
    rated_kva: float = 0.0,
) -> Feeder:
    """A list of homes without a network: stiff supply, optionally one shared main.

    All homes sit at the end of one main of `phase_ohm` per phase and `neutral_ohm` in the
    return. With both zero the voltages stay at `volts` and losses are not defined.
    """
    h = len(homes)
    ports = 3 * h
    phase = np.tile(np.arange(3), h)
    same_phase = phase[:, None] == phase[None, :]
    z = np.where(same_phase, phase_ohm, 0) + np.full((ports, ports), neutral_ohm, dtype=complex)
    source = np.array([volts * A**-k for k in range(3)], dtype=np.complex128)
    to_phase = (np.arange(3)[:, None] == phase[None, :]).astype(complex)
    nothing = np.zeros(3, dtype=complex)
    no_rows = np.zeros((3, ports), dtype=complex)
    modelled = bool(phase_ohm or neutral_ohm)
    note = "No feeder model: a list of homes behind one shared main."
    if not modelled:
        note = "No feeder model: voltages are held at nominal; losses and voltages are not studied."
    return Feeder(
        name="list of homes",
        homes=tuple(homes),
        fixed=(),
        v0=source[phase],
        z=z.astype(complex),
        lv_i0=nothing,
        lv_i=to_phase,
        lv_v0=source,
        lv_v=no_rows,
        src_v0=source,
        src_v=no_rows,
        src_i0=nothing,
        src_i=to_phase,
        transformer=Transformer("transformer", rated_kva, volts * float(np.sqrt(3))),
        exact=modelled,
        notes=(note,),
    )
