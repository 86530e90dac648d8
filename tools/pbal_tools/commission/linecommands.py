"""`pbal commission scan`, `blink` and `place`: the nodes of a live line, without their keys."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from pbal_controller.keys import KeyStore, Seal
from pbal_protocol.modbus import UNPROVISIONED

from ..errors import CheckFailed, InputError, UnreachableError
from ..output import JsonFlag, emit
from ..sitefile import SITE, Radio, Site, load
from . import content
from . import scan as scanning
from .job import Job
from .line import Line
from .options import Answer, BusName, File, Units, medium_of, say, units_of
from .questions import Asker
from .state import State


def _eui(text: str) -> bytes:
    try:
        found = bytes.fromhex(text.replace("-", "").replace(":", ""))
    except ValueError:
        found = b""
    if len(found) != 8:
        raise InputError(f"{text!r} is no EUI.", "It is 16 hex digits, as on the label.")
    return found


@contextlib.contextmanager
def _line(site: Path, bus: str | None, answer_ms: float | None) -> Iterator[tuple[Site, str, Line]]:
    found = load(site)
    name, table = medium_of(found, bus)
    if isinstance(table, Radio):
        raise InputError(
            f"{name} is a radio: who is heard on it is known only with the keys.",
            f"pbal commission run {site} --bus {name} --until scan",
        )
    with Line(table, answer_ms / 1000 if answer_ms else None) as line:
        yield found, name, line


def scan(
    site: File = SITE,
    bus: BusName = None,
    units: Units = "1-246",
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave new nodes at their temporary units.")
    ] = False,
    answer_ms: Answer = None,
    json_output: JsonFlag = False,
) -> None:
    """Find every node on a live line, also those that have no address yet.

    The controller must be stopped. Nodes without keys all wait at unit 247; they are found by their
    EUI and can be made to blink.

    Example:  pbal commission scan site.toml --bus north
    """
    with _line(site, bus, answer_ms) as (found, name, line):
        job = Job(found, name, line, _no_store(), State(Path(), {}), Asker({}), quiet=json_output)
        told = scanning.scan(job, units_of(units), keep)

    def render(_: Any) -> None:
        for node in told["provisioned"]:
            mark = "" if node["address"] is not None else "   not in the site file"
            say([f"unit {node['unit']:>3}  {node['board']:<18} {node['version']:<8} "
                  f"phase {content.letter(node['phase'])}  {node['name']}{mark}"])  # fmt: skip
        for node in told["waiting"]:
            at = f"unit {node['unit']} until it is reset" if keep else "waits at unit 247"
            say([f"no keys   {node['eui']}  {node['board']:<18} {at}"])
        for crowd in told["crowded"]:
            say([f"unit {crowd['unit']:>3}  {crowd['words']}"])
        for address in told["absent"]:
            say([f"home {address} does not answer"])
        say([f"{told['took_s']} s, {told['questions']} questions of the search, "
              f"{told['collisions']} collisions"])  # fmt: skip
        if told["waiting"]:
            eui = told["waiting"][0]["eui"]
            say([f"next: pbal commission blink {eui} shows which box it is; keys over its USB "
                  "cable: pbal provision add"])  # fmt: skip

    emit(told, json_output, render)
    if told["crowded"]:
        first = told["crowded"][0]
        raise CheckFailed(f"{first['words'].capitalize()}.", f"{first['remedy']}.")
    if not told["complete"]:
        raise CheckFailed("The search did not come to an end.", "Repeat; look for noise.")


def _no_store() -> KeyStore:
    return KeyStore(Path(), Seal(b"", 0, 0, b""))


def blink(
    eui: Annotated[str, typer.Argument(help="The node's EUI, 16 hex digits.")],
    site: File = SITE,
    bus: BusName = None,
    seconds: Annotated[int, typer.Option("--seconds", min=0, max=255)] = 60,
    answer_ms: Answer = None,
    json_output: JsonFlag = False,
) -> None:
    """Make a node that has no keys yet blink its LED, to see which box it is.

    Example:  pbal commission blink 24a160fffe000001 site.toml
    """
    who = _eui(eui)
    with _line(site, bus, answer_ms) as (_, _, line):
        line.listen()
        heard = scanning.blink(line, who, seconds)
    if not heard:
        raise UnreachableError(
            f"{who.hex()} does not answer.", "See who does:  pbal commission scan"
        )
    emit({"eui": who.hex(), "seconds": seconds}, json_output,
         lambda _: print(f"{who.hex()} blinks for {seconds} s"))  # fmt: skip


def place(
    eui: Annotated[str, typer.Argument(help="The node's EUI, 16 hex digits.")],
    unit: Annotated[int, typer.Argument(min=1, max=247, help="1..246; 247: wait again.")],
    site: File = SITE,
    bus: BusName = None,
    answer_ms: Answer = None,
    json_output: JsonFlag = False,
) -> None:
    """Let a node that has no keys yet answer at a unit of its own, until it is reset.

    Stock Modbus tools can then read its registers. An address for good comes with its keys, over
    its USB cable: pbal provision add.

    Example:  pbal commission place 24a160fffe000001 200 site.toml
    """
    who = _eui(eui)
    with _line(site, bus, answer_ms) as (_, _, line):
        line.listen()
        if unit != UNPROVISIONED and scanning.plain(line, unit, 2) is not None:
            raise InputError(f"Unit {unit} is taken.", "Choose another one.")
        if not scanning.place(line, who, unit):
            raise UnreachableError(
                f"{who.hex()} does not answer.", "See who does:  pbal commission scan"
            )
        told = scanning.plain(line, unit, 3)
    if told is None and unit != UNPROVISIONED:
        raise CheckFailed(f"{who.hex()} took unit {unit} but is silent there.", "Repeat.")
    emit({"eui": who.hex(), "unit": unit, "node": told}, json_output,
         lambda _: print(f"{who.hex()} answers at unit {unit} until it is reset"))  # fmt: skip
