"""The transformer that is studied: which there are, and which of them feeds the homes.

Which transformer feeds which home follows from the network's response: it is the one whose
low-voltage current follows the home's.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InputError
from .model import Complex, Transformer
from .network import Network, RawLoad

LOW_VOLTAGE = 1000.0
"""Homes are on low voltage: below 1 kV (IEC 60038)."""
_FED = 0.25  # a transformer feeds a home if at least this share of its current comes through it


@dataclass
class Unit:
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


def find_units(circuit: Any, net: Network, wanted: str) -> list[Unit]:
    """The three-phase transformers one of which is to be studied; without any, the source."""
    names = names_of(circuit.Transformers)
    three_phase = three_phase_transformers(circuit)
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


def three_phase_transformers(circuit: Any) -> list[str]:
    """Names of the enabled transformers of three phases."""
    found = []
    for name in names_of(circuit.Transformers):
        circuit.SetActiveElement(f"Transformer.{name}")
        if circuit.ActiveCktElement.Enabled and circuit.ActiveCktElement.NumPhases == 3:
            found.append(name)
    return found


def _transformer(circuit: Any, index: dict[str, int], name: str) -> Unit:
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
    return Unit(found, lv, back, nodes, rows, np.zeros(3, dtype=complex), delta)


def _winding_kv(units: Any, winding: int) -> float:
    units.Wdg = winding
    return float(units.kV)


def _not_on_three_nodes(name: str) -> InputError:
    return InputError(
        f"Transformer {name}'s low-voltage winding is not connected to nodes 1, 2 and 3.",
        "Connect it as Bus.1.2.3 (with .0 or .4 for the star point).",
    )


def _source(circuit: Any, net: Network) -> Unit:
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
    return Unit(found, nodes, -1, nodes, net.src_y, net.injected[nodes])


def choose_unit(
    units: list[Unit], wanted: str, homes: list[RawLoad], spread: Complex
) -> tuple[Unit, list[bool]]:
    """The transformer to study and which homes it feeds."""
    feeds = []
    for unit in units:
        if unit.transformer.element.startswith("Vsource."):
            feeds.append([True] * len(homes))
            continue
        # Current out of the LV terminal per ampere at each home's own phase.
        answer = np.abs(unit.rows @ spread[unit.nodes]).max(axis=0).reshape(-1, 3)
        own = answer[np.arange(len(homes)), [raw.at[1] - 1 for raw in homes]]
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


def check_rotation(v: Complex) -> None:
    if not np.abs(v).min() > 1:
        raise InputError(
            "The transformer's low-voltage side is dead without load.",
            "Check that the lines from the source to it connect and are closed.",
        )
    angle = float(np.angle(v[1] / v[0], deg=True))
    if not -150 < angle < -90:
        raise InputError(
            f"Phase B is at {angle:.0f} degrees of phase A at the transformer; -120 was expected.",
            "Number the phases 1, 2, 3 in the order in which they peak, or check the transformer; "
            "a Fault in the file that shorts a phase turns them, too.",
        )


def names_of(collection: Any) -> list[str]:
    return [str(n) for n in collection.AllNames if str(n).upper() != "NONE"]
