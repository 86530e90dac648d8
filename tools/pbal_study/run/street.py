"""A street over time: a feeder with what its loads draw, as every controller is given it."""

import numpy as np
from numpy.typing import NDArray

from ..feeder.model import Complex, Feeder, Real
from ..feeder.powerflow import PowerFlow, load_power

Watts = NDArray[np.float32]

CHUNK = 1440
"""Steps that are solved at once."""


class Street:
    """A feeder with its loads over time: what every controller is given.

    `watts` float32 [T, H + fixed loads], net (negative feeds in).
    """

    def __init__(self, feeder: Feeder, watts: Watts, step_s: int, load_model: str) -> None:
        self.feeder = feeder
        self.watts = watts
        self.step_s = step_s
        self.flow = PowerFlow(feeder, load_model)
        self.points = [*feeder.homes, *feeder.fixed]
        self.start = feeder.phases.astype(np.int8)
        self._at_joint: Real | None = None
        if len(feeder.joints):
            self._at_joint = np.eye(feeder.n_joints)[feeder.joints]

    def __len__(self) -> int:
        return len(self.watts)

    @property
    def days(self) -> float:
        """Length of the study in days."""
        return len(self) * self.step_s / 86400

    def power(self, a: int, b: int) -> Complex:
        """Complex power of all loads in steps a..b, VA, [b - a, loads]."""
        return load_power(self.watts[a:b], self.points, self.flow.load_model)

    def currents(self, a: int, b: int) -> Complex:
        """Currents of joints and fixed ports at no-load voltage, [b - a, J + fixed ports].

        A joint has one home, or all of a shared cable; its current is referred to its own phase
        voltage. A fixed port's is turned so that it counts as a home on phase A, which is how the
        optimisers see what they cannot move.
        """
        power = self.flow.expand(self.power(a, b))
        homes, joints = self.feeder.n_homes, self.feeder.n_joints
        size = np.abs(self.feeder.v0)
        out = np.empty((len(power), joints + self.feeder.n_fixed_ports), dtype=complex)
        own = np.conj(power[:, :homes]) / size[: 3 * homes : 3]
        out[:, :joints] = self.at_joints(np.asarray(own, dtype=complex))
        if power.shape[1] > homes:
            fixed = np.conj(power[:, homes:] / self.feeder.v0[3 * homes :])
            # What of it returns by the neutral: all of a load to the neutral, nothing of one
            # between two phases or behind another transformer.
            share = self.feeder.lv_i[:, 3 * homes :].sum(axis=0)
            out[:, joints:] = fixed * share * np.exp(-1j * np.angle(self.feeder.lv_v0[0]))
        return out

    def at_joints(self, of_homes: Complex) -> Complex:
        """Sums over the homes of each joint: [..., H] -> [..., J]."""
        return of_homes if self._at_joint is None else np.asarray(of_homes @ self._at_joint)

    def all_start(self) -> NDArray[np.int8]:
        """Phases of joints and fixed ports as the optimisers see them."""
        start = self.start[self.feeder.first_at]
        return np.concatenate([start, np.zeros(self.feeder.n_fixed_ports, np.int8)])

    def resistance(self) -> Real:
        """The planner's resistance array of the joints, padded with zeros for fixed ports."""
        first, fixed = self.feeder.first_at, self.feeder.n_fixed_ports
        own = self.feeder.resistance()[np.ix_(first, first)]
        return np.pad(own, ((0, fixed), (0, fixed), (0, 0)))


_RELAY_A = 100.0
"""Single-phase latching relays for homes end about here."""


def shared_cable_doubts(street: Street) -> list[str]:
    """What the relay of the fullest shared cable has to carry, as a note; none without such."""
    feeder = street.feeder
    on_each = np.bincount(feeder.joint_of)
    if not (on_each > 1).any():
        return []
    most = np.zeros(len(on_each))
    for a in range(0, len(street), CHUNK):
        drawn = street.currents(a, min(a + CHUNK, len(street)))[:, : len(on_each)]
        most = np.maximum(most, np.abs(drawn).max(axis=0))
    fullest = int(np.argmax(np.where(on_each > 1, most, -1)))
    name = feeder.homes[int(feeder.first_at[fullest])].name
    begin = "Beware: the" if most[fullest] > _RELAY_A else "The"
    return [
        f"{begin} single-phase cable of {name} and {on_each[fullest] - 1} more carries up to "
        f"{most[fullest]:.0f} A: the relay at its joint must be rated for that."
    ]
