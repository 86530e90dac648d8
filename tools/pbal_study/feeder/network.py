"""The network without its loads: its no-load voltages, and its response to a current anywhere.

The engine's system admittance matrix is factorised once; every port is then one solution of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from ..errors import InputError
from .model import Complex, LoadPoint, Real


@dataclass
class Service:
    """A single-phase service cable: where it joins the three-phase main, as [phase, return] node,
    how the engine is told to join it to another phase, and the impedance of it that its loads have
    alone and in common, [loads, loads]."""

    bus: str
    nodes: list[int]
    move: str
    ohm: Complex = field(default_factory=lambda: np.zeros((0, 0), dtype=complex))


@dataclass
class RawLoad:
    """A load as read: where it connects, before its ports are known."""

    point: LoadPoint
    nodes: list[int]
    delta: bool
    order: tuple[int, int, int] = (1, 2, 3)
    """The bus's node numbers for phases A, B and C of the transformer."""
    shape: tuple[str, str, int] = ("", "", 0)
    """Its Yearly and its Daily shape, in small letters, and its status."""
    service: Service | None = None
    """The cable that the load is moved with; None where the load itself is moved."""
    row: int = 0
    """Its row in the cable's impedances."""

    @property
    def at(self) -> tuple[str, int, int]:
        """Bus, phase node and return node where the home is switched from phase to phase."""
        if self.service is not None:
            return self.service.bus, self.service.nodes[0], self.service.nodes[1]
        return self.point.bus, self.nodes[0], self.back

    @property
    def back(self) -> int:
        """Node that a single-phase load returns to; 0 is earth."""
        return [*self.nodes, 0][1]

    def ends(self) -> list[tuple[int, int]]:
        """The (from, to) node pairs of a load that stays where it is."""
        parts, nodes = self.point.parts, self.nodes
        if parts == 1:
            return [(nodes[0], self.back)]
        if not self.delta:
            return [(node, [*nodes, 0][parts]) for node in nodes[:parts]]
        # Two phases in delta are an open delta on three nodes, as the engine has it.
        around = nodes if parts == 2 else [*nodes, nodes[0]]
        return [(around[k], around[k + 1]) for k in range(parts)]


def ports_of(homes: Sequence[RawLoad], fixed: Sequence[RawLoad]) -> list[tuple[str, int, int]]:
    """Ports in the order of `Feeder`: three per home, then the fixed loads'."""
    out = [(raw.at[0], p, raw.at[2]) for raw in homes for p in raw.order]
    return out + [(raw.point.bus, a, b) for raw in fixed for a, b in raw.ends()]


class Network:
    """The network without loads: its no-load voltages, and its response to currents."""

    def __init__(self, circuit: Any, y: sp.csc_matrix, index: dict[str, int]) -> None:
        self.index = index
        self.size = y.shape[0]
        circuit.SetActiveElement("Vsource." + str(circuit.Vsources.AllNames[0]))
        self.src_nodes, self.src_y = _terminal(circuit, index)
        self._beside_source = _beside_source(circuit, index, self.src_nodes)
        self._y = y
        self._lu = splu(y)
        measured = np.asarray(circuit.YNodeVarray, dtype=float).view(complex)
        injected = y @ measured
        # In exact arithmetic only the source's nodes are fed; dropping the rest removes the noise.
        keep = np.zeros(self.size, dtype=bool)
        keep[self.src_nodes] = True
        injected[~keep] = 0
        self.injected = injected
        self.v0 = self._lu.solve(injected)
        if not np.abs(self.v0[self.src_nodes]).max() > 1:
            raise InputError(
                "The feeder is dead: its source gives no voltage.",
                "Put 'Set DefaultBaseFrequency=50' before 'New Circuit', and check pu and basekV.",
            )

    def source_current(self, v: Complex) -> Complex:
        """Current that flows from the source into the network at node voltages `v`, [nodes, ...].

        Without what loads draw at the source's own nodes. Not from the source's admittance: behind
        a stiff one the voltage drop is lost in rounding.
        """
        rows = self._y[self.src_nodes].tolil()
        rows[:, self.src_nodes] = self._beside_source
        return np.asarray(rows.tocsr() @ v)

    def node(self, bus: str, number: int) -> int:
        """Row of a bus's node, -1 for earth."""
        if number == 0:
            return -1
        row = self.index.get(f"{bus}.{number}".lower())
        if row is None:
            raise InputError(
                f"A load is connected to node {bus}.{number}, to which nothing else is.",
                "Bring a line or the transformer there, or use another node (0 is earth).",
            )
        return row

    def take(self, ends: list[tuple[str, int, int]]) -> Real:
        """Incidence of ports (bus, from, to) on nodes, [nodes, ports]."""
        take = np.zeros((self.size, len(ends)))
        for k, (bus, start, end) in enumerate(ends):
            for number, sign in ((start, 1), (end, -1)):
                row = self.node(bus, number)
                if row >= 0:
                    take[row, k] += sign
        return take

    def spread(self, ends: list[tuple[str, int, int]]) -> Complex:
        """Drop of every node's voltage per ampere drawn at a port, [nodes, ports]."""
        return np.asarray(self._lu.solve(self.take(ends).astype(complex)))


def _beside_source(circuit: Any, index: dict[str, int], nodes: list[int]) -> Complex:
    """Admittance between the source's nodes of all elements but the source, [nodes, nodes].

    Summed up from the elements: in the system's matrix it is lost in rounding beside a stiff
    source.
    """
    out = np.zeros((len(nodes), len(nodes)), dtype=complex)
    place = {node: k for k, node in enumerate(nodes)}
    for name in circuit.AllElementNames:
        circuit.SetActiveElement(name)
        element = circuit.ActiveCktElement
        kind = str(name).partition(".")[0].lower()
        if not element.Enabled or kind in ("vsource", "load"):
            continue
        conductors = int(element.NumConductors)
        order = [int(k) for k in element.NodeOrder]
        buses = [str(b).partition(".")[0] for b in element.BusNames]
        local = [
            (k, place[row])
            for k, number in enumerate(order)
            if number
            and (row := index.get(f"{buses[k // conductors]}.{number}".lower(), -1)) in place
        ]
        if not local:
            continue
        size = len(order)
        yprim = np.asarray(element.Yprim, dtype=float).view(complex).reshape(size, size).T
        for a, row in local:
            for b, column in local:
                out[row, column] += yprim[a, b]
    return out


def _terminal(circuit: Any, index: dict[str, int]) -> tuple[list[int], Complex]:
    """Y-matrix nodes of the active source's first terminal and its own block of Yprim.

    Its other terminal is earthed.
    """
    element = circuit.ActiveCktElement
    conductors = int(element.NumConductors)
    size = conductors * int(element.NumTerminals)
    yprim = np.asarray(element.Yprim, dtype=float).view(complex).reshape(size, size)
    order = [int(k) for k in element.NodeOrder]
    bus = str(element.BusNames[0]).partition(".")[0]
    local = sorted((k for k in range(conductors) if order[k] != 0), key=lambda k: order[k])
    nodes = [index[f"{bus}.{order[k]}".lower()] for k in local]
    return nodes, yprim[np.ix_(local, local)].T
