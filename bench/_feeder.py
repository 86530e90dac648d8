"""Load-to-load resistance of an OpenDSS feeder, for the loss figures of bench.control."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass
class Feeder:
    """phases int8[n] as built; resistance float64[n, n, 3] ohm by relative phase."""

    phases: NDArray[np.int8]
    resistance: NDArray[np.float64]


def read_feeder(master: Path) -> Feeder:
    """Compile a feeder of single-phase loads and invert its admittance matrix at them."""
    from dss import DSS

    here = os.getcwd()
    try:
        DSS.Text.Command = "clear"
        DSS.Text.Command = f'compile "{master}"'
        circuit = DSS.ActiveCircuit
        spots = []
        loads = circuit.Loads
        more = loads.First
        while more:
            bus, phase = circuit.ActiveCktElement.BusNames[0].lower().split(".")
            spots.append((bus, int(phase)))
            more = loads.Next
        DSS.Text.Command = "batchedit load..* enabled=no"
        DSS.Text.Command = "solve"
        names = [name.lower() for name in circuit.YNodeOrder]
        flat = np.asarray(circuit.SystemY).reshape(-1, 2)
        admittance = (flat[:, 0] + 1j * flat[:, 1]).reshape(len(names), len(names))
    finally:
        os.chdir(here)
    index = {name: k for k, name in enumerate(names)}
    picked = [[index[f"{bus}.{q + 1}"] for q in range(3)] for bus, _ in spots]
    columns = np.unique(np.array(picked))
    unit = np.zeros((len(names), len(columns)))
    unit[columns, np.arange(len(columns))] = 1.0
    z = np.linalg.solve(admittance, unit)[columns].real
    place = np.searchsorted(columns, np.array(picked))
    n = len(spots)
    resistance = np.empty((n, n, 3))
    for d in range(3):
        # x_h - x_g = d; the mean over the three positions (a transposed line has them equal)
        resistance[:, :, d] = np.mean(
            [z[np.ix_(place[:, (q + d) % 3], place[:, q])] for q in range(3)], axis=0
        )
    return Feeder(np.array([p - 1 for _, p in spots], np.int8), resistance)
