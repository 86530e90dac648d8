"""The command line of `pbal node`."""

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console as Screen

from pbal_build import readable
from pbal_controller.documents import dump_json
from pbal_host import counted
from pbal_protocol import events as kinds

from ..consolelock import Keys, PassFile, SecretFile, opener
from ..errors import InputError
from ..output import JsonFlag, emit
from . import configcommand, remote, wave
from .options import Address, Controller, Dark, PortOption, on_console, wants_controller

app = typer.Typer(no_args_is_help=True, help="Talk to one node: state, events, settings, scope.")
app.add_typer(configcommand.app, name="config")

PHASES = ("open", "A", "B", "C")


@app.command()
def status(
    ctx: typer.Context,
    address: Address = None,
    controller: Controller = None,
    port: PortOption = None,
    dark: Dark = False,
    keys: Keys = None,
    passphrase_file: PassFile = None,
    secret_file: SecretFile = None,
    json_output: JsonFlag = False,
) -> None:
    """What a node knows of itself.

    Example:  pbal node status 12 --controller http://127.0.0.1:8480
    """
    if wants_controller(controller, address):
        data = remote.get(str(controller), f"/api/homes/{address}")
        emit(data, json_output, _render_remote)
        return
    with on_console(
        ctx, port, opener(secret_file, keys, passphrase_file), dark, json_output
    ) as console:
        data = console.status()
    data["crash"] = readable(data["crash"])
    emit(data, json_output, _render_status)


def _render_status(data: dict[str, Any]) -> None:
    who = (
        f"address {data['address']} of site {data['site']}"
        if data["provisioned"]
        else "not provisioned"
    )
    print(f"{data['board']}, firmware {data['firmware']}, {who} {data['name']}".rstrip())
    if data["copied"]:
        print("ITS FLASH IS ANOTHER BOARD'S COPY: it seals nothing, no controller hears it")
        print("      give it keys of its own:  pbal provision")
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


def _told(event: dict[str, Any]) -> dict[str, Any]:
    """An event as a controller tells it, with the words of the console."""
    return {
        **event,
        "name": kinds.word(event["code"]),
        "severity": kinds.severity(event["severity"]),
        "time_s": event["node_time_s"],
    }


@app.command()
def events(
    ctx: typer.Context,
    address: Address = None,
    controller: Controller = None,
    port: PortOption = None,
    dark: Dark = False,
    keys: Keys = None,
    passphrase_file: PassFile = None,
    secret_file: SecretFile = None,
    json_output: JsonFlag = False,
) -> None:
    """A node's event log, oldest first.

    Example:  pbal node events --port /dev/ttyUSB0 --dark
    """
    if wants_controller(controller, address):
        found = remote.get(str(controller), "/api/events").get("events", [])
        data = sorted(
            (_told(event) for event in found if event.get("address") == address),
            key=lambda event: (event["boots"], event["seq"]),
        )
    else:
        with on_console(
            ctx, port, opener(secret_file, keys, passphrase_file), dark, json_output
        ) as console:
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
        print(counted(len(rows), "event"))

    emit(data, json_output, render)


@app.command()
def traceback(
    report: Annotated[
        Path | None, typer.Argument(help="A file with it; else it is read from standard input.")
    ] = None,
) -> None:
    """A node's traceback, as its console or /log/crash.txt has it, with the names of the source.

    Private names are short on a node (`_a`). They are those of the application that comes with
    this pbal: for a node with another version use the pbal of that version.

    Example:  pbal node traceback crash.txt
    """
    try:
        text = report.read_text(encoding="utf-8", errors="replace") if report else sys.stdin.read()
    except OSError as exc:
        raise InputError(f"{report} cannot be read: {exc.strerror}.", "Check the path.") from None
    sys.stdout.write(readable(text))


@app.command()
def reboot(
    ctx: typer.Context,
    port: PortOption = None,
    dark: Dark = False,
    keys: Keys = None,
    passphrase_file: PassFile = None,
    secret_file: SecretFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Restart a node.

    Example:  pbal node reboot --port /dev/ttyUSB0 --dark
    """
    with on_console(
        ctx, port, opener(secret_file, keys, passphrase_file), dark, json_output
    ) as console:
        boots = console.status()["boots"]
    emit(
        {"restarted": True, "boots_before": boots},
        json_output,
        lambda d: print(f"restarted; it had booted {d['boots_before']} times before"),
    )


@app.command()
def unlock(
    ctx: typer.Context,
    port: PortOption = None,
    dark: Dark = False,
    keys: Keys = None,
    passphrase_file: PassFile = None,
    secret_file: SecretFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Stop a node and leave it at MicroPython's prompt, for mpremote and the like.

    A console that is locked is opened first. The node runs again, and is locked again, after a
    reset: by its button, by `pbal node reboot`, or by itself when nobody works there for ten
    minutes.

    Example:  pbal node unlock --port /dev/ttyUSB0 --keys keys.json --dark
    """
    console = on_console(ctx, port, opener(secret_file, keys, passphrase_file), dark, json_output)
    console.node.hold()
    emit(
        {"port": console.node.port, "eui": console.node.info.eui, "prompt": True},
        json_output,
        lambda d: print(
            f"{d['port']}: node {d['eui']} is at its prompt, its contacts are open\n"
            f"next: mpremote connect {d['port']} resume, then  pbal node reboot --dark"
        ),
    )


@app.command("clear-lockout")
def clear_lockout(
    ctx: typer.Context,
    replaced: Annotated[
        bool, typer.Option("--replaced", help="I have replaced the welded relay and tested it.")
    ] = False,
    port: PortOption = None,
    dark: Dark = False,
    keys: Keys = None,
    passphrase_file: PassFile = None,
    secret_file: SecretFile = None,
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
    with on_console(
        ctx, port, opener(secret_file, keys, passphrase_file), dark, json_output
    ) as console:
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
    keys: Keys = None,
    passphrase_file: PassFile = None,
    secret_file: SecretFile = None,
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
    with on_console(
        ctx, port, opener(secret_file, keys, passphrase_file), dark, json_output
    ) as console:
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
