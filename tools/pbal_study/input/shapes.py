"""Profiles from the feeder file itself: those of its load shapes, if no CSV is given.

A load follows its `Yearly` shape, else its `Daily` one, else it draws its kW all the time. Shapes
of different lengths and steps are brought to the finest step; a shorter one is repeated.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..feeder.loadscale import is_fixed, read_scale
from ..feeder.opendss import compile_feeder
from .profiles import Profiles

# A feeder file has no calendar. A year that begins on a Thursday, like any other.
_START = np.datetime64("2026-01-01T00:00:00", "s")
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def feeder_profiles(path: Path, *, days: float | None = None, skip_days: float = 0.0) -> Profiles:
    """Watts of every load after the shapes of an OpenDSS file, columns named after the loads."""
    engine = compile_feeder(path)
    circuit = engine.ActiveCircuit
    notes = ["The profiles are the load shapes of the feeder file; reactive power by power factor."]
    factors = read_scale(circuit, [])  # load_feeder has noted it
    loads = circuit.Loads
    found: list[tuple[str, float, str]] = []
    k = loads.First
    while k:
        if circuit.ActiveCktElement.Enabled:
            status, yearly, daily = int(loads.Status), str(loads.Yearly), str(loads.daily)
            shape = "" if is_fixed(status) else yearly or daily
            # For a load that has only a Daily shape the engine reports it as its Yearly one, too.
            by_year = bool(yearly) and yearly != daily
            kw = float(loads.kW) * factors.of(status, yearly=by_year, shape=str(loads.Growth))
            found.append((str(loads.Name), kw, shape))
        k = loads.Next
    shapes = {shape: _shape(circuit, shape) for shape in {s.lower() for _, _, s in found if s}}
    if not shapes:
        raise InputError(
            "No profiles are given, and the feeder's loads have no load shapes.",
            "Use --profiles P.csv, or give the loads Yearly= or Daily= shapes.",
        )
    step = min(max(_MINUTE, min(seconds for _, seconds, _ in shapes.values())), _HOUR)
    if any(seconds % step and step % seconds for _, seconds, _ in shapes.values()):
        raise InputError(
            f"The steps of the feeder's load shapes are no multiples of each other or of {step} s.",
            "Give them one step, or use --profiles.",
        )
    length = max(max(len(mult) * seconds for mult, seconds, _ in shapes.values()), _DAY)
    first = round(skip_days * _DAY / step)
    last = (
        length // step if days is None else min(length // step, first + round(days * _DAY / step))
    )
    if last - first < 2:
        raise InputError(
            f"The feeder's load shapes last {length / _DAY:g} days.",
            "Check --days and --skip-days.",
        )
    watts = np.empty((last - first, len(found)), dtype=np.float32)
    for column, (_, kw, name) in enumerate(found):
        if not name:
            watts[:, column] = kw * 1000
            continue
        mult, seconds, actual = shapes[name.lower()]
        series = _at_step(mult, seconds, step)
        scale = 1000 if actual else kw * 1000
        watts[:, column] = series[np.arange(first, last) % len(series)] * scale
    if not watts.any():
        raise InputError(
            "The loads of the feeder draw nothing: their load shapes are zero throughout.",
            "Check the mult= of the shapes, and --days and --skip-days; or use --profiles.",
        )
    notes += _cut_short(shapes)
    busiest = first + int(np.argmax(watts.sum(axis=1)))
    longest = max(seconds for _, seconds, _ in shapes.values())
    # The engine takes a point of a shape for the time about the end of its interval.
    notes += _other_vars(engine, (busiest * step // longest + 1) * longest - 1)
    bare = sum(not name for _, _, name in found)
    if bare:
        notes.append(f"{bare} loads have no load shape: their kW all the time.")
    start = _START + np.timedelta64(first * step, "s")
    return Profiles(start, step, tuple(name for name, _, _ in found), watts, tuple(notes))


def _cut_short(shapes: dict[str, tuple[NDArray[np.float64], int, bool]]) -> list[str]:
    """A note on shapes that end in zeros: the engine fills up to npts= with them."""
    short = {
        name: len(mult) - int(np.flatnonzero(mult)[-1]) - 1
        for name, (mult, _, _) in shapes.items()
        if mult.any()
    }
    found = [name for name, zeros in short.items() if 2 * zeros > len(shapes[name][0])]
    return [
        f"Beware: load shape {name} is zero in its last {short[name]} of {len(shapes[name][0])} "
        "points; has it fewer values than npts= says?"
        for name in found[:1]
    ]


def _other_vars(engine: Any, second: int) -> list[str]:
    """A note where the engine's own run draws other vars than by the loads' power factors: shapes
    with vars of their own (qmult), or in kilowatts for loads whose kvar is given. Only loads of
    constant power are looked at, at the second after `second`."""
    text, circuit = engine.Text, engine.ActiveCircuit
    text.Command = "set mode=yearly number=1 stepsize=1s controlmode=off"
    text.Command = f"set hour={second // _HOUR} sec={second % _HOUR}"
    try:
        text.Command = "solve"
    except Exception as exc:  # the engine gives up: nothing is known then
        if type(exc).__name__ != "DSSException":
            raise
        return []
    odd: list[str] = []
    loads = circuit.Loads
    k = loads.First
    while k:
        element = circuit.ActiveCktElement
        if element.Enabled and int(loads.Model) == 1:
            power = np.asarray(element.Powers, dtype=float).view(complex).sum()
            factor = float(loads.PF)
            by_factor = abs(power.real) * np.sqrt(1 - factor**2) / factor
            if abs(power.imag - by_factor) > max(0.01 * abs(power), 1e-3) and power.real > 0:
                odd.append(str(loads.Name))
        k = loads.Next
    if not odd:
        return []
    return [
        f"Beware: in OpenDSS {len(odd)} load{'s' if odd[1:] else ''} (first {odd[0]}) would draw "
        "other vars than by their power factor: shapes with qmult, or in kilowatts for loads with "
        "kvar. Here vars follow the power factor."
    ]


def _shape(circuit: Any, name: str) -> tuple[NDArray[np.float64], int, bool]:
    """Multipliers, step in seconds, and whether they are kilowatts rather than shares."""
    shapes = circuit.LoadShapes
    shapes.Name = name
    seconds = round(float(shapes.sInterval))
    mult = np.asarray(shapes.Pmult, dtype=float)
    if int(shapes.Npts) < 1:
        raise InputError(
            f"Load shape {name} is empty: it has no points.",
            "Give npts= before its mult=, pmult= or file: the engine reads that many values.",
        )
    if seconds < 1 or not len(mult):
        raise InputError(
            f"Load shape {name} has no regular step.", "Give it an interval, or use --profiles."
        )
    return mult, seconds, bool(shapes.UseActual)


def _at_step(mult: NDArray[np.float64], seconds: int, step: int) -> NDArray[np.float64]:
    """A shape of another step: averaged to a longer one, held to a shorter one."""
    if seconds >= step:
        return np.repeat(mult, seconds // step)
    n = step // seconds
    whole = np.resize(mult, -(-len(mult) // n) * n)
    return np.asarray(whole.reshape(-1, n).mean(axis=1))
