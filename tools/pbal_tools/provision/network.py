"""`pbal provision wifi`: the networks that nodes are given. Their keys are never shown."""

import getpass
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from pbal_controller.keys import KeyStore, Network, checked_host
from pbal_protocol.datagram import PORT

from .. import keystore as stores
from ..consolelock import KEYS, PassFile
from ..errors import CheckFailed, InputError
from ..output import JsonFlag, emit
from .options import Keys


def wifi(
    name: Annotated[
        str | None, typer.Argument(help="The Wi-Fi's name. Default: show what there is.")
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            "--password-file", help="Holds its key on one line (mode 600). Default: asked."
        ),
    ] = None,
    open_network: Annotated[
        bool, typer.Option("--open", help="It has no key. Frames are sealed all the same.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Nodes get it no more.")] = False,
    controller: Annotated[
        str | None,
        typer.Option(
            "--controller", help="Where nodes find the controller: IPv4 address or NAME.local."
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--udp-port", min=1, max=65535, help=f"Default: {PORT}.")
    ] = None,
    keys: Keys = KEYS,
    passphrase_file: PassFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Set or show the Wi-Fi that nodes are given: its names, its keys, where the controller is.

    Keys lie in the key store, encrypted, and in the nodes; they are asked for without an echo, and
    never shown. Up to four networks, tried in their order. Nodes provisioned with --wifi from now
    on get it; one in service gets it with its next key (pbal provision rotate).

    Example:  pbal provision wifi "Mill Lane" --controller pbal-7.local
    """
    if name is None and (password_file is not None or open_network or remove):
        raise InputError("Which Wi-Fi?", "Give its name first.")
    site = stores.open_store(keys, passphrase_file)
    if name is not None or controller is not None or port is not None:
        site = _change(site, name, password_file, open_network, remove, controller, port,
                       lambda: stores.open_store(keys, passphrase_file))  # fmt: skip
    found = site.network
    data = {
        "keys": str(keys),
        "site": site.site_id,
        "wifi": found.names if found else [],
        "controller": found.host if found else "",
        "udp_port": found.port if found else 0,
    }
    emit(data, json_output, _render)


def _change(
    site: KeyStore,
    name: str | None,
    password_file: Path | None,
    open_network: bool,
    remove: bool,
    controller: str | None,
    port: int | None,
    reopen: Any,
) -> KeyStore:
    with stores.store_errors():
        host = None if controller is None else checked_host(controller)
        found = site.network
        if found is None:
            if host is None:
                raise InputError(
                    "Where is the controller?",
                    "Give --controller, an IPv4 address or a name that ends in .local.",
                )
            found = Network(host)
        found = replace(found, host=host or found.host, port=port or found.port)
        if name is not None:
            if remove:
                found = found.without_wifi(name)
            else:
                found = found.with_wifi(name, "" if open_network else _password(password_file))
        site.set_network(found)
    again: KeyStore = reopen()
    if again.network != found:
        raise CheckFailed("The key store did not keep the network.", "Run the command again.")
    return again


def _password(file: Path | None) -> str:
    """The key from a file or asked for. Raises InputError."""
    if file is None:
        if not sys.stdin.isatty():
            raise InputError(
                "There is no key for the Wi-Fi.",
                "Give --password-file FILE (mode 600) or --open, or run it on a terminal.",
            )
        return getpass.getpass("Key of the Wi-Fi: ")
    try:
        if file.stat().st_mode & 0o077:
            raise InputError(f"{file}: readable by others.", f"Run  chmod 600 {file}")
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{file}: is no text.", "It holds the key on one line.") from None
    except OSError as error:
        raise InputError(
            f"{file}: cannot be read ({error.strerror}).", "It holds the key on one line."
        ) from None
    key = text.removesuffix("\n").removesuffix("\r")
    if not key:
        raise InputError(f"{file}: is empty.", "It holds the key on one line; --open for none.")
    return key


def _render(data: dict[str, Any]) -> None:
    if not data["controller"]:
        print(f"site {data['site']}: nodes get no Wi-Fi")
        return
    names = ", ".join(data["wifi"]) or "none yet"
    print(
        f"site {data['site']}: Wi-Fi {names}; the controller is at {data['controller']} "
        f"port {data['udp_port']}\nnext: pbal provision add --address N --wifi"
    )
