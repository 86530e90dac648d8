"""Likely mistakes in a feeder file that do not stop a study but change its results: notes."""

from typing import Any

from .customers import in_parts
from .model import LARGEST_HOME_KW, PHASE_NAMES
from .network import Network, RawLoad
from .units import Unit, three_phase_transformers

_LARGEST_KVA = 5000.0
"""Distribution transformers end at 2.5 or 3.15 MVA (IEC 60076 and EN 50708 preferred ratings)."""
_SMALLEST_KVA = 5.0
"""The smallest of them, on poles; what is rated less is rated in MVA, or is no transformer."""
_FEW = 3


def feeder_doubts(
    circuit: Any, net: Network, unit: Unit, homes: list[RawLoad], notes: list[str]
) -> None:
    """Adds a note for each point of the feeder that a reader of the report should check."""
    made = unit.transformer
    if made.rated_kva > _LARGEST_KVA:
        notes.append(
            f"Beware: transformer {made.name} is rated {made.rated_kva:,.0f} kVA at "
            f"{made.lv_volts:.0f} V; is that kVA or VA?".replace(",", " ")
        )
    if 0 < made.rated_kva < _SMALLEST_KVA:
        notes.append(
            f"Beware: transformer {made.name} is rated {made.rated_kva:g} kVA; is that kVA or MVA?"
        )
    huge = [raw.point for raw in homes if abs(raw.point.kw) > LARGEST_HOME_KW]
    if huge:
        notes.append(
            f"Beware: {len(huge)} single-phase load{'s draw' if huge[1:] else ' draws'} more than "
            f"{LARGEST_HOME_KW:g} kW (first {huge[0].name}: {huge[0].kw:g} kW); "
            "is that kW or W?"
        )
    _parallel(circuit, net, unit, notes)
    _negative_lines(circuit, notes)
    _short_circuits(circuit, notes)
    at = {raw.order.index(raw.at[1]) for raw in homes}
    if len(at) == 1 and len(homes) >= _FEW:
        notes.append(
            f"Beware: all {len(homes)} homes are on phase {PHASE_NAMES[at.pop()]} as built; is the "
            "phase of each home known?"
        )
    _halves(homes, notes)


def _parallel(circuit: Any, net: Network, unit: Unit, notes: list[str]) -> None:
    """Other transformers on the same busbar share the load."""
    shared = []
    for name in three_phase_transformers(circuit):
        if name.lower() == unit.transformer.name.lower():
            continue
        circuit.SetActiveElement(f"Transformer.{name}")
        element = circuit.ActiveCktElement
        buses = [str(b).partition(".")[0] for b in element.BusNames]
        conductors = int(element.NumConductors)
        rows = {
            net.index.get(f"{buses[k // conductors]}.{int(number)}".lower(), -1)
            for k, number in enumerate(element.NodeOrder)
        }
        if set(unit.lv) <= rows:
            shared.append(name)
    if shared:
        notes.append(
            f"Beware: transformer{'s' if shared[1:] else ''} {', '.join(shared)} feed"
            f"{'' if shared[1:] else 's'} the same homes in parallel with {unit.transformer.name}: "
            "what is shown is the share of one of them."
        )


def _negative_lines(circuit: Any, notes: list[str]) -> None:
    """Lines that give energy instead of losing it: the engine takes a length below zero."""
    lines = circuit.Lines
    found = []
    more = lines.First
    while more:
        if lines.Length < 0:
            found.append(str(lines.Name))
        more = lines.Next
    if found:
        notes.append(
            f"Beware: {len(found)} line{'s have' if found[1:] else ' has'} a length below zero "
            f"(first {found[0]}), so that energy comes of losses; losses and voltages are wrong."
        )


def _short_circuits(circuit: Any, notes: list[str]) -> None:
    """Faults left in the file by a study of short circuits."""
    found = []
    for name in circuit.AllElementNames:
        kind, _, own = name.partition(".")
        if kind.lower() == "fault":
            circuit.SetActiveElement(name)
            if circuit.ActiveCktElement.Enabled:
                found.append(own)
    if found:
        notes.append(
            "Beware: short circuits in the file are on all the time and in every figure: "
            f"{len(found)} (first Fault.{found[0]}). Take out what is not meant."
        )


def _halves(homes: list[RawLoad], notes: list[str]) -> None:
    """Loads that look like parts of one customer, but follow different shapes."""
    pairs = in_parts(homes)
    if pairs:
        first = " and ".join(raw.point.name for raw in pairs[0])
        notes.append(
            f"Beware: {len(pairs)} group{'s' if pairs[1:] else ''} of loads look like one customer "
            f"written in parts (first {first}: same bus, phase and kW, other model), but follow "
            "different shapes; each part is counted and moved as a home of its own. Merge them "
            "into one load per customer."
        )
