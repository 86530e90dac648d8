"""The command line of `pbal commission`."""

import contextlib
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pbal_controller.config import JournalConfig
from pbal_controller.documents import dump_json
from pbal_controller.errors import JournalError, KeyStoreError
from pbal_controller.journal import Journal, hold
from pbal_controller.keys import KeyStore

from ..errors import CliError, InputError, RefusedError
from ..extras import require
from ..flash.run import end_like_ctrl_c
from ..keystore import passphrase as ask_passphrase
from ..output import JsonFlag, emit
from ..sitefile import SITE, Radio, load
from . import content, signature
from .air import Air
from .guide import Guide
from .job import Job, Meter
from .line import Line
from .linecommands import blink, place, scan
from .options import Answer, BusName, File, Units, medium_of, say, units_of
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
app.command()(scan)
app.command()(blink)
app.command()(place)

PassFile = Annotated[Path | None, typer.Option("--passphrase-file", help="Of the key store.")]


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
    name, table = medium_of(found, bus)
    steps = Air.steps if isinstance(table, Radio) else Line.steps
    for step in (again, until):
        if step is not None and step not in steps:
            raise InputError(f"There is no step {step}.", f"Steps: {', '.join(steps)}.")
    if isinstance(table, Radio):
        _journal_of(journal)
    range_ = units_of(units)
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
            say(lines)

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
