"""Homes behind a single-phase service cable: where the cable is tapped, and what it adds.

Many published networks bring one phase only to each home. Such a home can be moved where its cable
is joined to the three-phase main: the whole cable changes phase, with all homes on it. They then
draw at the joint, behind the impedance of the cable and of what they share of it. That holds for a
cable that joins the main in one place, has no loops and feeds nothing but single-phase homes.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from .network import Network, RawLoad, Service
from .units import LOW_VOLTAGE

_PHASES = (1, 2, 3)
# They carry no current: what they are on is as it was without them.
_WATCHERS = frozenset(
    """energymeter monitor fmonitor sensor fuse relay recloser swtcontrol capcontrol regcontrol
    invcontrol expcontrol storagecontroller gendispatcher esscontrol upfccontrol""".split()  # noqa: SIM905
)
# The no-load voltages at both ends of a cable that is closed agree within this share.
_SAME_VOLTAGE = 0.05


@dataclass(eq=False)
class _Line:
    """An enabled line: its two buses, and the nodes of each conductor there."""

    name: str
    ends: tuple[tuple[str, list[int]], tuple[str, list[int]]]

    def seen_from(self, bus: str) -> tuple[int, list[int], str, list[int]]:
        """The side that is at `bus` (0 or 1), its nodes there, the far bus and the nodes there."""
        side = 0 if self.ends[0][0] == bus else 1
        return side, self.ends[side][1], *self.ends[1 - side]


def find_services(circuit: Any, net: Network, loads: list[RawLoad]) -> None:
    """Sets `service` of every load on a single-phase cable that can be moved with it."""
    waiting: dict[str, list[RawLoad]] = {}
    for raw in loads:
        if single_phase(raw) and not three_phase(raw.point.bus, net.index):
            waiting.setdefault(raw.point.bus.lower(), []).append(raw)
    if not waiting:
        return
    lines, blocked = _lines(circuit)
    at = Counter(raw.point.bus.lower() for raw in loads)
    seen: set[str] = set()
    found = []
    for bus in waiting:
        if bus in seen:
            continue
        buses, towards, joints = _reach(bus, lines, net.index)
        seen |= buses
        homes = [raw for b in sorted(buses) for raw in waiting.get(b, [])]
        if buses & blocked or len(homes) != sum(at[b] for b in buses) or len(joints) != 1:
            continue
        service = _service(homes, towards, joints[0])
        if service is not None:
            found.append((homes, service))
    if found:
        _measure(net, found)


def say_services(homes: list[RawLoad], notes: list[str]) -> None:
    """A note on what a relay needs there."""
    hanging = [raw for raw in homes if raw.service is not None]
    if not hanging:
        return
    notes.append(
        f"{len(hanging)} of {len(homes)} homes hang on a single-phase service cable and are moved "
        "with it: their relay goes where the cable joins the main, or three phases to the home."
    )
    on_each = [n for n in Counter(id(raw.service) for raw in hanging).values() if n > 1]
    if on_each:
        notes.append(
            f"{sum(on_each)} homes share {len(on_each)} such cable{'s' if on_each[1:] else ''}, up "
            f"to {max(on_each)} on one: they are moved together, by one relay where the cable "
            "joins the main."
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
        if kind == "load" or kind in _WATCHERS or not element.Enabled:
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


def _reach(
    start: str, lines: dict[str, list[_Line]], index: dict[str, int]
) -> tuple[set[str], dict[str, _Line], list[tuple[str, _Line]]]:
    """What is connected to a bus without passing one of three phases.

    Returns its buses, the line that leads from each towards the joint, and the joints: the bus
    before each with its line. More than one line to the main, or a loop, gives more than one joint.
    """
    buses, todo = {start}, [start]
    joints: list[tuple[str, _Line]] = []
    inner: set[_Line] = set()
    while todo:
        bus = todo.pop()
        for line in lines.get(bus, []):
            _, _, far, _ = line.seen_from(bus)
            if three_phase(far, index):
                joints.append((bus, line))
                continue
            inner.add(line)
            if far not in buses:
                buses.add(far)
                todo.append(far)
    if len(joints) != 1 or len(inner) != len(buses) - 1:
        return buses, {}, []
    towards, todo = {joints[0][0]: joints[0][1]}, [joints[0][0]]
    while todo:
        bus = todo.pop()
        for line in lines[bus]:
            _, _, far, _ = line.seen_from(bus)
            if far in buses and far not in towards:
                towards[far] = line
                todo.append(far)
    return buses, towards, joints


def _service(
    homes: list[RawLoad], towards: dict[str, _Line], joint: tuple[str, _Line]
) -> Service | None:
    """The cable of these homes; None where they are not on the same two conductors of it."""
    last = joint[1]
    at_joint = {_followed(raw, towards, last) for raw in homes}
    if len(at_joint) != 1:
        return None
    ends = at_joint.pop()
    if ends is None:
        return None
    side, _, far, there = last.seen_from(joint[0])
    nodes = ".".join("{}" if n == ends[0] else str(n) for n in there)
    return Service(far, list(ends), f'"{last.name}" bus{2 - side}={far}.{nodes}')


def _followed(raw: RawLoad, towards: dict[str, _Line], last: _Line) -> tuple[int, int] | None:
    """The nodes at the joint of a load's two ends: follows its conductors along the cable."""
    bus, phase, back = raw.point.bus.lower(), raw.nodes[0], raw.back
    while True:
        line = towards[bus]
        _, here, far, there = line.seen_from(bus)
        if phase not in here or len(set(here) & set(_PHASES)) != 1:
            return None
        if back and back not in here:
            return None
        phase = there[here.index(phase)]
        back = there[here.index(back)] if back else 0
        if phase not in _PHASES or back in _PHASES:
            return None
        if line is last:
            return phase, back
        bus = far


def _measure(net: Network, found: list[tuple[list[RawLoad], Service]]) -> None:
    """The cables' own impedances: seen from the loads, less seen from the joint."""
    far: list[tuple[str, int, int]] = [
        (raw.point.bus, raw.nodes[0], raw.back) for homes, _ in found for raw in homes
    ]
    near: list[tuple[str, int, int]] = [(s.bus, s.nodes[0], s.nodes[1]) for _, s in found]
    take_far, take_near = net.take(far), net.take(near)
    volts_far, volts_near = take_far.T @ net.v0, take_near.T @ net.v0
    spread_far, spread_near = net.spread(far), net.spread(near)
    first = 0
    for k, (homes, service) in enumerate(found):
        own = slice(first, first + len(homes))
        first += len(homes)
        apart = np.abs(volts_far[own] - volts_near[k])
        if not (apart < _SAME_VOLTAGE * abs(volts_near[k])).all():
            continue
        joint = take_near[:, k] @ spread_near[:, k]
        service.ohm = np.asarray(take_far[:, own].T @ spread_far[:, own] - joint)
        for row, raw in enumerate(homes):
            raw.service, raw.row = service, row
