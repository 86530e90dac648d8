"""`pbal-controller keys`: the commands for the site's encrypted key store."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from pbal_controller.config import load
from pbal_controller.documents import dump_json
from pbal_controller.errors import KeyStoreError
from pbal_controller.keys import KeyStore, open_keys, passphrase, user
from pbal_controller.onsite import ConfigOption, JsonOption, link, site_journal

app = typer.Typer(
    help="The encrypted key store. Example: pbal-controller keys list", no_args_is_help=True
)
app.command("link")(link)


@app.command("create")
def keys_create(config: ConfigOption = None) -> None:
    """Make a new, empty key store. Example: pbal-controller keys create

    The passphrase comes from the configured file or credential, else it is asked for.
    """
    settings = load(config)
    KeyStore.create(settings.keys.file, passphrase(settings, ask="new"), settings.site.id)
    print(f"{settings.keys.file}: created for site {settings.site.id}")


@app.command("add")
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


@app.command("list")
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


@app.command("history")
def keys_history(config: ConfigOption = None, json_: JsonOption = False) -> None:
    """When the group key was replaced, by whom and why. Example: pbal-controller keys history

    Written by the running controller: a change shows here once it has seen it.
    """
    from pbal_controller.journal import latest_audit

    journal = site_journal(load(config))
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


@app.command("revoke")
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


@app.command("rotate-group")
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
