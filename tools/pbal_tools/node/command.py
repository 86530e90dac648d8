"""The command line of `pbal node`."""

import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console as Screen

from pbal_controller.documents import dump_json, read_json
from pbal_protocol import config as settings

from ..context import app_context
from ..errors import CheckFailed, InputError
from ..flash import ports
from ..output import JsonFlag, check_writable, emit, write_json
from . import remote, wave
from .console import Console, allow_dark, check_settings

app = typer.Typer(no_args_is_help=True, help="Talk to one node: state, events, settings, scope.")
config_app = typer.Typer(no_args_is_help=True, help="A node's settings.")
app.add_typer(config_app, name="config")

PHASES = ("open", "A", "B", "C")
EXPORT_FORMAT = "pbal-node-config/1"

Address = Annotated[int | None, typer.Argument(help="With --controller: the node's address.")]
PortOption = Annotated[
    str | None, typer.Option("--port", "-p", help="The node's console. Default: plugged in.")
]
Dark = Annotated[
    bool, typer.Option("--dark", help="The home may go dark while the console is used.")
]
Controller = Annotated[
    str | None, typer.Option("--controller", "-c", help="Ask this controller, without the console.")
]


def _console(ctx: typer.Context, port: str | None, dark: bool, as_json: bool) -> Console:
    allow_dark(dark)
    quiet = as_json or app_context(ctx).quiet
    note: Callable[[str], None] = (
        (lambda words: None) if quiet else (lambda words: print(f"pbal: {words}", file=sys.stderr))
    )
    (one,) = ports.expand([port] if port else [], every=False)
    return Console(one, note)


def _wants_controller(controller: str | None, address: int | None) -> str | None:
    if controller is None and address is not None:
        raise InputError("An address needs --controller.", "On site use --port instead.")
    if controller is not None and address is None:
        raise InputError(
            "--controller needs the node's address.", "E.g. pbal node status 12 -c URL"
        )
    return controller


@app.command()
def status(
    ctx: typer.Context,
    address: Address = None,
    controller: Controller = None,
    port: PortOption = None,
    dark: Dark = False,
    json_output: JsonFlag = False,
) -> None:
    """What a node knows of itself.

    Example:  pbal node status 12 --controller http://127.0.0.1:8480
    """
    if _wants_controller(controller, address):
        data = remote.get(str(controller), f"/api/homes/{address}")
        emit(data, json_output, _render_remote)
        return
    with _console(ctx, port, dark, json_output) as console:
        data = console.status()
    emit(data, json_output, _render_status)


def _render_status(data: dict[str, Any]) -> None:
    who = (
        f"address {data['address']} of site {data['site']}"
        if data["provisioned"]
        else "not provisioned"
    )
    print(f"{data['board']}, firmware {data['firmware']}, {who} {data['name']}".rstrip())
    phase = data["proven_phase"]
    print(f"last proven phase: {PHASES[phase] if phase < 4 else phase}")
    if data["lockout_phase"]:
        print(f"LOCKED OUT: the contact of phase {PHASES[data['lockout_phase']]} is welded")
        print("      replace the relay, then:  pbal node clear-lockout --replaced --dark")
    if data["transfer_unfinished"]:
        print("a transfer was interrupted")
    print(f"{data['lifetime_switches']} switchings in its life, {data['switches_today']} today")
    print(f"{data['boots']} boots, {data['crashes_in_a_row']} crashes in a row, "
          f"{data['events_unacknowledged']} events not acknowledged")  # fmt: skip
    print(f"{data['heap_free']} B of heap and {data['flash_free'] // 1024} kB of flash free")
    if data["crash"]:
        print("last crash:")
        print("  " + data["crash"].strip().replace("\n", "\n  "))


def _render_remote(data: dict[str, Any]) -> None:
    phase = data.get("phase") or 0
    alive = "answers" if data.get("alive") else "DOES NOT ANSWER"
    print(f"{data['address']} {data.get('name', '')}: {alive}, phase {PHASES[phase]}, "
          f"{data.get('state')}, heard {data.get('age_s')} s ago")  # fmt: skip
    if data.get("flags"):
        print(f"flags: {', '.join(data['flags'])}")
    if "vout_v" in data:
        volts = " ".join(f"{v:.1f}" for v in data["v"])
        print(f"supply {volts} V, output {data['vout_v']:.1f} V, {data['current_a']:.2f} A, "
              f"{data['p_w']:.0f} W")  # fmt: skip
    if data.get("hello"):
        print(f"firmware {data['hello'].get('firmware')}, EUI {data['hello'].get('eui')}, "
              f"{data['hello'].get('boots')} boots")  # fmt: skip


@app.command()
def events(
    ctx: typer.Context,
    address: Address = None,
    controller: Controller = None,
    port: PortOption = None,
    dark: Dark = False,
    json_output: JsonFlag = False,
) -> None:
    """A node's event log, oldest first.

    Example:  pbal node events --port /dev/ttyUSB0 --dark
    """
    if _wants_controller(controller, address):
        found = remote.get(str(controller), "/api/events").get("events", [])
        data = [event for event in found if event.get("address") == address]
    else:
        with _console(ctx, port, dark, json_output) as console:
            data = [asdict(event) for event in console.events()]

    def render(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            when = row.get("time_s") or 0
            stamp = (
                time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(when)) if when else "no clock yet"
            )
            print(
                f"{row.get('seq', ''):>6}  {stamp:<19}  {row.get('severity', '')!s:<8}"
                f"{row.get('name', row.get('code'))}  {row.get('arg0')} {row.get('arg1')}"
            )
        print(f"{len(rows)} events")

    emit(data, json_output, render)


@config_app.command("get")
def config_get(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="One setting. Default: all.")] = None,
    address: Annotated[int | None, typer.Option("--address", "-a")] = None,
    controller: Controller = None,
    port: PortOption = None,
    dark: Dark = False,
    json_output: JsonFlag = False,
) -> None:
    """A node's settings.

    Example:  pbal node config get dwell_s --dark
    """
    if name is not None and name not in {row[1] for row in settings.KEYS}:
        check_settings({name: 0})
    if _wants_controller(controller, address):
        told = remote.get(str(controller), f"/api/homes/{address}").get("settings") or {}
        by_key = {str(row[0]): row[1] for row in settings.KEYS}
        data = {by_key.get(key, key): value for key, value in told.items()}
        if not data:
            raise CheckFailed(
                f"The controller has not heard the settings of {address}.", "Ask on site."
            )
    else:
        with _console(ctx, port, dark, json_output) as console:
            data = console.config()
    if name is not None:
        data = {name: data[name]}
    emit(data, json_output, _render_settings)


def _render_settings(data: dict[str, int]) -> None:
    rows = {row[1]: row for row in settings.KEYS}
    for name, value in data.items():
        row = rows.get(name)
        words = f"{row[2]:<6} legal {row[3]}..{row[4]}, usual {row[5]}" if row else ""
        print(f"{name:<20} {value:>8} {words}".rstrip())


@config_app.command("set")
def config_set(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The setting: `pbal node config get` lists them.")],
    value: Annotated[int, typer.Argument(help="A whole number.")],
    port: PortOption = None,
    dark: Dark = False,
    json_output: JsonFlag = False,
) -> None:
    """Change one setting on site; it is read back from the node's flash.

    Example:  pbal node config set daily_cap 4 --dark
    """
    check_settings({name: value})
    with _console(ctx, port, dark, json_output) as console:
        before = console.config()
        now = console.set_config({name: value})
    data = {"name": name, "before": before.get(name), "now": now[name]}
    emit(data, json_output, lambda d: print(f"{d['name']}: {d['before']} -> {d['now']}, read back"))


@config_app.command("export")
def config_export(
    ctx: typer.Context,
    out: Annotated[
        Path, typer.Argument(help="The file to write (JSON), or - for standard output.")
    ],
    port: PortOption = None,
    dark: Dark = False,
    json_output: JsonFlag = False,
) -> None:
    """Save all settings to a file, for a replacement node. Read twice and compared.

    Example:  pbal node config export home12.json --dark
    """
    check_writable(out)
    with _console(ctx, port, dark, json_output or str(out) == "-") as console:
        info = console.status()
        first = console.config()
        second = console.config()
    if first != second:
        raise CheckFailed("The node told different settings twice.", "Try again.")
    data = {
        "format": EXPORT_FORMAT,
        "eui": info["eui"],
        "address": info["address"],
        "firmware": info["firmware"],
        "settings": first,
    }
    write_json(out, data)
    if str(out) == "-":
        return
    emit(
        {"file": str(out), **data},
        json_output,
        lambda _: print(
            f"{out}: {len(first)} settings\nnext: pbal node config import {out} on another node"
        ),
    )


@config_app.command("import")
def config_import(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(help="A file written by `export`.")],
    port: PortOption = None,
    dark: Dark = False,
    json_output: JsonFlag = False,
) -> None:
    """Load settings from a file; every one is read back and compared.

    Example:  pbal node config import home12.json --dark
    """
    try:
        data = read_json(source)
        want = data["settings"]
        if data["format"] != EXPORT_FORMAT or not isinstance(want, dict):
            raise ValueError("another format")
    except FileNotFoundError:
        raise InputError(f"There is no file {source}.", "Check the path.") from None
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise InputError(
            f"{source} was not written by `pbal node config export` ({exc}).", "Name another file."
        ) from None
    check_settings(want)
    with _console(ctx, port, dark, json_output) as console:
        before = console.config()
        now = console.set_config(want)
    changed = {
        name: [before.get(name), now[name]] for name in want if before.get(name) != now[name]
    }
    emit(
        {"settings": len(want), "changed": changed},
        json_output,
        lambda d: print(f"{d['settings']} settings, {len(d['changed'])} changed, all read back"),
    )


@app.command()
def reboot(
    ctx: typer.Context, port: PortOption = None, dark: Dark = False, json_output: JsonFlag = False
) -> None:
    """Restart a node.

    Example:  pbal node reboot --port /dev/ttyUSB0 --dark
    """
    with _console(ctx, port, dark, json_output) as console:
        boots = console.status()["boots"]
    emit(
        {"restarted": True, "boots_before": boots},
        json_output,
        lambda d: print(f"restarted; it had booted {d['boots_before']} times before"),
    )


@app.command("clear-lockout")
def clear_lockout(
    ctx: typer.Context,
    replaced: Annotated[
        bool, typer.Option("--replaced", help="I have replaced the welded relay and tested it.")
    ] = False,
    port: PortOption = None,
    dark: Dark = False,
    json_output: JsonFlag = False,
) -> None:
    """Clear a node's lock-out, on site only, after its welded relay was replaced (S2).

    Example:  pbal node clear-lockout --replaced --dark
    """
    if not replaced:
        raise InputError(
            "A lock-out means a welded contact: the next switching would join two phases.",
            "Replace the relay, test it with the supply off, then repeat with --replaced.",
        )
    with _console(ctx, port, dark, json_output) as console:
        was = console.clear_lockout()
    emit(
        {"was_locked_out": bool(was), "phase": was},
        json_output,
        lambda d: print(
            f"the lock-out of phase {PHASES[d['phase']]} is cleared and logged"
            if d["was_locked_out"]
            else "the node was not locked out"
        ),
    )


@app.command()
def scope(
    ctx: typer.Context,
    port: PortOption = None,
    dark: Dark = False,
    count: Annotated[
        int, typer.Option("--count", "-n", min=0, help="Records; 0: until Ctrl-C.")
    ] = 0,
    cycles: Annotated[float, typer.Option("--cycles", min=0.5, max=10)] = 2.0,
    samples: Annotated[int, typer.Option("--samples", min=16, max=400)] = 160,
    hz: Annotated[float, typer.Option("--hz", min=40, max=70)] = 50.0,
    json_output: JsonFlag = False,
) -> None:
    """The measured voltages as waveforms in the terminal.

    Example:  pbal node scope --dark --count 1
    """
    screen = Screen()
    if json_output and count == 0:
        count = 1
    with _console(ctx, port, dark, json_output) as console:
        done = 0
        try:
            while count == 0 or done < count:
                record = console.scope(cycles, samples, hz)
                done += 1
                if json_output:
                    record["rms_v"] = {
                        name: round(wave.rms(record["t_s"], values), 2)
                        for name, values in record["volts"].items()
                    }
                    print(dump_json(record))
                    continue
                if screen.is_terminal and done > 1:
                    print("\x1b[H\x1b[J", end="")
                print("\n".join(wave.screen(record, min(screen.width - 4, 100))), flush=True)
        except KeyboardInterrupt:
            print(f"{done} records", file=sys.stderr)
