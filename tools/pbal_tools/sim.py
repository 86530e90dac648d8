"""`pbal sim`: a street on this computer, live or headless."""

import asyncio
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pbal_host import counted
from pbal_sim.loads import header

from . import practice, simfleet, simhq, topology
from .context import app_context
from .errors import CheckFailed, InputError
from .extras import require
from .output import JsonFlag, check_writable, emit, write_json
from .picture import Picture, sentence
from .screen import ending_signals, show
from .streetfaults import FAULTS
from .streetoptions import SCENARIOS, RunOptions, check, default_port, scenario_of
from .streetrun import StreetRun
from .view import save_svg

PROGRESS_S = 0.1
STATE_EVERY_S = 10.0
NOTE_EVERY_S = 2.0

app = typer.Typer(
    no_args_is_help=True, help="Run a street on this computer: real firmware, real controller."
)


@app.callback()
def sim() -> None:
    """Run a street on this computer: real firmware, real controller.

    Example: pbal sim run
    """


app.command()(practice.board)
app.command()(practice.street)
app.command()(simfleet.fleet)
app.command()(simhq.hq)


@app.command("topology")
def draw_topology(
    scenario: Annotated[
        str, typer.Argument(metavar="NAME", help=f"One of {', '.join(SCENARIOS)}.")
    ] = "urban",
    homes: Annotated[int, typer.Option(min=1, max=96, help="How many homes.")] = 12,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE.svg", help="Draw it into this file.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Who speaks to whom over what in a scenario of `pbal sim run`. Starts nothing.

    Example:  pbal sim topology mixed --svg mixed.svg
    """
    found = scenario_of(scenario)
    if svg is not None:
        check_writable(svg)
        svg.write_text(topology.svg(scenario, found, homes), encoding="utf-8")
    data = {
        "scenario": scenario,
        "homes": homes,
        "links": [
            {
                "home": link.home + 1,
                "over": link.over,
                "bridge": None if link.at == topology.CONTROLLER else link.at + 1,
            }
            for link in topology.links(found, homes)
        ],
        "picture": str(svg) if svg else None,
    }

    def render(_: dict[str, Any]) -> None:
        print("\n".join(topology.told(found, homes)))
        print(f"picture: {svg}" if svg else "draw it:  --svg FILE.svg")

    emit(data, json_output, render)


@app.command()
def run(
    ctx: typer.Context,
    homes: Annotated[
        int, typer.Option(min=1, max=96, help="How many homes; a segment carries 96.")
    ] = 12,
    seconds: Annotated[
        float | None,
        typer.Option(
            min=1.0, help="End after so many seconds, starting up included. Live: until Ctrl-C."
        ),
    ] = None,
    headless: Annotated[
        bool,
        typer.Option("--headless", help="No live picture: a line for each thing that happens."),
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the result there; - is stdout."),
    ] = None,
    profiles: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Watts per home: time,home_01,... (plain or .gz). Default: generated.",
        ),
    ] = None,
    speed: Annotated[
        float, typer.Option(min=0.0, help="How much faster the loads' time runs.")
    ] = 4.0,
    hour: Annotated[
        float, typer.Option(min=0.0, max=24.0, help="Time of day at which the loads begin.")
    ] = 19.0,
    seed: Annotated[int, typer.Option(help="Of the street and its loads.")] = 42,
    faults: Annotated[
        str, typer.Option(metavar="A,B", help=f"Break something: {', '.join(sorted(FAULTS))}.")
    ] = "",
    keep: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep logs, configuration and journal there."),
    ] = None,
    svg: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE.svg", help="Write the last screen as a picture."),
    ] = None,
    uplink: Annotated[
        bool,
        typer.Option(
            "--uplink",
            help="Also HQ: a broker (Mosquitto) on loopback, and what a subscriber hears there.",
        ),
    ] = False,
    link: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help='Report to an HQ that runs: JSON {"site": 7, "uplink": {...}}, as in pbal.toml.',
        ),
    ] = None,
    scenario: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"How the homes are reached: {', '.join(SCENARIOS)} (RS-485; LoRa; buildings with "
            "an RS-485 line, each behind a bridge over LoRa; RS-485 and LoRa in every home; Wi-Fi; "
            "the last third of the homes behind a bridge over LoRa, of the others every second one "
            "on RS-485 and the rest on Wi-Fi).",
        ),
    ] = "urban",
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Port of the controller's status page; 0: any free. Default: 8480 where it is "
            "free, which `pbal monitor` looks at.",
        ),
    ] = None,
) -> None:
    """Run a street: every home a MicroPython interpreter with the node's firmware, read over
    RS-485 by the real controller, which moves homes until the phases are balanced.

    \b
    pbal sim run
    pbal sim run --homes 60 --headless --seconds 90 --json result.json
    pbal sim run --profiles street.csv.gz --speed 60
    pbal sim run --faults noise,dead
    pbal sim run --uplink
    pbal sim run --scenario rural --homes 6
    pbal sim run --scenario campus
    pbal sim run --scenario mixed
    """
    options = RunOptions(
        homes=homes,
        seconds=seconds,
        profiles=profiles,
        speed=speed,
        hour=hour,
        seed=seed,
        faults=tuple(name for name in faults.split(",") if name),
        keep=keep,
        uplink=uplink,
        link=link,
        scenario=scenario,
        port=default_port() if port is None else port,
    )
    require("sim")
    check(options)
    if svg is not None and svg.suffix.lower() != ".svg":
        raise InputError(f"{svg}: the picture is an SVG.", "Name a file that ends in .svg.")
    if profiles is not None:
        given = len(header(profiles))
        if given > homes:
            print(f"pbal: note: {profiles} has {given} homes, the first {homes} are used; "
                  f"--homes {min(given, 96)} takes more", file=sys.stderr)  # fmt: skip
    for path in (json_file, svg):
        if path is not None:
            check_writable(path)
    console = Console(stderr=json_file is not None and str(json_file) == "-")
    live = not headless and console.is_terminal
    if not headless and not live:
        print("pbal: no terminal here, so no live picture (as with --headless)", file=sys.stderr)
    if not live and options.seconds is None:
        options.seconds = scenario_of(options.scenario).headless_s
    street = asyncio.run(play(options, console, live, quiet=app_context(ctx).quiet))
    if street.result:
        if json_file is not None:
            write_json(json_file, street.result)
        if svg is not None:
            save_svg(street.picture, svg)
        print_result(street.result, console)
        if street.result["problems"]:
            raise CheckFailed("The street failed: " + "; ".join(street.result["problems"]) + ".")


async def play(options: RunOptions, console: Console, live: bool, quiet: bool) -> StreetRun:
    """Runs the street to its end and shows it. Ctrl-C ends it in order."""
    street = StreetRun(options)
    task = asyncio.create_task(street.run())

    def stop() -> None:
        if street.stopping.is_set() or street.picture.stage != "running":
            task.cancel()
        street.stopping.set()

    async def update() -> bool:
        return not task.done()

    with ending_signals(stop):
        try:
            if live:
                await show(console, street.picture, update)
            else:
                await tell(street.picture, task, silent if quiet else partial(say, console))
            await task
        except asyncio.CancelledError:
            if not street.stopping.is_set():
                raise
            raise KeyboardInterrupt from None
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
    return street


def say(console: Console, line: str) -> None:
    """One line as it is: a log is not wrapped at the width of a terminal."""
    console.print(line, soft_wrap=True, highlight=False, markup=False)


def silent(line: str) -> None:
    """Says nothing, for --quiet."""


async def tell(picture: Picture, task: "asyncio.Task[None]", say: Callable[[str], None]) -> None:
    """Headless: a line whenever something happens, and the state every few seconds."""
    fault = ""
    url, said, next_note, next_state = "", "", 0.0, 0.0
    told: set[int] = set()
    heard = 0
    say(f"{picture.title}; {picture.footer}")
    while not task.done():
        now = f"{picture.elapsed_s:6.1f} s  "
        words = sentence(picture)
        if picture.url != url:
            url = picture.url
            say(f"{now}status page {url}  (look on: pbal monitor --url {url})")
        if picture.fault != fault:
            fault = picture.fault
            say(f"{now}fault: {fault}")
        for line in picture.told[heard:]:
            heard += 1
            say(now + line)
        if picture.stage == "running":
            for move in reversed(picture.moves):
                if move.done and move.command_id not in told:
                    told.add(move.command_id)
                    say(f"{now}{move.home}, {move.reason}: {move.state}")
            if picture.elapsed_s >= next_state:
                next_state = picture.elapsed_s + STATE_EVERY_S
                say(now + state_line(picture))
        elif words != said and picture.elapsed_s >= next_note:
            said, next_note = words, picture.elapsed_s + NOTE_EVERY_S
            say(now + words)
        await asyncio.wait({task}, timeout=PROGRESS_S)


def state_line(picture: Picture) -> str:
    """The phases and the link in one line."""
    a, b, c = picture.phase_a or (0.0, 0.0, 0.0)
    link = picture.link
    lost = f"{link.frames_lost} frames lost" if link.frames_ok else "starting"
    age = f", 95 % read within {link.age_p95_s:.1f} s" if link.age_p95_s is not None else ""
    return (
        f"A {a:.1f}  B {b:.1f}  C {c:.1f}  neutral {picture.neutral_a or 0.0:.1f} A; "
        f"{link.fresh}/{link.known} homes fresh{age}, {lost}"
    )


def uplink_lines(uplink: dict[str, Any] | None) -> list[str]:
    """What HQ heard in a run, in words; nothing where there was no HQ."""
    if uplink is None:
        return []
    return [f"HQ stored {uplink['summaries']} summaries and {counted(uplink['events'], 'event')}"]


def interpreter_name(implementation: str) -> str:
    """sys.implementation's own text in a few words."""
    found = re.search(r"version=\((\d+), (\d+), (\d+)", implementation)
    number = ".".join(found.groups()) if found else "of an unknown version"
    return f"an interpreter of its own, MicroPython {number}"


def neutral_lines(result: dict[str, Any]) -> list[str]:
    """What the moves changed; why there were none, where no home was moved."""
    before, after = result["neutral_current_before_a"], result["neutral_current_after_a"]
    without = result["neutral_current_without_a"]
    if not result["switches_seen_by_the_twin"]:
        now = [] if after is None else [f"neutral current  {after:.1f} A"]
        return [*now, f"moves            none: {result['why_no_move']}"]
    lines = []
    if before and after is not None:
        lines.append(f"neutral current  {before:.1f} A before, {after:.1f} A after the moves")
    if without is not None:
        lines.append(f"                 {without:.1f} A now, had no home been moved")
    return lines


def print_result(result: dict[str, Any], console: Console) -> None:
    """The result, for a person."""
    lines = [
        f"homes            {result['homes']}, each {interpreter_name(result['interpreter'])}",
        *neutral_lines(result),
    ]
    told = f"{result['switches_confirmed']} confirmed by measurement"
    if result["switches_refused"]:
        told += f", {result['switches_refused']} refused or let expire by a node"
    age_s = result["telemetry_age_p95_s"]
    age = "?" if age_s is None else f"{age_s:.2f} s"
    lines += [
        f"switchings       {result['switches_ordered']} ordered, {told}",
        f"link             {result['frames_answered']} frames, {result['frames_lost']} lost; "
        f"95 % of readings younger than {age}",
        f"node             {result['node_heap_peak_bytes'] / 1024:.0f} KiB of heap at most",
        *(f"note             {note}" for note in result["notes"]),
        *(f"uplink           {told}" for told in uplink_lines(result.get("uplink"))),
    ]
    console.print("\n".join(lines), highlight=False, soft_wrap=True)
