"""The `pbal-controller` command.

Exit codes: 0 done, 1 unexpected, 2 configuration (or wrong use), 3 key store, 4 journal damaged,
5 bearer, 6 nothing to do, 7 a release that cannot be used, 9 journal cannot be opened now,
10 radio, 11 the system refused: a full disk, say.
"""

from __future__ import annotations

import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from pbal_controller import __version__, keycommands, onsite
from pbal_controller.config import describe, load, source_of
from pbal_controller.documents import dump_json
from pbal_controller.errors import BearerError, ConfigError, ControllerError, JournalError
from pbal_controller.keys import check_keys, open_keys, tls_secret
from pbal_controller.minutes import minutes
from pbal_controller.onsite import ConfigOption, JsonOption
from pbal_controller.secrecy import private_umask
from pbal_host import silence_stdout

if TYPE_CHECKING:
    from pbal_controller.journal import Journal

app = typer.Typer(
    name="pbal-controller",
    help="The controller at the transformer. Example: pbal-controller run --config pbal.toml",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.add_typer(keycommands.app, name="keys")
app.command()(onsite.health)
app.command()(onsite.setup)
app.command()(onsite.standby)
app.command()(onsite.enrol)
app.command()(minutes)


def main() -> NoReturn:
    """Entry point: errors a person can act on become one message and an exit code."""
    private_umask()
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:  # it may be closed
                sys.stdout.flush()  # a full disk behind it is told here, not after the end
    except ControllerError as error:
        print(f"pbal-controller: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # who read has seen enough
        silence_stdout()
        sys.exit(1)
    except OSError as error:
        if sys.argv[1:2] == ["run"]:
            raise  # in a service's log a traceback says where
        silence_stdout()
        print(f"pbal-controller: the system refused: {error}; see free space and permissions",
              file=sys.stderr)  # fmt: skip
        sys.exit(11)
    sys.exit(0)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


def _journal(config: Path | None) -> Journal:
    return onsite.site_journal(load(config))


@app.command()
def run(config: ConfigOption = None) -> None:
    """Run the controller until it is stopped. Example: pbal-controller run --config pbal.toml"""
    from pbal_controller import logs, process

    settings = load(config)
    logs.set_up(settings.log)
    try:
        process.run(settings, open_keys(settings))
    except ConfigError as error:
        raise ConfigError(f"{source_of(error.key, config)}: {error}") from None


@app.command("check-config")
def check_config(
    config: ConfigOption = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option(help="Of the key store, where the configuration leaves it to systemd."),
    ] = None,
    hardware: Annotated[
        bool,
        typer.Option("--hardware", help="Also open each port and radio, and say what answers."),
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Say what the configuration means, or what is wrong with it and with its key store.

    Example: pbal-controller check-config --config pbal.toml
    """
    from pbal_controller.meters import profile_of
    from pbal_controller.moves import core_config

    settings = load(config)
    try:
        core = core_config(settings.planner)
        if settings.http.token_file is not None:
            from pbal_controller.view import read_token

            read_token(settings.http.token_file)
        if settings.transformer.meter is not None:
            profile_of(settings.transformer.meter)
    except ConfigError as error:
        raise ConfigError(f"{source_of(error.key, config)}: {error}") from None
    # Before any output that suggests success.
    keys = check_keys(settings, passphrase_file)
    try:
        uplink = []
        # It takes much of a command's start.
        if settings.uplink.kind != "null":
            from pbal_controller.uplink import load_modem, read_app_key, tls
        if settings.uplink.kind == "sparkplug":
            uplink = tls.check(settings.uplink, secret=tls_secret(settings, passphrase_file))
        if settings.uplink.lorawan is not None and settings.uplink.kind == "lorawan":
            load_modem(settings.uplink.lorawan.modem, settings.uplink.lorawan.region)
            read_app_key(settings.uplink.lorawan.app_key_file)
    except ConfigError as error:
        raise ConfigError(f"{source_of(error.key, config)}: {error}") from None
    if json_:
        print(dump_json(settings.model_dump(mode="json"), indent=2))
        return
    print("\n".join([*describe(settings, core, keys), *uplink]))
    if hardware:
        from pbal_controller.bearers.lora import probe as probe_radio
        from pbal_controller.bearers.rs485 import BusConfig, probe

        for name, (_, bus) in settings.bearers().items():
            if isinstance(bus, BusConfig):
                try:
                    print(f"bus {name}: {probe(bus)}")
                except BearerError as error:
                    raise BearerError(f"bus {name}: {error}") from None
        for name, radio in settings.radio.items():
            print(f"radio {name}: {probe_radio(radio)}")


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it."),
    ] = False,
) -> None:
    """The controller at the transformer. Example: pbal-controller run --config pbal.toml"""


@app.command()
def version() -> None:
    """Print the version."""
    print(__version__)


@app.command()
def lift(
    address: Annotated[int, typer.Argument(help="Of the home.")], config: ConfigOption = None
) -> None:
    """Lift a home's quarantine, or a doubt. Example: pbal-controller lift 17

    A running controller notices within a few seconds.
    """
    from pbal_controller.plausibility import lift_doubt

    if not 1 <= address <= 0xFFFF:
        raise ConfigError(f"address {address} is outside 1..65535")
    settings = load(config)
    journal = onsite.site_journal(settings)
    try:
        found = journal.lift_quarantine(address)
        found = lift_doubt(journal, address) or found
    finally:
        journal.close()
    if not found:
        known = any(home.address == address for home in settings.home)
        why = "is not in quarantine and not in doubt" if known else "is not in the configuration"
        print(f"home {address} {why}", file=sys.stderr)
        raise typer.Exit(6)
    print(f"home {address}: lifted")


@app.command()
def adopt(config: ConfigOption = None) -> None:
    """Decide that this controller commands again after it stood down.

    Example: pbal-controller adopt

    First find out why it stood down (/api/status, the log): a second controller must be off, and
    homes that were in quarantine looked at. A running controller notices within a few seconds.
    """
    from pbal_controller.standing import store as standing_store

    journal = _journal(config)
    try:
        lifted = standing_store.adopt(journal)
    finally:
        journal.close()
    if not lifted:
        print("this controller does not stand down", file=sys.stderr)
        raise typer.Exit(6)
    for reason, detail in lifted.items():
        print(f"lifted, {reason}: {detail}")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where to; must not exist yet.")],
    config: ConfigOption = None,
) -> None:
    """Copy the journal, also while the controller runs.

    Example: pbal-controller backup /mnt/usb/journal-monday.db
    """
    if file.exists():
        raise JournalError(f"{file}: exists already; name a new file")
    journal = _journal(config)
    try:
        journal.back_up(file)
    finally:
        journal.close()
    print(f"{file}: written")


class Wish(enum.StrEnum):
    """What a person can ask of a rollout."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    RETRY = "retry"


@app.command()
def rollout(
    wish: Annotated[Wish | None, typer.Argument(help="Without it: how the rollouts stand.")] = None,
    version: Annotated[
        str, typer.Option("--version", help="Of the release. Default: the newest.")
    ] = "",
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """How application updates stand, or pause, resume, cancel or retry one.

    Example: pbal-controller rollout pause
    """
    from pbal_controller.updates import store

    journal = _journal(config)
    try:
        rows = [row for row in store.rollouts(journal) if version in ("", row.version)]
        if not rows:
            if json_:
                print("[]")
            print(f"no rollout {version}".rstrip(), file=sys.stderr)
            raise typer.Exit(6)
        if wish is not None:
            store.set_wish(journal, rows[-1].digest, wish.value)
            if json_:
                print(dump_json({"version": rows[-1].version, "asked": wish.value}))
                return
            print(f"{rows[-1].version}: {wish.value} asked for; a running controller does it soon")
            return
        data: list[dict[str, Any]] = [
            {"version": row.version, "state": row.state, "detail": row.detail, "file": row.file,
             "digest": row.digest,
             "homes": [{"address": address, "step": step, "detail": detail}
                       for address, (step, detail) in store.homes(journal, row.digest).items()]}
            for row in rows
        ]  # fmt: skip
    finally:
        journal.close()
    if json_:
        print(dump_json(data, indent=2))
        return
    for item in data:
        print(f"{item['version']:<10} {item['state']:<11} {item['detail']}")
        for home in item["homes"]:
            print(f"  home {home['address']:<6} {home['step']:<8} {home['detail']}")
