"""Asks the units of an RS-485 segment for their plain registers, as any Modbus tool may.

Only reading, function 04; the controller must not use the port meanwhile.
"""

from collections.abc import Callable, Iterable

from ..commission.line import Line
from ..commission.scan import crowds, plain
from ..sitefile import Bus
from .diff import Heard

TRIES = 3


def scan(
    name: str,
    bus: Bus,
    units: Iterable[int],
    progress: Callable[[str], None] = lambda words: None,
) -> dict[int, Heard | None]:
    """What each unit reports, or None where it is silent after three tries; `crowd` is set where
    two nodes answer.

    Raises the port errors, and RefusedError where another master sends on the line.
    """
    out: dict[int, Heard | None] = {}
    suspects = []
    with Line(bus) as line:
        line.listen()
        for unit in units:
            progress(f"bus {name}: unit {unit}")
            spoiled = line.garbled + line.extra
            told = plain(line, unit, TRIES)
            out[unit] = None
            if told is not None:
                va_v, vb_v, vc_v = told["v"]
                out[unit] = Heard(
                    unit, told["phase"], told["state"], told["flags"], va_v, vb_v, vc_v,
                    told["board"], told["name"],
                )  # fmt: skip
            if line.garbled + line.extra > spoiled:
                suspects.append(unit)
        heard = [unit for unit, told in out.items() if told is not None]
        for unit, crowd in crowds(line, suspects, heard).items():
            out[unit] = Heard(unit, 0, 0, 0, 0.0, 0.0, 0.0, crowd=(crowd.words, crowd.remedy))
    return out
