"""`pbal node config`: a node's settings."""

from pathlib import Path
from typing import Annotated

import typer

from pbal_controller.documents import read_json
from pbal_host import counted
from pbal_protocol import config as settings

from ..consolelock import Keys, PassFile, SecretFile, opener
from ..errors import CheckFailed, InputError
from ..output import JsonFlag, check_writable, emit, write_json
from . import remote
from .console import check_settings
from .options import Controller, Dark, PortOption, on_console, wants_controller

app = typer.Typer(no_args_is_help=True, help="A node's settings.")
EXPORT_FORMAT = "pbal-node-config/1"


@app.command("get")
def config_get(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Argument(help="One setting. Default: all.")] = None,
    address: Annotated[int | None, typer.Option("--address", "-a")] = None,
    controller: Controller = None,
    port: PortOption = None,
    dark: Dark = False,
    keys: Keys = None,
    passphrase_file: PassFile = None,
    secret_file: SecretFile = None,
    json_output: JsonFlag = False,
) -> None:
    """A node's settings.

    Example:  pbal node config get dwell_s --dark
    """
    if name is not None and name not in {row[1] for row in settings.KEYS}:
        check_settings({name: 0})
    if wants_controller(controller, address):
        told = remote.get(str(controller), f"/api/homes/{address}").get("settings") or {}
        by_key = {str(row[0]): row[1] for row in settings.KEYS}
        data = {by_key.get(key, key): value for key, value in told.items()}
        if not data:
            raise CheckFailed(
                f"The controller has not heard the settings of {address}.", "Ask on site."
            )
    else:
        with on_console(
            ctx, port, opener(secret_file, keys, passphrase_file), dark, json_output
        ) as console:
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


@app.command("set")
def config_set(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="The setting: `pbal node config get` lists them.")],
    value: Annotated[int, typer.Argument(help="A whole number.")],
    port: PortOption = None,
    dark: Dark = False,
    keys: Keys = None,
    passphrase_file: PassFile = None,
    secret_file: SecretFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Change one setting on site; it is read back from the node's flash.

    Example:  pbal node config set daily_cap 4 --dark
    """
    check_settings({name: value})
    with on_console(
        ctx, port, opener(secret_file, keys, passphrase_file), dark, json_output
    ) as console:
        before = console.config()
        now = console.set_config({name: value})
    data = {"name": name, "before": before.get(name), "now": now[name]}
    emit(data, json_output, lambda d: print(f"{d['name']}: {d['before']} -> {d['now']}, read back"))


@app.command("export")
def config_export(
    ctx: typer.Context,
    out: Annotated[
        Path, typer.Argument(help="The file to write (JSON), or - for standard output.")
    ],
    port: PortOption = None,
    dark: Dark = False,
    keys: Keys = None,
    passphrase_file: PassFile = None,
    secret_file: SecretFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Save all settings to a file, for a replacement node. Read twice and compared.

    Example:  pbal node config export home12.json --dark
    """
    check_writable(out)
    with on_console(
        ctx, port, opener(secret_file, keys, passphrase_file), dark, json_output or str(out) == "-"
    ) as console:
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
            f"{out}: {counted(len(first), 'setting')}\n"
            f"next: pbal node config import {out} on another node"
        ),
    )


@app.command("import")
def config_import(
    ctx: typer.Context,
    source: Annotated[Path, typer.Argument(help="A file written by `export`.")],
    port: PortOption = None,
    dark: Dark = False,
    keys: Keys = None,
    passphrase_file: PassFile = None,
    secret_file: SecretFile = None,
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
    with on_console(
        ctx, port, opener(secret_file, keys, passphrase_file), dark, json_output
    ) as console:
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
