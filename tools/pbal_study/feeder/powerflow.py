"""Exact unbalanced AC power flow for many minutes at once.

The Z-bus fixed point: with the network linear (see `feeder`), the voltages follow from the
load currents, the load currents from the voltages. Starting at no load, each round is one
matrix product for a whole block of minutes; the error shrinks by about the relative voltage
drop each time, so four to six rounds reach a millionth of a volt. Where a feeder is heavily
overloaded that diverges; such minutes are solved one by one with a more robust method.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from . import _loads
from .loadmodel import LoadModel
from .model import Complex, Feeder, LoadPoint, Real

TOLERANCE_V = 1e-6
MAX_ROUNDS = 100
_RUN = 6  # from so many minutes between moves on, each stretch has its own small matrix


@dataclass(frozen=True)
class Flow:
    """The solution for one block of T minutes. Currents in A, voltages in V, power in W."""

    lv_current: Complex
    """Phase currents leaving the transformer, [T, 3]."""
    lv_voltage: Complex
    """Phase voltages at the transformer, [T, 3]."""
    bus_voltage: Complex
    """Voltages of all three phases at every home's bus, or where its cable joins one, [T, H, 3]."""
    home_voltage: Real
    """Magnitude at the phase each home is on, [T, H]."""
    home_current: Complex
    """Phasor current of each home, [T, H]."""
    load_w: Real
    """Power all loads drew together, [T]."""
    losses_w: Real
    """Lost in lines and transformer, [T]."""
    rounds: int

    @property
    def neutral(self) -> Complex:
        """Neutral current at the transformer, the phasor sum of the phases, [T]."""
        return np.asarray(self.lv_current.sum(axis=1))


class PowerFlow:
    """The solver for one feeder; holds the impedance in the layout the products need."""

    def __init__(self, feeder: Feeder, load_model: str = "feeder") -> None:
        self.feeder = feeder
        self.load_model = load_model
        self.model = LoadModel(feeder, load_model)
        self._zt = np.ascontiguousarray(feeder.z.T)
        self._stiff = not feeder.z.any()
        self._probe = np.ascontiguousarray(
            np.vstack([feeder.lv_i, feeder.lv_v, feeder.src_v, feeder.src_i]).T
        )
        self._probe0 = np.concatenate([feeder.lv_i0, feeder.lv_v0, feeder.src_v0, feeder.src_i0])

    def ports(self, phases: NDArray[np.int8]) -> NDArray[np.intp]:
        """Port of each load, [T, H + fixed ports], for home phases [T, H]."""
        steps, homes = phases.shape
        fixed = self.feeder.n_fixed_ports
        out = np.empty((steps, homes + fixed), dtype=np.intp)
        out[:, :homes] = phases + 3 * np.arange(homes)
        out[:, homes:] = 3 * homes + np.arange(fixed)
        return out

    def expand(self, power_va: Complex) -> Complex:
        """Splits each fixed load's power evenly over its ports: [T, loads] -> [T, port loads]."""
        fixed = self.feeder.fixed
        if all(load.parts == 1 for load in fixed):
            return power_va
        homes = self.feeder.n_homes
        columns = [power_va[:, :homes]]
        for k, load in enumerate(fixed):
            columns.append(np.repeat(power_va[:, homes + k, None] / load.parts, load.parts, axis=1))
        return np.hstack(columns)

    def solve(self, power_va: Complex, phases: NDArray[np.int8]) -> Flow:
        """Solves T minutes: `power_va` [T, H + fixed loads] in VA, `phases` [T, H] in 0..2.

        Raises InputError where the load is more than the feeder can carry (no solution).
        """
        feeder = self.feeder
        power = self.expand(power_va)
        edges = np.flatnonzero((phases[1:] != phases[:-1]).any(axis=1)) + 1
        if len(phases) > 1 and not len(edges):
            port = self.ports(phases[:1])[0]
            current, rounds = self._solve_held(power, port)
        else:
            port = self.ports(phases)
            current, rounds = self._solve_moving(power, port, edges)
        drawn = np.zeros((len(power), len(feeder.v0)), dtype=complex)
        if port.ndim == 1:
            drawn[:, port] = current
        else:
            np.put_along_axis(drawn, port, current, axis=1)
        v_all = np.broadcast_to(feeder.v0, drawn.shape)
        if port.ndim == 1:  # nothing flows at the ports that are not in use
            v_all = v_all if self._stiff else feeder.v0 - current @ self._zt[port]
            v_load = v_all[:, port]
            seen = self._probe0 + current @ self._probe[port]
        else:
            v_all = v_all if self._stiff else feeder.v0 - drawn @ self._zt
            v_load = np.take_along_axis(v_all, port, axis=1)
            seen = self._probe0 + drawn @ self._probe
        load_w = np.einsum("tl,tl->t", v_load, current.conj()).real
        source_w = np.einsum("tk,tk->t", seen[:, 6:9], seen[:, 9:12].conj()).real
        homes = feeder.n_homes
        bus = v_all[:, : 3 * homes].reshape(-1, homes, 3)
        if feeder.service_ohm.any():
            # A home's port is behind its cable, its bus of three phases before it.
            own = drawn[:, : 3 * homes].reshape(-1, homes, 3)
            alone = np.diag(feeder.service_ohm)
            shared = len(feeder.joints) > 0
            bus = bus + (feeder.service_ohm @ own if shared else alone[:, None] * own)
        return Flow(
            lv_current=seen[:, 0:3],
            lv_voltage=seen[:, 3:6],
            bus_voltage=bus,
            home_voltage=np.abs(v_load[:, :homes]),
            home_current=current[:, :homes],
            load_w=load_w,
            losses_w=source_w - load_w,
            rounds=rounds,
        )

    def _solve_held(self, power: Complex, port: NDArray[np.intp]) -> tuple[Complex, int]:
        """All minutes share one assignment: only the ports in use enter the iteration."""
        v0 = self.feeder.v0[port]
        if self._stiff:
            return self.model.current(power, np.broadcast_to(v0, power.shape)), 1
        z = np.ascontiguousarray(self._zt[np.ix_(port, port)])
        ports = np.broadcast_to(port, power.shape)
        return self._iterate(power, ports, lambda current, _: v0 - current @ z)

    def _solve_moving(
        self, power: Complex, port: NDArray[np.intp], edges: NDArray[np.intp]
    ) -> tuple[Complex, int]:
        """Assignments change before the minutes `edges`."""
        v0, zt = self.feeder.v0, self._zt
        if self._stiff:
            return self.model.current(power, v0[port]), 1
        drawn = np.zeros((len(power), len(v0)), dtype=complex)

        def all_ports(current: Complex, rows: NDArray[np.intp]) -> Complex:
            part = drawn[: len(rows)]
            part[:] = 0
            np.put_along_axis(part, port[rows], current, axis=1)
            return np.asarray(np.take_along_axis(v0 - part @ zt, port[rows], axis=1))

        starts = [0, *edges.tolist()]
        small: dict[int, Complex] = {}

        def by_stretch(current: Complex, rows: NDArray[np.intp]) -> Complex:
            fresh = v0[port[rows]]
            cuts = np.searchsorted(rows, edges)
            for k, (a, b) in enumerate(pairwise([0, *cuts.tolist(), len(rows)])):
                if a < b:
                    if k not in small:
                        used = port[starts[k]]
                        small[k] = zt[np.ix_(used, used)]
                    fresh[a:b] -= current[a:b] @ small[k]
            return fresh

        rare = len(power) >= _RUN * (len(edges) + 1)
        return self._iterate(power, port, by_stretch if rare else all_ports)

    def _iterate(
        self,
        power: Complex,
        port: NDArray[np.intp],
        volts: Callable[[Complex, NDArray[np.intp]], Complex],
    ) -> tuple[Complex, int]:
        """The fixed point itself; `volts(current, rows)` gives those minutes' port voltages.

        Minutes that have settled drop out, so the few heavily loaded ones do not delay the rest.
        """
        v = self.feeder.v0[port]
        out = self.model.current(power, v)
        rows = np.arange(len(power))
        current, still = out, np.ones(len(power), bool)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for rounds in range(1, MAX_ROUNDS + 1):
                fresh = volts(current, rows)
                still = ~_loads.settled(fresh, np.ascontiguousarray(v), TOLERANCE_V**2)
                v = fresh
                current = self.model.current(power[rows], v)
                if not still.any():
                    out[rows] = current
                    return out, rounds
                if 2 * np.count_nonzero(still) < len(rows):
                    out[rows] = current
                    rows, v, current = rows[still], v[still], current[still]
                    still = still[still]
        out[rows] = current
        bad = rows[still]
        out[bad] = self._rescue(power[bad], port[bad])
        return out, MAX_ROUNDS

    def _rescue(self, power: Complex, port: NDArray[np.intp]) -> Complex:
        """Minutes so heavily loaded that the plain iteration diverges, [B, loads].

        Each load becomes the admittance it has at the present voltage, the network is solved
        with it exactly, and half the step is taken: slow, but it holds down to a collapse.
        """
        out = np.empty_like(power)
        for k in range(len(power)):
            z = self._zt[np.ix_(port[k], port[k])].T
            v0 = self.feeder.v0[port[k]]
            v = v0
            for _ in range(5 * MAX_ROUNDS):
                y = self.model.current(power[k : k + 1], v[None])[0] / v
                fresh = np.linalg.solve(np.eye(len(v)) + z * y, v0)
                change = np.abs(fresh - v).max()
                v = (v + fresh) / 2
                if change < TOLERANCE_V:
                    break
            else:
                raise self._no_solution(power[k : k + 1])
            out[k] = self.model.current(power[k : k + 1], v[None])[0]
        return out

    @staticmethod
    def _no_solution(power: Complex) -> InputError:
        total = power.real.sum(axis=1)
        worst = int(np.argmax(np.abs(total)))
        return InputError(
            f"The power flow has no solution: the homes draw up to {total[worst] / 1000:.0f} kW "
            "together, more than this feeder can carry.",
            "Check the unit of the profiles (watts are expected) and the shares of --ev and --pv.",
        )


class MinuteFlow:
    """The same power flow one minute at a time, for the control loop: what the meters read.

    Warm-started from the minute before, so one round leaves an error below a meter's 0.5 %.
    """

    def __init__(self, flow: PowerFlow, phases: NDArray[np.int8]) -> None:
        self._flow = flow
        self.set_phases(phases)

    def set_phases(self, phases: NDArray[np.int8]) -> None:
        """Moves the homes; `phases` [H] in 0..2."""
        flow = self._flow
        port = flow.ports(phases[None])[0]
        v0 = flow.feeder.v0[port]
        z = None if flow._stiff else flow._zt[np.ix_(port, port)]
        # A home's current is reported against its own phase, as its meter sees it.
        turn = np.exp(-1j * np.angle(v0[: len(phases)]))
        self._minute = _loads.Minute(flow.model.loads, v0, z, turn)
        self._to_lv = flow.feeder.lv_i[:, port]

    def currents(self, power_va: Complex) -> Complex:
        """Home currents in amperes, each referred to its own phase voltage; power [port loads]."""
        return np.asarray(self._minute.currents(power_va))

    def transformer(self) -> Complex:
        """Phase currents at the transformer in the minute last read, [3], each referred to its
        own phase voltage: what a meter there shows, loads that stay where they are included."""
        feeder = self._flow.feeder
        turn = np.exp(-1j * np.angle(feeder.lv_v0))
        return np.asarray((feeder.lv_i0 + self._to_lv @ self._minute.drawn) * turn)


def load_power(
    watts: NDArray[np.floating], points: list[LoadPoint], load_model: str = "feeder"
) -> Complex:
    """Complex power in VA from net watts [T, loads] and each load's power factor.

    Only consumption carries reactive power; export (negative watts) is taken at unity, as
    solar inverters feed in. Loads of models 6 and 7 draw the vars of the feeder file.
    """
    free, held = np.empty(len(points)), np.zeros(len(points))
    for k, point in enumerate(points):
        vars_of = [part.held_var for part in point.written] if load_model == "feeder" else [None]
        fixed = [q for q in vars_of if q is not None]
        free[k] = point.tan * (1 - len(fixed) / len(vars_of))
        held[k] = sum(fixed)
    out = np.empty(watts.shape, dtype=complex)
    out.real = watts
    out.imag = np.maximum(watts, 0) * free + held
    return out
