"""The OpenDSS engine as a check of our own solver."""

from pathlib import Path
from typing import Any

import numpy as np

from ..feeder.loadmodel import part_shares
from ..feeder.model import Complex, Feeder
from ..feeder.opendss import compile_feeder
from .controllers import Trajectory
from .street import Street


class Judge:
    """The OpenDSS engine, solving one minute at a time: the reference for our own solver."""

    def __init__(self, path: Path, feeder: Feeder) -> None:
        self._engine = compile_feeder(path)
        self._feeder = feeder
        self._circuit = self._engine.ActiveCircuit
        text = self._engine.Text
        text.Command = "set mode=snap controlmode=off tolerance=1e-10 maxiterations=200"
        # The watts of the street have these factors in them already.
        text.Command = "set loadmult=1 year=0"
        for load in (*feeder.homes, *feeder.fixed):
            for part in load.written:
                text.Command = f'edit "load.{part.name}" status=fixed'
        self._back = {}
        for home in feeder.homes:
            self._circuit.SetActiveElement(f"Load.{home.name}")
            back = int(self._circuit.ActiveCktElement.NodeOrder[1])
            self._back[home.name] = f".{back}"

    def solve(self, power_va: Complex, phases: Any) -> dict[str, Any]:
        """Solves one minute; `power_va` [H + fixed loads], `phases` [H] in 0..2.

        Returns lv_current [3] in A, losses_w, and home_volts [H].
        """
        feeder, text, circuit = self._feeder, self._engine.Text, self._circuit
        for k, load in enumerate((*feeder.homes, *feeder.fixed)):
            s = power_va[k]
            move = ""
            if load.service:
                text.Command = f"edit {load.service.format(load.nodes[phases[k]])}"
            elif k < feeder.n_homes:
                move = f"bus1={load.bus}.{load.nodes[phases[k]]}{self._back[load.name]}"
            for part, (p, q, held) in zip(load.written, part_shares(load.written), strict=True):
                kw, kvar = s.real * p / 1000, (s.imag * q + held) / 1000
                text.Command = f'edit "load.{part.name}" {move} kw={kw} kvar={kvar}'
        text.Command = "solve"
        if not circuit.Solution.Converged:
            raise ArithmeticError("OpenDSS finds no solution")
        circuit.SetActiveElement(feeder.transformer.element)
        element = circuit.ActiveCktElement
        conductors = int(element.NumConductors)
        currents = np.asarray(element.Currents, dtype=float).view(complex)
        order = [int(k) for k in element.NodeOrder]
        volts = np.asarray(element.Voltages, dtype=float).view(complex)
        low = min(
            (t for t in range(int(element.NumTerminals)) if order[t * conductors]),
            key=lambda t: float(abs(volts[t * conductors])),
        )
        rows = [
            low * conductors + k
            for k in range(conductors)
            if order[low * conductors + k] in (1, 2, 3)
        ]
        rows.sort(key=lambda k: order[k])
        home_volts = []
        for home in feeder.homes:
            circuit.SetActiveElement(f"Load.{home.name}")
            v = np.asarray(circuit.ActiveCktElement.Voltages, dtype=float).view(complex)
            home_volts.append(abs(v[0] - v[1]))
        losses = np.asarray(circuit.Losses, dtype=float).view(complex)[0].real
        return {
            "lv_current": -currents[rows],
            "losses_w": float(losses),
            "home_volts": np.array(home_volts),
        }


def check_minutes(
    path: Path, street: Street, trajectory: Trajectory, minutes: int, seed: int
) -> float:
    """Solves some moments of a trajectory in the engine too: the busiest one and random ones.

    Returns the largest difference of a phase or neutral current, A. Only for the load model
    `feeder`, which is the one the engine follows. Raises ArithmeticError where the engine finds no
    solution.
    """
    judge = Judge(path, street.feeder)
    rng = np.random.default_rng([seed, 9])
    busiest = int(np.argmax(np.abs(street.watts).sum(axis=1)))
    worst = 0.0
    for k in {busiest, *(int(k) for k in rng.integers(0, len(street), minutes - 1))}:
        phases = np.ascontiguousarray(trajectory.phases[k : k + 1])
        power = street.power(k, k + 1)
        ours = street.flow.solve(power, phases).lv_current[0]
        theirs = judge.solve(power[0], phases[0])["lv_current"]
        worst = max(worst, float(np.abs(ours - theirs).max()), float(abs((ours - theirs).sum())))
    return worst
