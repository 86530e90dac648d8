"""The command line of `pbal doctor`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from pbal_controller.config import Config, load
from pbal_controller.errors import ConfigError
from pbal_controller.keys import tls_secret
from pbal_host import Finding, counted, findings

from ..errors import CheckFailed
from ..output import JsonFlag, emit
from . import machine as computer
from . import site, uplink
from .system import Machine
from .versions import versions

app = typer.Typer(help="Look over a controller's computer and say what to mend.")


def examine(
    machine: Machine, config: Path | None, passphrase_file: Path | None, *, reach: bool = True
) -> Iterator[Finding]:
    """All checks, in their order. `reach`: also ask the controller and the broker."""
    settings: Config | None = None
    try:
        settings = load(config)
        yield Finding("configuration", "ok", f"site {settings.site.id}")
    except ConfigError as exc:
        yield Finding("configuration", "error", str(exc), "pbal-controller check-config")
    folder = settings.journal.path.parent if settings else Path("/")
    yield from computer.disk(machine, folder)
    yield from computer.wear(machine)
    yield from computer.clock(machine)
    yield from computer.memory(machine)
    yield from computer.heat_and_supply(machine)
    yield from site.unit(machine)
    yield from versions(machine)
    if settings is None:
        return
    yield from site.serial_ports(machine, settings)
    yield from site.key_store(settings, passphrase_file)
    yield from site.journal(settings)
    if reach:
        yield from site.running(settings)
    yield from uplink.radios(machine, settings)
    yield from uplink.lorawan(settings)
    secret = tls_secret(settings, passphrase_file) if settings.uplink.kind == "sparkplug" else b""
    yield from uplink.certificates(machine, settings, secret)
    if reach:
        yield from uplink.broker(settings, secret)
    yield from uplink.modem(machine)


@app.callback(invoke_without_command=True)
def doctor(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", envvar="PBAL_CONFIG", help="Default /etc/pbal/pbal.toml."),
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(help="Of the key store, where the configuration leaves it to systemd."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="A warning is a failure too.")] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the running controller or the broker.")
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Look over a controller's computer: disk, card, clock, ports, keys, journal, unit, uplink.

    Example:  sudo pbal doctor --passphrase-file /etc/pbal/keys.pass

    It changes nothing. Exit code 7 when something must be mended.
    """
    found = list(examine(Machine(), config, passphrase_file, reach=not offline))
    data = findings.summed_up(found, strict=strict)
    emit(data, json_output, lambda _: print("\n".join(findings.lines(found))))
    if not data["ok"]:
        counts = data["counts"]
        raise CheckFailed(
            f"{counted(counts['error'], 'error')}, {counted(counts['warning'], 'warning')}.",
            "The remedies stand beside them.",
        )
