"""Reads an OpenDSS feeder with the OpenDSS engine itself.

The engine compiles the file, so every element it knows is understood the way the planner's own
tool understands it. Its system admittance matrix, with the loads taken out, is then reduced to
the ports of `feeder.Feeder`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from ..errors import InputError
from .feeder import Complex, Feeder, LoadPoint, Transformer

# Elements that carry energy but are neither network nor load: silently leaving them out would
# change the answer, so the study asks for a decision instead.
_UNSUPPORTED = ("generator", "pvsystem", "storage", "isource", "vccs", "upfc", "windgen")
_ZIP = {1: (0.0, 0.0, 1.0), 2: (1.0, 0.0, 0.0), 5: (0.0, 1.0, 0.0)}


@dataclass
class _Raw:
    """A load as read: where it connects, before we know its ports."""

    name: str
    bus: str
    nodes: list[int]
    delta: bool
    point: LoadPoint


def _engine() -> Any:
    """A private instance of the engine that opens no window and leaves the working folder alone."""
    from dss import DSS

    engine = DSS.NewContext()
    engine.AllowForms = False
    engine.AllowEditor = False
    engine.AllowChangeDir = False
    return engine


def compile_feeder(path: Path) -> Any:
    """An engine with the feeder compiled; InputError in words where it cannot be."""
    if not path.exists():
        raise InputError(
            f"No such feeder file: {path}", "Give the .dss file that holds 'New circuit'."
        )
    if path.is_dir():
        raise InputError(
            f"{path} is a folder.",
            "Give the .dss file in it that holds 'New circuit', often Master.dss.",
        )
    engine = _engine()
    try:
        engine.Text.Command = "clear"
        engine.Text.Command = f'redirect "{path.resolve()}"'
    except Exception as exc:
        if type(exc).__name__ != "DSSException":
            raise
        raise InputError(
            f"OpenDSS cannot read {path}: {_one_line(exc)}",
            "Correct the feeder file until OpenDSS itself compiles and solves it.",
        ) from exc
    if engine.NumCircuits == 0:
        raise InputError(
            f"{path} defines no circuit.",
            "Give the .dss file that holds the line 'New circuit.NAME'.",
        )
    return engine


def _one_line(exc: BaseException) -> str:
    return " ".join(str(exc).split())


def load_feeder(path: Path, transformer: str = "") -> Feeder:
    """Reads an OpenDSS master file into a `Feeder`.

    `transformer` names the transformer to study where the file has several. Raises InputError
    with what to do about it where the file is not a feeder this study can treat.
    """
    engine = compile_feeder(path)
    circuit = engine.ActiveCircuit
    notes: list[str] = []
    loads = _read_loads(circuit, notes)
    _refuse_unsupported(circuit, path)
    for element in circuit.AllElementNames:
        if element.lower().startswith(("regcontrol.", "capcontrol.", "swtcontrol.")):
            notes.append(
                "Regulator, capacitor and switch controls are held where they are with no load."
            )
            break
    engine.Text.Command = "batchedit load..* enabled=no"
    engine.Text.Command = "set mode=snap controlmode=off"
    engine.Text.Command = "solve mode=direct"
    y = sp.csc_matrix(tuple(engine.YMatrix.getYSparse()))
    index = {name.lower(): k for k, name in enumerate(circuit.YNodeOrder)}
    return _reduce(circuit, y, index, loads, transformer, str(circuit.Name), notes)


def _refuse_unsupported(circuit: Any, path: Path) -> None:
    found: dict[str, int] = {}
    sources = 0
    for name in circuit.AllElementNames:
        circuit.SetActiveElement(name)
        if not circuit.ActiveCktElement.Enabled:
            continue
        kind = name.partition(".")[0].lower()
        sources += kind == "vsource"
        if kind in _UNSUPPORTED:
            found[kind] = found.get(kind, 0) + 1
    if found:
        listed = ", ".join(f"{count} {kind}" for kind, count in sorted(found.items()))
        raise InputError(
            f"{path} holds elements the study does not simulate: {listed}.",
            "Remove or disable them; give solar as negative watts in the profiles or with --pv.",
        )
    if sources != 1:
        raise InputError(
            f"{path} has {sources} voltage sources; the study needs exactly one.",
            "Keep the source that feeds the transformer you study.",
        )


def _read_loads(circuit: Any, notes: list[str]) -> list[_Raw]:
    loads = circuit.Loads
    found: list[_Raw] = []
    odd_models: set[int] = set()
    k = loads.First
    while k:
        element = circuit.ActiveCktElement
        if element.Enabled:
            bus, _, dots = str(element.BusNames[0]).partition(".")
            nodes = [int(n) for n in dots.split(".")] if dots else list(range(1, loads.Phases + 1))
            model = int(loads.Model)
            zip_p = zip_q = _ZIP.get(model, _ZIP[1])
            if model == 8:
                shares = [float(x) for x in loads.ZIPV]
                zip_p, zip_q = (shares[0], shares[1], shares[2]), (shares[3], shares[4], shares[5])
            elif model not in _ZIP:
                odd_models.add(model)
            delta = bool(loads.IsDelta)
            phases = int(loads.Phases)
            base = float(loads.kV) * 1000
            if phases > 1 and not delta:
                base /= np.sqrt(3)
            factor = float(loads.PF)
            point = LoadPoint(
                name=str(loads.Name),
                bus=bus,
                phase=-1,
                v_base=float(base),
                power_factor=abs(factor),
                leading=factor < 0,
                zip_p=zip_p,
                zip_q=zip_q,
                v_min=float(loads.Vminpu),
                v_max=float(loads.Vmaxpu),
                parts=phases,
                kw=float(loads.kW),
            )
            found.append(_Raw(point.name, bus, nodes, delta, point))
        k = loads.Next
    if not found:
        raise InputError(
            "The feeder has no loads.",
            "Add one 'New Load.NAME Phases=1 Bus1=BUS.PHASE ...' per home.",
        )
    if odd_models:
        notes.append(
            f"Load models {sorted(odd_models)} are treated as constant power; "
            "1, 2, 5 and 8 are treated as OpenDSS does."
        )
    return found


def _movable(raw: _Raw, index: dict[str, int]) -> bool:
    """True for a single-phase load between a phase and the neutral at a three-phase bus."""
    phase, back = raw.nodes[0], [*raw.nodes, 0][1]
    return (
        raw.point.parts == 1
        and phase in (1, 2, 3)
        and back not in (1, 2, 3)
        and all(f"{raw.bus}.{p}".lower() in index for p in (1, 2, 3))
    )


def _port_nodes(raw: _Raw) -> list[tuple[int, int]]:
    """The (from, to) node pairs of a load that stays where it is."""
    parts, nodes = raw.point.parts, raw.nodes
    if parts == 1:
        return [(nodes[0], [*nodes, 0][1])]
    if raw.delta:
        return [(nodes[k], nodes[(k + 1) % parts]) for k in range(parts)]
    back = nodes[parts] if len(nodes) > parts else 0
    return [(nodes[k], back) for k in range(parts)]


def _reduce(
    circuit: Any,
    y: sp.csc_matrix,
    index: dict[str, int],
    loads: list[_Raw],
    transformer: str,
    name: str,
    notes: list[str],
) -> Feeder:
    n = y.shape[0]

    def node(bus: str, number: int) -> int:
        return -1 if number == 0 else index[f"{bus}.{number}".lower()]

    homes = [raw for raw in loads if _movable(raw, index)]
    fixed = [raw for raw in loads if not _movable(raw, index)]
    if not homes:
        raise InputError(
            "No load of this feeder can be moved to another phase.",
            "A home is a single-phase load at a bus that has nodes 1, 2 and 3; model the service "
            "cable as part of the load or bring all three phases to the bus.",
        )
    if fixed:
        notes.append(
            f"{len(fixed)} of {len(loads)} loads stay where they are: three-phase, between two "
            "phases, or at a bus without all three phases."
        )
    ends: list[tuple[int, int]] = []
    for raw in homes:
        back = [*raw.nodes, 0][1]
        ends += [(node(raw.bus, p), node(raw.bus, back)) for p in (1, 2, 3)]
    for raw in fixed:
        ends += [(node(raw.bus, f), node(raw.bus, t)) for f, t in _port_nodes(raw)]
    ports = len(ends)
    take = np.zeros((n, ports))
    for k, (start, end) in enumerate(ends):
        if start >= 0:
            take[start, k] += 1
        if end >= 0:
            take[end, k] -= 1

    circuit.SetActiveElement("Vsource." + str(circuit.Vsources.AllNames[0]))
    src_nodes, src_y = _terminal(circuit, index, 0)
    lu = splu(y)
    measured = np.asarray(circuit.YNodeVarray, dtype=float).view(complex)
    injected = y @ measured
    # In exact arithmetic only the source's nodes are fed; dropping the rest removes the noise.
    keep = np.zeros(n, dtype=bool)
    keep[src_nodes] = True
    injected[~keep] = 0
    v0 = lu.solve(injected)
    spread = lu.solve(take.astype(complex))

    unit, lv_nodes, lv_y, lv_back = _find_transformer(circuit, index, transformer, src_nodes, src_y)
    lv_phase = lv_nodes[:3]
    back_v0 = v0[lv_back] if lv_back >= 0 else 0j
    back_v = spread[lv_back] if lv_back >= 0 else np.zeros(ports, dtype=complex)
    all_nodes, rows = lv_y
    feeder = Feeder(
        name=name,
        homes=tuple(_as_home(raw) for raw in homes),
        fixed=tuple(raw.point for raw in fixed),
        v0=take.T @ v0,
        z=np.ascontiguousarray(take.T @ spread),
        lv_i0=-(rows @ v0[all_nodes]),
        lv_i=rows @ spread[all_nodes],
        lv_v0=v0[lv_phase] - back_v0,
        lv_v=-(spread[lv_phase] - back_v),
        src_v0=v0[src_nodes],
        src_v=-spread[src_nodes],
        src_i0=injected[src_nodes] - src_y @ v0[src_nodes],
        src_i=src_y @ spread[src_nodes],
        transformer=unit,
        notes=tuple(notes),
    )
    _check_rotation(feeder.lv_v0)
    return feeder


def _as_home(raw: _Raw) -> LoadPoint:
    return LoadPoint(**{**raw.point.__dict__, "phase": raw.nodes[0] - 1})


def _check_rotation(v: Complex) -> None:
    angle = float(np.angle(v[1] / v[0], deg=True))
    if not -150 < angle < -90:
        raise InputError(
            f"Phase B is at {angle:.0f} degrees of phase A at the transformer; -120 was expected.",
            "Number the phases 1, 2, 3 in the order in which they peak, or check the transformer.",
        )


def _terminal(circuit: Any, index: dict[str, int], terminal: int) -> tuple[list[int], Complex]:
    """Y-matrix nodes of one terminal of the active element and its own block of Yprim.

    Used for the source, whose other terminal is earthed.
    """
    element = circuit.ActiveCktElement
    conductors = int(element.NumConductors)
    size = conductors * int(element.NumTerminals)
    yprim = np.asarray(element.Yprim, dtype=float).view(complex).reshape(size, size)
    order = [int(k) for k in element.NodeOrder]
    bus = str(element.BusNames[terminal]).partition(".")[0]
    span = range(terminal * conductors, (terminal + 1) * conductors)
    local = [k for k in span if order[k] != 0]
    nodes = [index[f"{bus}.{order[k]}".lower()] for k in local]
    return nodes, yprim[np.ix_(local, local)].T


def _find_transformer(
    circuit: Any,
    index: dict[str, int],
    wanted: str,
    src_nodes: list[int],
    src_y: Complex,
) -> tuple[Transformer, list[int], tuple[list[int], Complex], int]:
    """The transformer, its LV phase nodes, the rows of Yprim that give its LV terminal current,
    and the node of its star point (-1 where it is earthed)."""
    units = circuit.Transformers
    names = [str(n) for n in units.AllNames if str(n).upper() != "NONE"]
    three_phase = []
    for unit in names:
        circuit.SetActiveElement(f"Transformer.{unit}")
        if circuit.ActiveCktElement.Enabled and circuit.ActiveCktElement.NumPhases == 3:
            three_phase.append(unit)
    if wanted:
        match = [unit for unit in three_phase if unit.lower() == wanted.lower()]
        if not match:
            raise InputError(
                f"The feeder has no three-phase transformer {wanted!r}.",
                f"It has: {', '.join(three_phase) or 'none'}.",
            )
        chosen = match[0]
    elif len(three_phase) == 1:
        chosen = three_phase[0]
    elif not three_phase:
        raise InputError(
            "The feeder has no three-phase transformer.",
            "Add the distribution transformer that feeds the homes to the .dss file.",
        )
    else:
        raise InputError(
            f"The feeder has {len(three_phase)} transformers: {', '.join(three_phase[:8])}.",
            "Name the one to study with --transformer NAME.",
        )
    units.Name = chosen
    winding = min(range(1, int(units.NumWindings) + 1), key=lambda k: _winding_kv(units, k))
    units.Wdg = winding
    kva, volts = float(units.kVA), float(units.kV) * 1000
    circuit.SetActiveElement(f"Transformer.{chosen}")
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
    if len(phase_rows) != 3:
        raise InputError(
            f"Transformer {chosen}'s low-voltage winding is not connected to nodes 1, 2 and 3.",
            "Connect it as Bus.1.2.3 (with .0 or .4 for the star point).",
        )
    star = [k for k in range(first, first + conductors) if order[k] not in (1, 2, 3)]
    back = -1
    if star and order[star[0]] != 0:
        back = index[f"{buses[winding - 1]}.{order[star[0]]}".lower()]
    lv = [index[f"{buses[winding - 1]}.{order[k]}".lower()] for k in phase_rows]
    return Transformer(chosen, kva, volts), lv, (nodes, yprim[np.ix_(phase_rows, used)]), back


def _winding_kv(units: Any, winding: int) -> float:
    units.Wdg = winding
    return float(units.kV)
