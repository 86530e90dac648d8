"""The command line of `pbal meter`."""

import math
from typing import Annotated, Any

import typer

from pbal_controller.errors import ConfigError
from pbal_controller.meters import Profile, load_profile, names

from ..errors import CheckFailed, InputError
from ..output import JsonFlag, emit
from . import probing

app = typer.Typer(no_args_is_help=True, help="The transformer's three-phase meter.")

Name = Annotated[str, typer.Argument(help="A profile's name, or the path of a profile file.")]


def _load(name: str) -> Profile:
    try:
        return load_profile(name)
    except ConfigError as exc:
        raise InputError(str(exc), "See:  pbal meter list") from None


def _facts(profile: Profile) -> dict[str, Any]:
    head, line = profile.meter, profile.line
    return {
        "name": head.name,
        "title": head.title,
        "source": head.source,
        "devices": head.devices,
        "directed": head.directed,
        "phases": head.phases,
        "line": f"{line.baud} 8{line.parity}{line.stop_bits}",
    }


@app.command("list")
def list_profiles(json_output: JsonFlag = False) -> None:
    """The meters there are profiles for.

    Example:  pbal meter list
    """
    rows = [_facts(_load(name)) for name in names()]

    def render(data: list[dict[str, Any]]) -> None:
        for row in data:
            print(f"{row['name']:<12} {row['line']:<10} {row['title']}")

    emit(rows, json_output, render)


@app.command()
def show(name: Name, json_output: JsonFlag = False) -> None:
    """What a profile reads, and where that is from. Also checks a profile of your own.

    Example:  pbal meter show em340
    """
    profile = _load(name)
    values = profile.values.model_dump(exclude_none=True)
    data = _facts(profile) | {
        "function": profile.registers.function,
        "word_order": profile.registers.word_order,
        "values": values,
        "requests": [[ask.unit, ask.first, ask.count] for ask in profile.asks(1)],
    }

    def render(found: dict[str, Any]) -> None:
        print(f"{found['name']}: {found['title']}, {found['line']}")
        print(f"source: {found['source']}")
        print(f"function {found['function']:02d}, {found['word_order']}")
        for what, value in values.items():
            at = ", ".join(f"0x{first:04X}" for first in value["at"])
            print(f"  {what:<10} {at:<24} {value['type']} x {value['scale']:g}")
        print(f"{len(found['requests'])} request(s) for a reading")

    emit(data, json_output, render)


@app.command()
def probe(
    port: Annotated[str, typer.Option(help="Its serial port, or socket://host:port.")],
    profile: Annotated[
        str, typer.Option(help="A profile's name or file. Default: try all there are.")
    ] = "",
    unit: Annotated[int, typer.Option(min=1, max=247, help="Modbus unit of the meter.")] = 1,
    baud: Annotated[
        int | None, typer.Option(min=1200, max=1_000_000, help="Default: the profile's.")
    ] = None,
    parity: Annotated[str | None, typer.Option(help="N, E or O. Default: the profile's.")] = None,
    stop_bits: Annotated[
        int | None, typer.Option(min=1, max=2, help="Default: the profile's.")
    ] = None,
    phases: Annotated[
        str | None, typer.Option(help="Which phases its L1, L2, L3 are on, such as BCA.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Read a meter and say what the profile makes of it, or which profiles fit.

    Example:  pbal meter probe --port /dev/ttyUSB1 --profile sdm630

    It only reads. The controller must not use the port meanwhile.
    """
    if parity is not None and parity not in ("N", "E", "O"):
        raise InputError(f"The parity is {parity!r}.", "Give N, E or O.")
    if phases is not None and sorted(phases) != ["A", "B", "C"]:
        raise InputError(f"The phases are {phases!r}.", "Give A, B and C in some order.")
    tried = [_load(profile)] if profile else [_load(name) for name in names()]
    at = probing.At(port, unit, baud, parity, stop_bits, phases)
    found = [probing.probe(one, at) for one in tried]
    data = {
        "port": port,
        "unit": unit,
        "fits": [one.profile.meter.name for one in found if one.fits],
        "probed": [one.as_dict() for one in found],
    }
    emit(data, json_output, lambda _: _render(found, bool(profile)))
    if not data["fits"]:
        raise CheckFailed(_why_not(found, unit, bool(profile)), _what_next(found))


def _render(found: list[probing.Probed], one: bool) -> None:
    for item in found:
        mark = "fits" if item.fits else "no"
        print(f"{item.profile.meter.name:<12} {mark:<5} {item.words}")
    shown = [item for item in found if item.reading is not None and (item.fits or one)]
    for item in shown:
        reading = item.reading
        assert reading is not None
        print(f"\n{item.profile.meter.title}")
        print(f"{'':4}{'V':>9}{'A':>9}{'W':>10}{'var':>10}")
        rows = zip("ABC", reading.v, reading.i, reading.p_w, reading.q_var, strict=True)
        for name, v, i, p_w, q_var in rows:
            print(f"{name:<4}{v:9.5g}{i:9.5g}{p_w:10.6g}{q_var:10.6g}")
        if math.isfinite(reading.freq_hz):
            print(f"{reading.freq_hz:.5g} Hz")
        if math.isfinite(reading.neutral_a):
            print(f"{reading.neutral_a:.5g} A in the neutral")
        for note in item.notes:
            print(f"note: {note}")


def _why_not(found: list[probing.Probed], unit: int, one: bool) -> str:
    if all(item.silent for item in found):
        return f"Nobody answers at unit {unit}."
    if one:
        return f"The profile {found[0].profile.meter.name} does not fit: {found[0].words}."
    return "No profile fits."


def _what_next(found: list[probing.Probed]) -> str:
    if all(item.silent for item in found):
        return (
            "Check A and B, the supply, the unit set at the meter (--unit), and its line "
            "(--baud, --parity)."
        )
    return (
        "Try the others (leave out --profile), or copy boards/meters/generic.toml and put the "
        "numbers of the meter's Modbus table into it (docs/meters.md)."
    )
