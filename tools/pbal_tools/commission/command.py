"""The command line of `pbal commission`."""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pbal_controller.config import JournalConfig
from pbal_controller.documents import dump_json
from pbal_controller.errors import JournalError, KeyStoreError
from pbal_controller.journal import Journal, hold
from pbal_controller.keys import KeyStore
from pbal_protocol.modbus import UNPROVISIONED

from ..errors import CheckFailed, CliError, InputError, RefusedError, UnreachableError
from ..extras import require
from ..flash.run import end_like_ctrl_c
from ..keystore import passphrase as ask_passphrase
from ..output import JsonFlag, emit
from ..sitefile import SITE, Bus, Radio, Site, load
from . import content, signature
from . import scan as scanning
from .air import Air
from .guide import Guide
from .job import Job, Meter
from .line import Line
from .questions import Asker
from .state import STEPS, State, default_folder
from .survey import MARGIN_DB
from .surveycommand import survey
from .talk import PATIENCE_S
from .watch import LEAST_ROUNDS

app = typer.Typer(
    no_args_is_help=True, help="Commission a street: scan, phases, calibration, transfer test."
)

app.command()(survey)

File = Annotated[Path, typer.Argument(help="The site file.")]
BusName = Annotated[
    str | None,
    typer.Option("--bus", "-b", help="The bus or radio; may be left out where there is one."),
]
Units = Annotated[
    str, typer.Option("--units", help="Units to ask besides those of the site file, e.g. 1-40.")
]
Answer = Annotated[
    float | None, typer.Option("--answer-ms", min=5, max=2000, help="Wait so long for an answer.")
]
PassFile = Annotated[Path | None, typer.Option("--passphrase-file", help="Of the key store.")]


def _medium(site: Site, name: str | None) -> tuple[str, Bus | Radio]:
    media: dict[str, Bus | Radio] = {**site.bus, **site.radio}
    known = ", ".join(media) or "none"
    if name is None:
        if len(media) != 1:
            raise InputError(
                f"The site has {len(media)} buses and radios: {known}.",
                "Choose one with --bus NAME.",
            )
        name = next(iter(media))
    if name not in media:
        raise InputError(f"There is no bus or radio {name}.", f"The site file names: {known}.")
    return name, media[name]


def _units(text: str) -> range:
    first, _, last = text.partition("-")
    try:
        found = range(int(first), int(last or first) + 1)
    except ValueError:
        found = range(0)
    if not found or found[0] < 1 or found[-1] > 246:
        raise InputError(f"--units {text}: not a range within 1-246.", "E.g. --units 1-40")
    return found


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
    name, table = _medium(found, bus)
    if isinstance(table, Radio):
        raise InputError(
            f"{name} is a radio: who is heard on it is known only with the keys.",
            f"pbal commission run {site} --bus {name} --until scan",
        )
    with Line(table, answer_ms / 1000 if answer_ms else None) as line:
        yield found, name, line


def _say(lines: list[str]) -> None:
    if sys.stderr.isatty():
        print(f"\r{'':<78}\r", end="", file=sys.stderr, flush=True)
    print("\n".join(lines))


@app.command()
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
        told = scanning.scan(job, _units(units), keep)

    def render(_: Any) -> None:
        for node in told["provisioned"]:
            mark = "" if node["address"] is not None else "   not in the site file"
            _say([f"unit {node['unit']:>3}  {node['board']:<18} {node['version']:<8} "
                  f"phase {content.letter(node['phase'])}  {node['name']}{mark}"])  # fmt: skip
        for node in told["waiting"]:
            at = f"unit {node['unit']} until it is reset" if keep else "waits at unit 247"
            _say([f"no keys   {node['eui']}  {node['board']:<18} {at}"])
        for crowd in told["crowded"]:
            _say([f"unit {crowd['unit']:>3}  {crowd['words']}"])
        for address in told["absent"]:
            _say([f"home {address} does not answer"])
        _say([f"{told['took_s']} s, {told['questions']} questions of the search, "
              f"{told['collisions']} collisions"])  # fmt: skip
        if told["waiting"]:
            eui = told["waiting"][0]["eui"]
            _say([f"next: pbal commission blink {eui} shows which box it is; keys over its USB "
                  "cable: pbal provision add"])  # fmt: skip

    emit(told, json_output, render)
    if told["crowded"]:
        first = told["crowded"][0]
        raise CheckFailed(f"{first['words'].capitalize()}.", f"{first['remedy']}.")
    if not told["complete"]:
        raise CheckFailed("The search did not come to an end.", "Repeat; look for noise.")


def _no_store() -> KeyStore:
    return KeyStore(Path(), b"", b"", 0, 0)


@app.command()
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


@app.command()
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


@app.command()
def run(
    site: File = SITE,
    bus: BusName = None,
    keys: Annotated[Path, typer.Option("--keys", "-k")] = Path("/var/lib/pbal/keys.json"),
    passphrase_file: PassFile = None,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="Where the record is kept.")
    ] = None,
    journal: Annotated[
        Path | None,
        typer.Option("--journal", help="The controller's journal, where it is on this computer."),
    ] = None,
    answers: Annotated[
        Path | None, typer.Option("--answers", help="Answers to all questions, JSON or TOML.")
    ] = None,
    again: Annotated[
        str | None, typer.Option("--again", help=f"Repeat from a step: {', '.join(STEPS)}.")
    ] = None,
    until: Annotated[str, typer.Option("--until", help="Stop after this step.")] = STEPS[-1],
    go_on: Annotated[
        bool,
        typer.Option(
            "--go-on",
            help="Past open points, with the homes that have none; the others are not moved.",
        ),
    ] = False,
    watch: Annotated[
        float, typer.Option("--watch", min=5, max=3600, help="Seconds to watch for the phases.")
    ] = 120.0,
    every: Annotated[
        float, typer.Option("--every", min=0.4, max=60, help="Seconds between two rounds of it.")
    ] = 1.0,
    units: Units = "1-246",
    listen: Annotated[
        float | None,
        typer.Option("--listen", min=5, max=3600, help="Of a radio: seconds to wait for joins."),
    ] = None,
    margin: Annotated[
        float,
        typer.Option("--margin", min=0, max=40, help="Of a radio: dB a good link has to spare."),
    ] = MARGIN_DB,
    answer_ms: Answer = None,
    json_output: JsonFlag = False,
) -> None:
    """The whole commissioning of one bus or radio, step by step; goes on where an earlier run
    stopped.

    A radio is commissioned where it is, e.g. on the Raspberry Pi, with its controller stopped.

    Example:  pbal commission run site.toml --keys keys.json --passphrase-file keys.pass
    """
    if until == STEPS[-1]:
        require("report")  # reported now, not after the transfers
    asker = Asker.load(answers)
    found = load(site)
    name, table = _medium(found, bus)
    steps = Air.steps if isinstance(table, Radio) else Line.steps
    for step in (again, until):
        if step is not None and step not in steps:
            raise InputError(f"There is no step {step}.", f"Steps: {', '.join(steps)}.")
    if isinstance(table, Radio):
        _journal_of(journal)
    range_ = _units(units)
    if not keys.exists():
        raise InputError(f"There is no key store {keys}.", "pbal provision init makes one.")
    secret = ask_passphrase(passphrase_file)
    try:
        store = KeyStore.open(keys, secret)
    except KeyStoreError as exc:
        raise InputError(f"Key store: {exc}.") from None
    if store.site_id != found.site.id:
        raise InputError(
            f"The key store is of site {store.site_id}, the file of site {found.site.id}.",
            "Take the right key store.",
        )
    state = State.open(folder or default_folder(found.site.id, name), found.site.id, name)
    if again:
        state.forget(again)
    with contextlib.ExitStack() as stack:
        if journal is not None:
            try:
                opened = Journal(journal)
            except JournalError as exc:
                raise InputError(str(exc)) from None
            stack.callback(opened.close)
        line = None
        if isinstance(table, Radio):
            job = Job.on_air(found, name, table, store, state, asker, quiet=json_output)
            stack.enter_context(job.air)
        else:
            line = stack.enter_context(Line(table, answer_ms / 1000 if answer_ms else None))
            job = Job(found, name, line, store, state, asker, quiet=json_output)
        job.journal = opened if journal is not None else None
        config = found.transformer.meter
        if config is not None:
            job.meter = stack.enter_context(
                Meter(config, line if config.bus == name else None).open()
            )
        console = Console()

        def show(lines: list[str]) -> None:
            if json_output:
                return
            if lines and lines[0].startswith("Step") and console.is_terminal:
                console.clear()
            _say(lines)

        if line is None:
            watch = max(watch, LEAST_ROUNDS * 2 * job.air.turn_s)
        guide = Guide(
            job,
            secret,
            range_,
            (watch, every),
            go_on,
            show,
            again=again,
            margin_db=margin,
            listen_s=listen,
        )
        end_like_ctrl_c()
        if line is None:
            job.begin()
        else:
            line.listen()
        patience_s = PATIENCE_S
        try:
            guide.run(until)
        except KeyboardInterrupt:
            patience_s = 2.0  # for each home; a second Ctrl-C ends it at once
            raise
        finally:
            _finish(job, patience_s)
            if json_output:
                print(dump_json(_result(state), indent=2))


def _journal_of(journal: Path | None) -> None:
    """Over a radio the nodes take no beacon whose number they had. Raises InputError where a
    controller's journal is on this computer and was not given; RefusedError where it is in use.
    """
    if journal is None:
        usual = JournalConfig().path
        if os.path.exists(usual):  # False also where this user may not look
            raise InputError(
                f"A controller ran here ({usual}); nodes that heard its beacons hear none of ours "
                "without its numbers.",
                f"Add --journal {usual}",
            )
        return
    try:
        lock = hold(journal)
    except JournalError as exc:
        raise RefusedError(f"{exc}.", "systemctl stop pbal-controller") from None
    if lock >= 0:
        os.close(lock)


def _finish(job: Job, patience_s: float) -> None:
    """Ends each conversation; a failure here is printed, not raised in place of the real error."""
    for talk in job.contacted():
        try:
            talk.finish(patience_s)
        except CliError as exc:
            print(f"pbal: home {talk.address}: {exc.message} Run it once more to end well.",
                  file=sys.stderr)  # fmt: skip


def _result(state: State) -> dict[str, Any]:
    """The result for scripts: each step, and each home without its long records."""
    homes = {}
    for address, notes in state.data["homes"].items():
        homes[address] = {
            step: {k: v for k, v in told.items() if k not in ("record", "trace")}
            for step, told in notes.items()
        }
    steps = state.data["steps"]
    wanted = Air.steps if "survey" in steps else Line.steps
    return {
        "folder": str(state.folder), "site": state.data["site"], "bus": state.data["bus"],
        "ok": all(steps.get(step, {}).get("ok") for step in wanted)
        and bool(steps["report"].get("ok_all")),
        "steps": steps, "homes": homes, "restore": state.data["restore"],
        "survey": state.data.get("survey"),
    }  # fmt: skip


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="The folder of a commissioning.")],
    json_output: JsonFlag = False,
) -> None:
    """What has been done so far.

    Example:  pbal commission show commission-7-north
    """
    state = State.read(folder)

    def render(data: Any) -> None:
        print(f"site {data['site']}, bus {data['bus']}")
        for step in STEPS:
            told = data["steps"].get(step)
            if told is None and step not in Line.steps and data["survey"] is None:
                continue
            words = "not yet" if told is None else "done" if told["ok"] else "OPEN"
            more = f"  {told['words']}" if told and told["words"] else ""
            print(f"  {content.TITLES[step]:<30} {words}{more}")
        for address, values in data["restore"].items():
            print(f"  home {address} still has to get back: {values}")

    emit(_result(state), json_output, render)


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="The folder of a report.")],
    public: Annotated[
        str | None, typer.Option("--public", help="The site's public key, as hex or file.")
    ] = None,
    keys: Annotated[
        Path | None, typer.Option("--keys", "-k", help="Take the public key beside this store.")
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Check that a report is whole, unchanged, and signed by the site.

    Example:  pbal commission verify commission-7-north/report-20260401-101500 --keys keys.json
    """
    told = signature.verify(folder, signature.trusted(public, keys))
    emit(told, json_output,
         lambda _: print(f"{folder}: whole and unchanged, signed by {told['public']} for site "
                         f"{told['site']}"))  # fmt: skip
