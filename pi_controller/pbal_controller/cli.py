"""The `pbal-controller` command.

Exit codes: 0 done, 1 unexpected, 2 configuration (or wrong use), 3 key store, 4 journal damaged,
5 bearer, 6 nothing to do, 7 a release that cannot be used, 9 journal cannot be opened now.
"""

from __future__ import annotations

import datetime
import enum
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from pbal_controller import __version__, onsite
from pbal_controller.config import describe, load, source_of
from pbal_controller.documents import dump_json
from pbal_controller.errors import (
    ConfigError,
    ControllerError,
    JournalError,
    KeyStoreError,
)
from pbal_controller.keys import KeyStore, check_keys, open_keys, passphrase, tls_secret, user
from pbal_controller.minutes import minutes
from pbal_controller.secrecy import private_umask

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
keys_app = typer.Typer(
    help="The encrypted key store. Example: pbal-controller keys list", no_args_is_help=True
)
app.add_typer(keys_app, name="keys")
app.command()(onsite.health)
app.command()(onsite.setup)
app.command()(onsite.standby)
app.command()(onsite.enrol)
app.command()(minutes)
keys_app.command("link")(onsite.link)

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="PBAL_CONFIG", help="Default /etc/pbal/pbal.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="For scripts.")]


def main() -> NoReturn:
    """Entry point: errors a person can act on become one message and an exit code."""
    private_umask()
    try:
        app()
    except ControllerError as error:
        print(f"pbal-controller: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
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
        typer.Option("--hardware", help="Also open each radio and say what answers there."),
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Say what the configuration means, or what is wrong with it and with its key store.

    Example: pbal-controller check-config --config pbal.toml
    """
    from pbal_controller.bearers.lora import probe
    from pbal_controller.meters import profile_of
    from pbal_controller.moves import core_config
    from pbal_controller.uplink import load_modem, read_app_key, tls
    from pbal_controller.view import read_token

    settings = load(config)
    try:
        core = core_config(settings.planner)
        read_token(settings.http.token_file)
        if settings.transformer.meter is not None:
            profile_of(settings.transformer.meter)
    except ConfigError as error:
        raise ConfigError(f"{source_of(error.key, config)}: {error}") from None
    # Before any output that suggests success.
    keys = check_keys(settings, passphrase_file)
    try:
        uplink = []
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
        for name, radio in settings.radio.items():
            print(f"radio {name}: {probe(radio)}")


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
    journal = _journal(config)
    try:
        found = journal.lift_quarantine(address)
        found = lift_doubt(journal, address) or found
    finally:
        journal.close()
    if not found:
        print(f"home {address} is not in quarantine and not in doubt", file=sys.stderr)
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


@keys_app.command("create")
def keys_create(config: ConfigOption = None) -> None:
    """Make a new, empty key store. Example: pbal-controller keys create

    The passphrase comes from the configured file or credential, else it is asked for.
    """
    settings = load(config)
    KeyStore.create(settings.keys.file, passphrase(settings, ask="new"), settings.site.id)
    print(f"{settings.keys.file}: created for site {settings.site.id}")


@keys_app.command("add")
def keys_add(
    address: Annotated[int, typer.Argument(help="Site address, segment * 256 + unit.")],
    eui: Annotated[str, typer.Argument(help="The node's EUI, 16 hex digits.")],
    root_file: Annotated[
        Path | None,
        typer.Option(help="File with the root key, 64 hex digits; default: draw a new one."),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Add a node. Example: pbal-controller keys add 17 a4cf12fffe000011

    For a node whose root key is known already (--root-file). Without it a key is drawn that no
    node has until `pbal provision add` gives the node one; that command alone does both.
    """
    root = None
    if root_file is not None:
        try:
            with root_file.open(encoding="ascii") as file:
                root = bytes.fromhex(file.read(100).strip())
        except (OSError, ValueError):
            raise KeyStoreError(f"{root_file}: needs one line of 64 hex digits") from None
    settings = load(config)
    node = open_keys(settings, ask=True).add(address, eui, root)
    print(f"node {node.address} ({node.eui}) added, key {node.fingerprint}")
    if root is None:
        print(
            "No node has this key: it was drawn just now, and keys travel over a USB cable only. "
            f"With the node on a cable:  pbal provision add --address {address} "
            f"--keys {settings.keys.file}"
        )
    else:
        print("It is used after the next start of the controller.")


@keys_app.command("list")
def keys_list(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """List the nodes, without their keys. Example: pbal-controller keys list --json"""
    store = open_keys(load(config), ask=True)
    rows: list[dict[str, Any]] = []
    for address in store.addresses():
        node = store.node(address)
        rows.append(
            {"address": address, "eui": node.eui, "fingerprint": node.fingerprint,
             "revoked": node.revoked}
        )  # fmt: skip
    if json_:
        print(dump_json({"site": store.site_id, "nodes": rows, "group_key": _group(store)}))
        return
    for row in rows:
        mark = "  revoked" if row["revoked"] else ""
        print(f"{row['address']:>6}  {row['eui']}  {row['fingerprint']}{mark}")
    print(_group_text(_group(store)))


@keys_app.command("history")
def keys_history(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """When the group key was replaced, by whom and why. Example: pbal-controller keys history

    Written by the running controller: a change shows here once it has seen it.
    """
    from pbal_controller.journal import latest_audit

    journal = _journal(config)
    try:
        rows = latest_audit(journal)
    finally:
        journal.close()
    if json_:
        print(dump_json(rows))
        return
    for row in rows:
        when = datetime.datetime.fromtimestamp(row["at_s"]).astimezone()
        who = row["who"] or "-"
        print(f"{when:%Y-%m-%d %H:%M:%S}  {row['what']} {row['subject']}  {who}  {row['why']}")


def _group(store: KeyStore) -> dict[str, Any]:
    """The group key of a site, without the key."""
    newest, active = store.newest, store.active
    return {
        "number": active.number,
        "next": newest.number if newest.number != active.number else None,
        "made_s": newest.made_s, "why": newest.why, "by": newest.by,
    }  # fmt: skip


def _group_text(group: dict[str, Any]) -> str:
    made = ""
    if group["made_s"]:
        when = datetime.datetime.fromtimestamp(group["made_s"]).astimezone()
        made = f", drawn {when:%Y-%m-%d %H:%M}" + (f" by {group['by']}" if group["by"] else "")
    why = f" ({group['why']})" if group["why"] else ""
    if group["next"] is None:
        return f"group key {group['number']} in use{made}{why}"
    return (
        f"group key {group['number']} in use; {group['next']}{made}{why} is on its way to the nodes"
    )


@keys_app.command("revoke")
def keys_revoke(
    address: Annotated[int, typer.Argument(help="Of the node.")],
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Never speak to this node again. Example: pbal-controller keys revoke 17

    The group key, which it knows, is replaced. A running controller acts within a second.
    """
    store = open_keys(load(config), ask=True)
    made = store.revoke(address, user())
    if json_:
        data = {"address": address, "already": made is None, "group_key": _group(store)}
        print(dump_json(data))
    elif made is None:
        print(f"node {address} was revoked before; nothing is changed")
    else:
        print(f"node {address} revoked")
        print(_group_text(_group(store)))


@keys_app.command("rotate-group")
def keys_rotate_group(
    why: Annotated[str, typer.Option("--why", help="For the records.")] = "by hand",
    config: ConfigOption = None,
    json_: JsonOption = False,
) -> None:
    """Draw a new group key. Example: pbal-controller keys rotate-group --why "lost laptop"

    A running controller takes it up within a second, brings it to every node, and uses it once
    they have proven that they have it. The status page and `keys list` say how far it is.
    """
    store = open_keys(load(config), ask=True)
    store.new_group_key(why[:200], user())
    if json_:
        print(dump_json(_group(store)))
        return
    print(_group_text(_group(store)))
