"""Reduces a compiled feeder to the ports of `feeder.Feeder`.

What the network (`network`) does at the homes' ports and at the terminals of the transformer that
is studied (`units`) is all that a power flow needs.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import scipy.sparse as sp

from ..errors import InputError
from .doubts import feeder_doubts
from .model import Complex, Feeder, Ints
from .network import Network, RawLoad, ports_of
from .services import find_services, say_services, single_phase, three_phase
from .units import LOW_VOLTAGE, Unit, check_rotation, choose_unit, find_units, names_of


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
    net = Network(circuit, y, index)
    find_services(circuit, net, loads)
    homes = [raw for raw in loads if _movable(raw, index)]
    if not homes:
        raise _nothing_to_move(circuit, loads)
    units = find_units(circuit, net, transformer)
    home_spread = net.spread(ports_of(homes, []))
    unit, fed = choose_unit(units, transformer, homes, home_spread)
    mine = {id(raw) for raw, yes in zip(homes, fed, strict=True) if yes}
    elsewhere = len(homes) - len(mine)
    homes = [raw for raw in homes if id(raw) in mine]
    fixed = [raw for raw in loads if id(raw) not in mine]
    say_services(homes, notes)
    _find_phases(unit, homes, net.spread(ports_of(homes, [])), notes)
    _say_fixed(notes, fixed, elsewhere, len(loads), unit)
    feeder_doubts(circuit, net, unit, homes, notes)
    ends = ports_of(homes, fixed)
    service_ohm = _along_cables(homes)
    in_series = np.zeros((len(ends), len(ends)), dtype=complex)
    # Homes of one cable are on one phase; the terms between its phases are never used.
    in_series[: 3 * len(homes), : 3 * len(homes)] = np.kron(service_ohm, np.eye(3))
    take, spread = net.take(ends), net.spread(ends)
    v0, src = net.v0, net.src_nodes
    back_v0 = v0[unit.back] if unit.back >= 0 else 0j
    back_v = spread[unit.back] if unit.back >= 0 else np.zeros(len(ends), dtype=complex)
    src_i0, src_i = net.source_current(v0), take[src] - net.source_current(spread)
    at_source = unit.transformer.element.startswith("Vsource.")
    feeder = Feeder(
        name=str(circuit.Name),
        homes=tuple(
            replace(
                raw.point,
                phase=raw.order.index(raw.at[1]),
                nodes=raw.order,
                service=raw.service.move if raw.service else "",
            )
            for raw in homes
        ),
        fixed=tuple(raw.point for raw in fixed),
        v0=take.T @ v0,
        z=np.ascontiguousarray(take.T @ spread + in_series),
        lv_i0=src_i0 if at_source else unit.given - unit.rows @ v0[unit.nodes],
        lv_i=src_i if at_source else unit.rows @ spread[unit.nodes],
        lv_v0=v0[unit.lv] - back_v0,
        lv_v=-(spread[unit.lv] - back_v),
        src_v0=v0[src],
        src_v=-spread[src],
        src_i0=src_i0,
        src_i=src_i,
        transformer=unit.transformer,
        service_ohm=service_ohm,
        joints=_joints(homes),
        notes=tuple(notes),
    )
    check_rotation(feeder.lv_v0)
    return feeder


def _along_cables(homes: list[RawLoad]) -> Complex:
    """Impedances of the single-phase cables between homes and joints, [H, H]."""
    out = np.zeros((len(homes), len(homes)), dtype=complex)
    for row in _by_cable(homes):
        service = homes[row[0]].service
        if service is not None:
            within = [homes[k].row for k in row]
            out[np.ix_(row, row)] = service.ohm[np.ix_(within, within)]
    return out


def _joints(homes: list[RawLoad]) -> Ints:
    """The joint of each home, [H]; empty where each has its own."""
    groups = _by_cable(homes)
    if len(groups) == len(homes):
        return np.zeros(0, dtype=np.int64)
    out = np.empty(len(homes), dtype=np.int64)
    for joint, group in enumerate(groups):
        out[group] = joint
    return out


def _by_cable(homes: list[RawLoad]) -> list[list[int]]:
    """Places of the homes that are moved together, by their first one."""
    groups: dict[int, list[int]] = {}
    for k, raw in enumerate(homes):
        groups.setdefault(id(raw.service) if raw.service is not None else id(raw), []).append(k)
    return list(groups.values())


def _movable(raw: RawLoad, index: dict[str, int]) -> bool:
    """True for a single-phase low-voltage load between a phase and the neutral at a bus that has
    all three phases, or on a service cable of one phase."""
    return raw.service is not None or (single_phase(raw) and three_phase(raw.point.bus, index))


def _nothing_to_move(circuit: Any, loads: list[RawLoad]) -> InputError:
    """Why no load can be moved: the most likely cause, in words."""
    split = [name for name in names_of(circuit.Transformers) if _is_centre_tapped(circuit, name)]
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
        "A home is a single-phase load (Phases=1 Bus1=BUS.2) at a bus that has nodes 1, 2 and 3, "
        "or on a single-phase line that joins such a bus in one place, without loops, and feeds "
        "nothing but homes.",
    )


def _is_centre_tapped(circuit: Any, name: str) -> bool:
    """One phase in, two halves of a winding out that share a node."""
    units = circuit.Transformers
    units.Name = name
    element = circuit.ActiveCktElement
    return bool(element.Enabled) and int(element.NumPhases) == 1 and int(units.NumWindings) >= 3


def _find_phases(unit: Unit, homes: list[RawLoad], spread: Complex, notes: list[str]) -> None:
    """Which node of a home's bus is fed by which phase of the transformer: the phase whose current
    changes most. It need not be the one of the same number."""
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
    notes: list[str], fixed: list[RawLoad], elsewhere: int, total: int, unit: Unit
) -> None:
    if elsewhere:
        notes.append(
            f"{elsewhere} homes are not fed by transformer {unit.transformer.name}; they stay "
            "where they are."
        )
    if len(fixed) > elsewhere:
        notes.append(
            f"{len(fixed) - elsewhere} of {total} loads stay where they are: three-phase, between "
            "two phases, on medium voltage, or on a line without all three phases that joins the "
            "main twice or feeds more than homes."
        )
