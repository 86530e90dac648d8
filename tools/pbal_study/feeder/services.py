"""Homes behind a single-phase service cable: where the cable is tapped, and what it adds.

Many published networks bring one phase only to each home. Such a home can be moved where its cable
is joined to the three-phase main: the whole cable changes phase. It then draws at the joint, behind
the impedance of its own cable. That holds for a cable that feeds one load and joins the main in one
place; loads that share a single-phase cable stay where they are.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from .model import Complex
from .network import Network, RawLoad, Service
from .units import LOW_VOLTAGE

_PHASES = (1, 2, 3)
# The no-load voltages at both ends of a cable that is closed agree within this share.
_SAME_VOLTAGE = 0.05


@dataclass
class _Line:
    """An enabled line: its two buses, and the nodes of each conductor there."""

    name: str
    ends: tuple[tuple[str, list[int]], tuple[str, list[int]]]


def find_services(circuit: Any, net: Network, loads: list[RawLoad]) -> None:
    """Sets `service` of every load that is alone on a single-phase service cable."""
    waiting = [
        raw for raw in loads if single_phase(raw) and not three_phase(raw.point.bus, net.index)
    ]
    if not waiting:
        return
    lines, blocked = _lines(circuit)
    at = Counter(raw.point.bus.lower() for raw in loads)
    found = []
    for raw in waiting:
        service = _trace(raw, lines, blocked, at, net.index)
        if service is not None:
            found.append((raw, service))
    if found:
        _measure(net, found)


def say_services(homes: list[RawLoad], notes: list[str]) -> None:
    """A note on what a relay needs there."""
    count = sum(raw.service is not None for raw in homes)
    if count:
        notes.append(
            f"{count} of {len(homes)} homes hang on a single-phase service cable and are moved "
            "with it: their relay goes where the cable joins the main, or three phases to the home."
        )


def single_phase(raw: RawLoad) -> bool:
    """Whether it is a single-phase low-voltage load between a phase and the neutral."""
    return (
        raw.point.parts == 1
        and raw.point.v_base < LOW_VOLTAGE
        and raw.nodes[0] in _PHASES
        and raw.back not in _PHASES
    )


def three_phase(bus: str, index: dict[str, int]) -> bool:
    """Whether a bus has all three phases; `index`: all nodes, in small letters."""
    return all(f"{bus}.{p}".lower() in index for p in _PHASES)


def _lines(circuit: Any) -> tuple[dict[str, list[_Line]], set[str]]:
    """Enabled lines by bus, and the buses that anything else but a load is connected to."""
    by_bus: dict[str, list[_Line]] = {}
    blocked: set[str] = set()
    for name in circuit.AllElementNames:
        kind = str(name).partition(".")[0].lower()
        circuit.SetActiveElement(name)
        element = circuit.ActiveCktElement
        if kind == "load" or not element.Enabled:
            continue
        buses = [str(b).partition(".")[0].lower() for b in element.BusNames]
        if kind != "line" or len(buses) != 2:
            blocked.update(buses)
            continue
        count = int(element.NumConductors)
        order = [int(k) for k in element.NodeOrder]
        line = _Line(str(name), ((buses[0], order[:count]), (buses[1], order[count:])))
        for bus in set(buses):
            by_bus.setdefault(bus, []).append(line)
    return by_bus, blocked


def _trace(
    raw: RawLoad,
    lines: dict[str, list[_Line]],
    blocked: set[str],
    at: Counter[str],
    index: dict[str, int],
) -> Service | None:
    """Follows the cable from the load to the first bus with three phases; None where it branches,
    feeds another load, carries anything else, or ends."""
    bus, phase, back = raw.point.bus.lower(), raw.nodes[0], raw.back
    came: _Line | None = None
    alone = 1
    while True:
        if bus in blocked or at[bus] != alone:
            return None
        onward = [line for line in lines.get(bus, []) if line is not came]
        if len(onward) != 1:
            return None
        line = onward[0]
        side = 0 if line.ends[0][0] == bus else 1
        here, (far, there) = line.ends[side][1], line.ends[1 - side]
        if far == bus or phase not in here or len(set(here) & set(_PHASES)) != 1:
            return None
        if back and back not in here:
            return None
        phase = there[here.index(phase)]
        back = there[here.index(back)] if back else 0
        if phase not in _PHASES or back in _PHASES:
            return None
        if three_phase(far, index):
            nodes = ".".join("{}" if n == phase else str(n) for n in there)
            return Service(far, [phase, back], f"{line.name} bus{2 - side}={far}.{nodes}")
        bus, came, alone = far, line, 0


def _measure(net: Network, found: list[tuple[RawLoad, Service]]) -> None:
    """The cables' own impedances: seen from the load, less seen from the joint."""
    far: list[tuple[str, int, int]] = [(r.point.bus, r.nodes[0], r.back) for r, _ in found]
    near: list[tuple[str, int, int]] = [(s.bus, s.nodes[0], s.nodes[1]) for _, s in found]
    volts = [net.take(ends).T @ net.v0 for ends in (far, near)]
    seen = [_own(net, ends) for ends in (far, near)]
    for k, (raw, service) in enumerate(found):
        if abs(volts[0][k] - volts[1][k]) < _SAME_VOLTAGE * abs(volts[1][k]):
            service.ohm = complex(seen[0][k] - seen[1][k])
            raw.service = service


def _own(net: Network, ends: list[tuple[str, int, int]]) -> Complex:
    take, spread = net.take(ends), net.spread(ends)
    return np.asarray(np.einsum("kp,kp->p", take, spread))
