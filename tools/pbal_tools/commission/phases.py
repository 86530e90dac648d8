"""Combines the witnesses of evidence.py for each home; says what to do when they fail."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .evidence import PHASES, Floats, Verdict, by_load, by_movement, by_sag, follows


@dataclass
class Watch:
    """What was read of one home, one entry for each answer."""

    address: int
    name: str
    closed: int  # the phase that its node says it is on, 1..3, 0 open
    signed: bool  # its meter knows the sign of power
    times: list[float] = field(default_factory=list)  # when the node measured
    v: list[tuple[float, float, float]] = field(default_factory=list)
    vout: list[float] = field(default_factory=list)
    p_w: list[float] = field(default_factory=list)
    moved: bool = False  # it changed its phase while it was watched


@dataclass
class Finding:
    """The result for one home. `sure` False: `todo` says what to do next."""

    address: int
    node_phase: str
    real_phase: str = ""
    pairing: str = ""
    direction: str = "unknown"
    sure: bool = False
    faults: list[str] = field(default_factory=list)
    todo: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    relative_to: str = "transformer"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        out = dict(self.__dict__)
        out["verdicts"] = [v.as_dict() for v in self.verdicts]
        return out


def judge(
    watch: Watch,
    reference_v: Floats | None,
    transformer_w: Floats | None,
    relative_to: str = "transformer",
    dark: bool = False,
) -> Finding:
    """The finding for one home.

    `reference_v` (rounds, 3): voltages of the transformer's meter, or of the home that names the
    phases where there is none; `transformer_w` (rounds, 3): the meter's powers; `dark`: nothing
    generates now, as the crew states.
    """
    node_phase = PHASES[watch.closed - 1] if watch.closed else ""
    found = Finding(watch.address, node_phase, relative_to=relative_to)
    if watch.moved or not watch.closed:
        found.todo.append(
            "it changed its phase meanwhile: repeat" if watch.moved
            else "the home is open: look at its events, close it, and repeat"
        )  # fmt: skip
        return found
    v, power = np.array(watch.v, dtype=float).reshape(-1, 3), np.array(watch.p_w, dtype=float)
    output = follows(np.array(watch.vout, dtype=float), v, watch.closed)
    found.verdicts.append(output)
    if output.phase and output.phase != node_phase:
        found.faults.append(
            f"the output follows input {output.phase}, but contact {node_phase} is closed: output "
            "or input sensing is wired to the wrong terminal"
        )
    if reference_v is not None:
        movement = by_movement(v, reference_v)
        found.verdicts.append(movement)
        if movement.pairing:
            found.pairing = movement.pairing
            found.real_phase = movement.pairing[watch.closed - 1]
        else:
            found.todo.append(f"voltages: {movement.reason}")
    _load(found, watch, v, power, transformer_w)
    if found.direction == "unknown":
        found.direction = from_energy(power, watch.signed, dark)
        if found.direction == "reversed":
            found.faults.append(
                "it exports while nothing generates: the current transformer is the wrong way round"
            )
    if found.pairing and found.pairing != "ABC":
        found.faults.append(
            f"inputs A, B, C of this node are phases {', '.join(found.pairing)} of the "
            f"{relative_to}: swap the wires at its supply terminals"
        )
    # The phase it is on is not enough: the planner will move it to the other two as well.
    # With a meter whose sign is wrong the planner would increase the unbalance.
    told = found.direction != "unknown"
    found.sure = bool(found.real_phase and found.pairing and told) and not found.faults
    if found.sure:
        found.todo = []
    return found


def _load(
    found: Finding, watch: Watch, v: Floats, power: Floats, transformer_w: Floats | None
) -> None:
    """What steps of the home's load show about its phase and its current transformer."""
    if transformer_w is not None:
        seen = by_load(power, transformer_w, watch.signed)
        phase = seen.phase
    else:
        seen = by_sag(power, v, watch.signed)
        # The sag names the node's own input: the pairing turns it into the street's phase.
        phase = seen.phase
        if phase and phase != found.node_phase:
            found.faults.append(
                f"input {phase} sags with the load, but contact {found.node_phase} is closed: two "
                "supply sensing wires are swapped"
            )
        if phase and found.pairing:
            phase = found.pairing[PHASES.index(phase)]
        elif phase:
            phase = ""  # the node's own name of a phase proves nothing about the street
    found.verdicts.append(seen)
    if seen.direction < 0:
        found.direction = "reversed"
        found.faults.append("the current transformer is the wrong way round: turn it")
    elif seen.direction > 0:
        found.direction = "right"
    elif not watch.signed:
        found.direction = "no sign"
    if seen.reason:
        found.todo.append(f"current: {seen.reason}")
    if not phase:
        return
    if found.real_phase and found.real_phase != phase:
        found.faults.append(
            f"its load is on phase {phase}, its voltages say {found.real_phase}: the witnesses "
            "disagree; check the neutral and repeat"
        )
        found.real_phase = ""
    elif not found.real_phase:
        found.real_phase = phase


def from_energy(p_w: Floats, signed: bool, dark: bool) -> str:
    """The direction by the sign of power alone: only at night, when nothing can generate.

    "right", "reversed" or "unknown".
    """
    power = p_w[np.isfinite(p_w)]
    if not signed or not dark or len(power) < 5:
        return "unknown"
    if np.median(power) > 20 and (power > -5).all():
        return "right"
    if np.median(power) < -20 and (power < 5).all():
        return "reversed"
    return "unknown"
