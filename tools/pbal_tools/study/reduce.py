"""Reduces a compiled feeder to the ports of `feeder.Feeder`.

The engine's system admittance matrix, with the loads taken out, is solved once for a unit current
at every place where a load can draw. Which transformer feeds which home follows from the same
solution: it is the one whose low-voltage current answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from ..errors import InputError
from .feeder import Complex, Feeder, LoadPoint, Real, Transformer

LOW_VOLTAGE = 1000.0
"""Homes are on low voltage: below 1 kV (IEC 60038)."""
_FED = 0.25  # a transformer feeds a home if at least this share of its current comes through it


@dataclass
class RawLoad:
    """A load as read: where it connects, before we know its ports."""

    point: LoadPoint
    nodes: list[int]
    delta: bool
    order: tuple[int, int, int] = (1, 2, 3)
    """The bus's node numbers for phases A, B and C of the transformer."""

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


@dataclass
class _Unit:
    """A transformer (or the source itself) whose low-voltage terminals may be the ones studied."""

    transformer: Transformer
    lv: list[int]
    """Y-matrix nodes of phases 1, 2, 3."""
    back: int
    """Node of the star point, -1 where it is earthed."""
    nodes: list[int]
    rows: Complex
    """Admittance rows: current out of the LV terminal = given - rows @ v[nodes]."""
    given: Complex
    """What a source feeds in of its own; zero for a transformer."""
    delta: bool = False
    """The low-voltage winding is in delta: it has no neutral."""


def reduce_feeder(
    circuit: Any,
    y: sp.csc_matrix,
    loads: list[RawLoad],
    transformer: str,
    notes: list[str],
) -> Feeder:
    """The `Feeder` of a compiled circuit whose loads are disabled.

    `y` is its admittance matrix and the circuit holds its no-load solution.
    """
    index = {name.lower(): k for k, name in enumerate(circuit.YNodeOrder)}
    net = _Network(circuit, y, index)
    homes = [raw for raw in loads if _movable(raw, index)]
    if not homes:
        raise _nothing_to_move(circuit, loads)
    units = _units(circuit, net, transformer)
    home_spread = net.spread(_ends(homes, []))
    unit, fed = _choose(units, transformer, homes, home_spread)
    mine = {id(raw) for raw, yes in zip(homes, fed, strict=True) if yes}
    elsewhere = len(homes) - len(mine)
    homes = [raw for raw in homes if id(raw) in mine]
    fixed = [raw for raw in loads if id(raw) not in mine]
    _find_phases(unit, homes, net.spread(_ends(homes, [])), notes)
    _say_fixed(notes, fixed, elsewhere, len(loads), unit)
    ends = _ends(homes, fixed)
    take, spread = net.take(ends), net.spread(ends)
    v0, src = net.v0, net.src_nodes
    back_v0 = v0[unit.back] if unit.back >= 0 else 0j
    back_v = spread[unit.back] if unit.back >= 0 else np.zeros(len(ends), dtype=complex)
    feeder = Feeder(
        name=str(circuit.Name),
        homes=tuple(
            replace(raw.point, phase=raw.order.index(raw.nodes[0]), nodes=raw.order)
            for raw in homes
        ),
        fixed=tuple(raw.point for raw in fixed),
        v0=take.T @ v0,
        z=np.ascontiguousarray(take.T @ spread),
        lv_i0=unit.given - unit.rows @ v0[unit.nodes],
        lv_i=unit.rows @ spread[unit.nodes],
        lv_v0=v0[unit.lv] - back_v0,
        lv_v=-(spread[unit.lv] - back_v),
        src_v0=v0[src],
        src_v=-spread[src],
        src_i0=net.injected[src] - net.src_y @ v0[src],
        src_i=net.src_y @ spread[src],
        transformer=unit.transformer,
        notes=tuple(notes),
    )
    _check_rotation(feeder.lv_v0)
    return feeder


class _Network:
    """The network without loads: its no-load voltages, and how it answers to currents."""

    def __init__(self, circuit: Any, y: sp.csc_matrix, index: dict[str, int]) -> None:
        self.index = index
        self.size = y.shape[0]
        circuit.SetActiveElement("Vsource." + str(circuit.Vsources.AllNames[0]))
        self.src_nodes, self.src_y = _terminal(circuit, index)
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
        """Fall of every node's voltage per ampere drawn at a port, [nodes, ports]."""
        return np.asarray(self._lu.solve(self.take(ends).astype(complex)))


def _ends(homes: Sequence[RawLoad], fixed: Sequence[RawLoad]) -> list[tuple[str, int, int]]:
    """Ports in the order of `Feeder`: three per home, then the fixed loads'."""
    out = [(raw.point.bus, p, raw.back) for raw in homes for p in raw.order]
    return out + [(raw.point.bus, a, b) for raw in fixed for a, b in raw.ends()]


def _movable(raw: RawLoad, index: dict[str, int]) -> bool:
    """True for a single-phase low-voltage load between a phase and the neutral at a bus that has
    all three phases."""
    return (
        raw.point.parts == 1
        and raw.nodes[0] in (1, 2, 3)
        and raw.back not in (1, 2, 3)
        and raw.point.v_base < LOW_VOLTAGE
        and all(f"{raw.point.bus}.{p}".lower() in index for p in (1, 2, 3))
    )


def _nothing_to_move(circuit: Any, loads: list[RawLoad]) -> InputError:
    """Why no load can be moved, in the words of the most likely cause."""
    split = [name for name in _names(circuit.Transformers) if _is_centre_tapped(circuit, name)]
    if split:
        return InputError(
            f"This is a split-phase feeder, as in North America: {len(split)} centre-tapped "
            f"single-phase transformers ({', '.join(split[:3])}{', ...' if split[3:] else ''}) "
            "feed the loads, so no home can be moved to another phase.",
            "pbal balances homes behind a three-phase low-voltage transformer.",
        )
    single = [raw for raw in loads if raw.point.parts == 1]
    high = [raw for raw in single if raw.point.v_base >= LOW_VOLTAGE]
    if high and len(high) == len(single):
        return InputError(
            f"The feeder's {len(high)} single-phase loads are on medium voltage "
            f"({high[0].point.name}: {high[0].point.v_base / 1000:g} kV); pbal moves homes on low "
            "voltage.",
            "Model the low-voltage network behind one of them.",
        )
    why = "has no single-phase loads" if not single else f"has {len(single)} single-phase loads"
    if single:
        why += ", but none between a phase and the neutral at a bus with nodes 1, 2 and 3"
    return InputError(
        f"No load of this feeder can be moved to another phase: it {why}.",
        "A home is a single-phase load (Phases=1 Bus1=BUS.2) at a bus that has nodes 1, 2 and 3; "
        "model the service cable as part of the load or bring all three phases to the bus.",
    )


def _names(collection: Any) -> list[str]:
    return [str(n) for n in collection.AllNames if str(n).upper() != "NONE"]


def _is_centre_tapped(circuit: Any, name: str) -> bool:
    """One phase in, two halves of a winding out that share a node."""
    units = circuit.Transformers
    units.Name = name
    element = circuit.ActiveCktElement
    return bool(element.Enabled) and int(element.NumPhases) == 1 and int(units.NumWindings) >= 3


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


def _units(circuit: Any, net: _Network, wanted: str) -> list[_Unit]:
    """The three-phase transformers one of which is to be studied; without any, the source."""
    names = _names(circuit.Transformers)
    three_phase = []
    for name in names:
        circuit.SetActiveElement(f"Transformer.{name}")
        if circuit.ActiveCktElement.Enabled and circuit.ActiveCktElement.NumPhases == 3:
            three_phase.append(name)
    if wanted:
        match = [name for name in three_phase if name.lower() == wanted.lower()]
        if not match:
            raise InputError(
                f"The feeder has no three-phase transformer {wanted!r}.",
                f"It has: {', '.join(three_phase) or 'none'}.",
            )
        chosen = _transformer(circuit, net.index, match[0])
        if len(chosen.lv) != 3:
            raise _not_on_three_nodes(match[0])
        return [chosen]
    if three_phase:
        found = [_transformer(circuit, net.index, name) for name in three_phase]
        usable = [unit for unit in found if len(unit.lv) == 3]
        if not usable:
            raise _not_on_three_nodes(three_phase[0])
        return usable
    if names:
        raise InputError(
            f"The feeder's transformers are single-phase ({', '.join(names[:3])}), not one of "
            "three phases.",
            "Model a bank of three as one transformer with phases=3.",
        )
    return [_source(circuit, net)]


def _transformer(circuit: Any, index: dict[str, int], name: str) -> _Unit:
    units = circuit.Transformers
    units.Name = name
    winding = min(range(1, int(units.NumWindings) + 1), key=lambda k: _winding_kv(units, k))
    units.Wdg = winding
    kva, volts, delta = float(units.kVA), float(units.kV) * 1000, bool(units.IsDelta)
    circuit.SetActiveElement(f"Transformer.{name}")
    element = circuit.ActiveCktElement
    conductors, terminals = int(element.NumConductors), int(element.NumTerminals)
    size = conductors * terminals
    yprim = np.asarray(element.Yprim, dtype=float).view(complex).reshape(size, size).T
    order = [int(k) for k in element.NodeOrder]
    buses = [str(b).partition(".")[0] for b in element.BusNames]
    used = [k for k in range(size) if order[k] != 0]
    nodes = [index[f"{buses[k // conductors]}.{order[k]}".lower()] for k in used]
    first = (winding - 1) * conductors
    phase_rows = [first + k for k in range(conductors) if order[first + k] in (1, 2, 3)]
    phase_rows.sort(key=lambda k: order[k])
    star = [k for k in range(first, first + conductors) if order[k] not in (1, 2, 3)]
    back = -1
    if star and order[star[0]] != 0:
        back = index[f"{buses[winding - 1]}.{order[star[0]]}".lower()]
    lv = [index[f"{buses[winding - 1]}.{order[k]}".lower()] for k in phase_rows]
    found = Transformer(name, kva, volts, element=f"Transformer.{name}")
    rows = yprim[np.ix_(phase_rows, used)]
    return _Unit(found, lv, back, nodes, rows, np.zeros(3, dtype=complex), delta)


def _not_on_three_nodes(name: str) -> InputError:
    return InputError(
        f"Transformer {name}'s low-voltage winding is not connected to nodes 1, 2 and 3.",
        "Connect it as Bus.1.2.3 (with .0 or .4 for the star point).",
    )


def _source(circuit: Any, net: _Network) -> _Unit:
    """A feeder that begins at the busbar: the source's terminals are the ones studied."""
    name = str(circuit.Vsources.AllNames[0])
    circuit.Vsources.Name = name
    volts = float(circuit.Vsources.BasekV) * 1000
    if len(net.src_nodes) != 3 or volts >= LOW_VOLTAGE:
        raise InputError(
            "The feeder has no transformer.",
            "Add the distribution transformer that feeds the homes to the .dss file.",
        )
    found = Transformer(name, 0.0, volts, element=f"Vsource.{name}")
    nodes = net.src_nodes
    return _Unit(found, nodes, -1, nodes, net.src_y, net.injected[nodes])


def _winding_kv(units: Any, winding: int) -> float:
    units.Wdg = winding
    return float(units.kV)


def _choose(
    units: list[_Unit], wanted: str, homes: list[RawLoad], spread: Complex
) -> tuple[_Unit, list[bool]]:
    """The transformer to study and which homes it feeds."""
    feeds = []
    for unit in units:
        if unit.transformer.element.startswith("Vsource."):
            feeds.append([True] * len(homes))
            continue
        # Current out of the LV terminal per ampere at each home's own phase.
        answer = np.abs(unit.rows @ spread[unit.nodes]).max(axis=0).reshape(-1, 3)
        own = answer[np.arange(len(homes)), [raw.nodes[0] - 1 for raw in homes]]
        feeds.append([bool(share > _FED) for share in own])
    able = [k for k, fed in enumerate(feeds) if any(fed)]
    names = [unit.transformer.name for unit in units]
    if not able:
        said = f"Transformer {names[0]} feeds" if wanted else "The feeder's transformers feed"
        raise InputError(
            f"{said} none of the single-phase low-voltage loads.",
            "Name another with --transformer NAME, or check that the lines connect.",
        )
    if len(able) > 1:
        listed = ", ".join(f"{names[k]} ({sum(feeds[k])} homes)" for k in able[:8])
        raise InputError(
            f"{len(able)} transformers feed homes: {listed}{', ...' if able[8:] else ''}.",
            "Name the one to study with --transformer NAME.",
        )
    chosen = units[able[0]]
    if chosen.delta:
        raise InputError(
            f"Transformer {chosen.transformer.name}'s low-voltage winding is in delta: there is no "
            "neutral, so there is no neutral current to balance.",
            "Check Conns; European distribution transformers are Conns=[delta wye].",
        )
    return chosen, feeds[able[0]]


def _find_phases(unit: _Unit, homes: list[RawLoad], spread: Complex, notes: list[str]) -> None:
    """Which node of a home's bus hangs on which phase of the transformer: the phase whose current
    answers most. It need not be the one of the same number."""
    answer = np.abs(unit.rows @ spread[unit.nodes]).reshape(3, -1, 3)
    transposed = 0
    for k, raw in enumerate(homes):
        nodes = tuple(int(n) + 1 for n in np.argmax(answer[:, k], axis=1))
        if sorted(nodes) == [1, 2, 3] and nodes != raw.order:
            raw.order = (nodes[0], nodes[1], nodes[2])
            transposed += 1
    if transposed:
        notes.append(
            f"{transposed} homes are at buses with transposed conductors; phases are named as at "
            "the transformer."
        )


def _say_fixed(
    notes: list[str], fixed: list[RawLoad], elsewhere: int, total: int, unit: _Unit
) -> None:
    if elsewhere:
        notes.append(
            f"{elsewhere} homes are not fed by transformer {unit.transformer.name}; they stay "
            "where they are."
        )
    if len(fixed) > elsewhere:
        notes.append(
            f"{len(fixed) - elsewhere} of {total} loads stay where they are: three-phase, between "
            "two phases, on medium voltage, or at a bus without all three phases."
        )


def _check_rotation(v: Complex) -> None:
    if not np.abs(v).min() > 1:
        raise InputError(
            "The transformer's low-voltage side is dead without load.",
            "Check that the lines from the source to it connect and are closed.",
        )
    angle = float(np.angle(v[1] / v[0], deg=True))
    if not -150 < angle < -90:
        raise InputError(
            f"Phase B is at {angle:.0f} degrees of phase A at the transformer; -120 was expected.",
            "Number the phases 1, 2, 3 in the order in which they peak, or check the transformer.",
        )
