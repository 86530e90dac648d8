"""The command line of `pbal provision`."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pbal_controller.keys import KeyStore, user

from .. import keystore as stores
from .. import label as labels
from ..consolelock import KEYS, PassFile, SecretFile, known_to, of_store, secret, write_secret
from ..context import note_for
from ..describe import describe
from ..errors import CheckFailed, CliError, InputError
from ..flash import ports
from ..output import JsonFlag, emit
from .listing import label, list_nodes
from .network import wifi
from .node import Node
from .options import (
    BridgeOption,
    Fixed,
    Keys,
    Name,
    OpenConsole,
    PortOption,
    RadioOption,
    WifiOption,
    WiresOption,
    neighbours_of,
    one_port,
)
from .radio import radio
from .work import Done, Wanted, check_address, give, provision, read_csv

app = typer.Typer(no_args_is_help=True, help="Give nodes their address and keys.")

app.command()(wifi)
app.command()(radio)


@app.command()
def init(
    site: Annotated[int, typer.Option("--site", help="The site's number, 1..4294967295.")],
    keys: Keys = KEYS,
    passphrase_file: PassFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Create the site's key store, encrypted with a passphrase.

    Example:  pbal provision init --site 7 --keys keys.json --passphrase-file keys.pass
    """
    if not 1 <= site <= 0xFFFFFFFF:
        raise InputError(f"Site {site} is out of range.", "Take 1..4294967295.")
    secret = stores.passphrase(passphrase_file, new=True)
    with stores.store_errors():
        made = KeyStore.create(keys, secret, site)
        # Read back: a store that does not open with its passphrase is useless.
        KeyStore.open(keys, secret)
    emit(
        {"keys": str(made.path), "site": site, "nodes": 0},
        json_output,
        lambda data: print(
            f"{data['keys']}: key store of site {site}, AES-256. Keep a copy of it and of its "
            "passphrase apart.\nnext: pbal provision add --address 1"
        ),
    )


@app.command()
def add(
    ctx: typer.Context,
    address: Annotated[int, typer.Option("--address", "-a", help="segment * 256 + unit.")],
    port: PortOption = None,
    keys: Keys = KEYS,
    name: Name = None,
    fixed: Fixed = None,
    phase: Annotated[
        int | None, typer.Option("--phase", min=0, max=3, help="The phase it is on now: 1..3.")
    ] = None,
    eui: Annotated[str, typer.Option("--eui", help="Refuse any node but this one.")] = "",
    label: Annotated[
        Path | None, typer.Option("--label", help="Write its label (.svg or .png).")
    ] = None,
    open_console: OpenConsole = None,
    wifi: WifiOption = None,
    radio: RadioOption = None,
    with_wires: WiresOption = None,
    bridge_for: BridgeOption = None,
    passphrase_file: PassFile = None,
    secret_file: SecretFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Give the node on a cable its address and a fresh key, and prove that it has them.

    The key is drawn from the operating system's random source, goes into the node and into the
    key store, and is shown nowhere. The node's console asks for a secret from then on, which pbal
    takes from the key store by itself; --open-console leaves it open.

    Example:  pbal provision add --address 12 --name "Mill Lane 12" --label 12.svg
    """
    check_address(address)
    if label is not None:
        labels.check(label)
    wanted = Wanted(
        address, name, fixed, phase, eui, open_console, wifi, radio, with_wires,
        neighbours_of(bridge_for),
    )  # fmt: skip
    site = stores.open_store(keys, passphrase_file)
    note = note_for(ctx, json_output)
    unlock = known_to(secret_file, site)
    done = provision(one_port(port), site, wanted, note, unlock=unlock)
    _tell([done], label, json_output)


@app.command()
def bulk(
    ctx: typer.Context,
    table: Annotated[
        Path, typer.Option("--csv", help="The homes; columns as for `pbal site import`.")
    ],
    port: Annotated[
        list[str] | None, typer.Option("--port", "-p", help="May be repeated; default: all.")
    ] = None,
    keys: Keys = KEYS,
    label: Annotated[
        Path | None, typer.Option("--labels", help="Write a sheet of labels (.svg).")
    ] = None,
    open_console: OpenConsole = None,
    wifi: WifiOption = None,
    radio: RadioOption = None,
    passphrase_file: PassFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Provision the boards that are plugged in from a list, in its order.

    A line with an EUI waits for that board; the others take the boards as they come. Lines whose
    address is in the key store already are done and left alone, so the command can be run again
    with the next boards.

    Example:  pbal provision bulk --csv homes.csv --labels sheet.svg
    """
    if label is not None:
        labels.check(label)
    rows = [
        replace(row, open_console=open_console, wifi=wifi, radio=radio) for row in read_csv(table)
    ]
    site = stores.open_store(keys, passphrase_file)
    note = note_for(ctx, json_output)
    known = {a for a in site.addresses() if not site.node(a).revoked}
    waiting = [row for row in rows if row.address not in known]
    done: list[Done] = []
    failed: list[tuple[str, CliError]] = []
    targets = ports.expand(port or [], every=True) if waiting else []
    for target in targets:
        try:
            ports.check(target)
            with Node(target, note, of_store(site)).held() as node:
                row = _row_for(node, waiting, site, note)
                given = None if row is None else give(node, site, row, note)
            if row is None or given is None:
                note(f"{target}: no line of {table} is for this board")
                continue
            done.append(given)
            waiting.remove(row)
        except CliError as exc:
            note(f"{target}: {exc.message}")
            failed.append((target, exc))
    more = {
        "waiting": [row.address for row in waiting],
        "failed": [{"port": p, "error": e.message, "remedy": e.remedy} for p, e in failed],
        "already": sorted(known & {row.address for row in rows}),
    }
    _tell(done, label, json_output, more)
    if failed:
        raise type(failed[0][1])(failed[0][1].message, failed[0][1].remedy)
    if waiting:
        raise CheckFailed(
            f"{len(waiting)} of {len(rows)} nodes are still to do: "
            f"{', '.join(str(row.address) for row in waiting[:10])}.",
            "Plug in the next boards and run the same command again.",
        )


def _row_for(
    node: Node, waiting: list[Wanted], site: KeyStore, note: Callable[[str], None]
) -> Wanted | None:
    """The line of the list for the node at this port; None for none."""
    eui = node.info.eui
    if stores.holder_of(site, eui) is not None:
        note(f"{node.port}: {eui} has an address already")
        return None
    named = [row for row in waiting if row.eui == eui]
    free = [row for row in waiting if not row.eui]
    return next(iter(named or free), None)


@app.command()
def rotate(
    ctx: typer.Context,
    address: Annotated[int, typer.Argument(help="The node's address.")],
    port: PortOption = None,
    keys: Keys = KEYS,
    name: Name = None,
    fixed: Fixed = None,
    open_console: OpenConsole = None,
    wifi: WifiOption = None,
    radio: RadioOption = None,
    with_wires: WiresOption = None,
    bridge_for: BridgeOption = None,
    passphrase_file: PassFile = None,
    secret_file: SecretFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Give a node a new key: the old one opens nothing any more. All else stays as it is.

    Example:  pbal provision rotate 12 --port /dev/ttyUSB0
    """
    site = stores.open_store(keys, passphrase_file)
    with stores.store_errors():
        entry = site.node(address)
    wanted = Wanted(
        address, name, fixed, None, entry.eui, open_console, wifi, radio, with_wires,
        neighbours_of(bridge_for),
    )  # fmt: skip
    done = provision(
        one_port(port),
        site,
        wanted,
        note_for(ctx, json_output),
        unlock=known_to(secret_file, site),
    )
    _tell([done], None, json_output)


@app.command()
def revoke(
    address: Annotated[int, typer.Argument(help="The node's address.")],
    keys: Keys = KEYS,
    passphrase_file: PassFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Never talk to a node again, for one that was stolen, sold or given back.

    It knows the key of the group frames, so a new one is drawn in the same step. A running
    controller acts within a second.

    Example:  pbal provision revoke 12
    """
    site = stores.open_store(keys, passphrase_file)
    with stores.store_errors():
        site.revoke(address, user())
        again = stores.open_store(keys, passphrase_file)
        entry = again.node(address)
    if not entry.revoked:
        raise CheckFailed(f"{keys}: the revocation was not kept.", "Run the command again.")
    emit(
        {"address": address, "eui": entry.eui, "revoked": True, "group_key": again.newest.number},
        json_output,
        lambda data: print(
            f"node {address} ({entry.eui}) is revoked; group key {data['group_key']} goes to the "
            "others.\nnext: watch it on the controller's status page, and take the home out of "
            "site.toml"
        ),
    )


@app.command("release-key")
def release_key(
    public: Annotated[
        str | None, typer.Argument(help="The public key: 64 hex digits or a .pub file.")
    ] = None,
    none: Annotated[bool, typer.Option("--none", help="Nodes get none: they take no update.")] = (
        False
    ),
    keys: Keys = KEYS,
    passphrase_file: PassFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Set or show the key that updates are signed with: nodes provisioned from now on know it.

    A node that is in service gets it with its next key: pbal provision rotate.

    Example:  pbal provision release-key release.pem.pub --keys keys.json
    """
    from ..release.keys import public as read_public

    site = stores.open_store(keys, passphrase_file)
    if public is not None or none:
        wanted = b"" if public is None else read_public(public)
        with stores.store_errors():
            site.set_release_key(wanted)
            site = stores.open_store(keys, passphrase_file)
        if site.release_key != wanted:
            raise CheckFailed(f"{keys}: the release key was not kept.", "Run the command again.")
    emit(
        {"keys": str(keys), "site": site.site_id, "release_key": site.release_key.hex()},
        json_output,
        lambda data: print(
            f"site {data['site']}: nodes get the release key {data['release_key']}"
            if data["release_key"]
            else f"site {data['site']}: nodes get no release key, and take no updates\n"
            "next: pbal release keygen, then pbal provision release-key FILE.pub"
        ),
    )


@app.command("secret")
def console_secret(
    address: Annotated[int, typer.Argument(help="The node's address.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The file to write (mode 600), or - for stdout.")
    ],
    keys: Keys = KEYS,
    passphrase_file: PassFile = None,
) -> None:
    """The secret of one node's console, for somebody who works on it without the key store.

    It opens this console (--secret-file) until the node gets its next key.

    Example:  pbal provision secret 12 --out console12.key
    """
    site = stores.open_store(keys, passphrase_file)
    with stores.store_errors():
        entry = site.node(address)
    if write_secret(out, secret(entry.root, site.site_id, address)):
        print(f"{out}: the secret of the console of node {address} ({entry.eui})")


app.command("list")(list_nodes)
app.command()(label)


def _tell(
    done: list[Done], label_file: Path | None, as_json: bool, more: dict[str, Any] | None = None
) -> None:
    files: list[str] = []
    problem: Exception | None = None
    if label_file is not None and done:
        try:
            files = [str(f) for f in labels.write([d.label() for d in done], label_file)]
        except (CliError, OSError) as exc:
            # The node is provisioned all the same; that must be reported first.
            problem = exc
    data = {"nodes": [d.as_dict() for d in done], "labels": files, **(more or {})}

    def render(found: dict[str, Any]) -> None:
        for node in found["nodes"]:
            print(
                f"{node['port']}: node {node['eui']} is address {node['address']} of site "
                f"{node['site']}; key {node['fingerprint']} {node['action']}, proven by the node; "
                f"console {node['console']}"
            )
        if found["nodes"] and not all(node["updates"] for node in found["nodes"]):
            print("note: no release key is set, so updates over the line will be refused: "
                  "pbal provision release-key")  # fmt: skip
        for file in found["labels"]:
            print(f"label: {file}")
        if found["nodes"]:
            print("next: put the home into site.toml and run  pbal site check")

    emit(data, as_json, render)
    if problem is not None:
        told = describe(problem)
        raise InputError(f"The label was not written: {told.message}", told.remedy) from None
