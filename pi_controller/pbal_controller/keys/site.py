"""The site's key store as the controller's commands open it."""

from __future__ import annotations

import getpass
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pbal_controller.errors import KeyStoreError
from pbal_controller.keys.file import find_passphrase
from pbal_controller.keys.store import KeyStore
from pbal_controller.secrecy import no_core_dump
from pbal_host import counted

if TYPE_CHECKING:  # it brings the planner and numpy, which a command that needs a key does without
    from pbal_controller.config import Config


def passphrase(
    config: Config, ask: Literal["", "once", "new"] = "", passphrase_file: Path | None = None
) -> bytes:
    """From systemd's credential, or `passphrase_file` or the configured one, else asked for on the
    terminal.

    `ask` says whether a person may be asked, and whether twice because it is new. Raises
    KeyStoreError.
    """
    no_core_dump()
    try:
        return find_passphrase(
            passphrase_file or config.keys.passphrase_file, config.keys.credential
        )
    except KeyStoreError:
        if not ask or not sys.stdin.isatty():
            raise
    secret = getpass.getpass("New passphrase: " if ask == "new" else "Passphrase: ").encode()
    if ask == "new" and getpass.getpass("Again: ").encode() != secret:
        raise KeyStoreError("the two passphrases differ; nothing was written")
    return secret


def open_keys(
    config: Config, *, ask: bool = False, passphrase_file: Path | None = None
) -> KeyStore:
    """The key store of the configured site; `ask` and `passphrase_file` as for `passphrase`.

    Raises KeyStoreError.
    """
    if not config.keys.file.exists():
        raise KeyStoreError(
            f"{config.keys.file}: no such file; bring the key store that pbal provision made, or "
            "make one: pbal-controller keys create"
        )
    secret = passphrase(config, "once" if ask else "", passphrase_file)
    keys = KeyStore.open(config.keys.file, secret)
    if keys.site_id != config.site.id:
        raise KeyStoreError(
            f"{config.keys.file}: belongs to site {keys.site_id}, the configuration says site "
            f"{config.site.id}; correct site.id or use the right store"
        )
    return keys


def tls_secret(config: Config, passphrase_file: Path | None = None) -> bytes:
    """What the uplink's key is sealed with; empty where the key store cannot be opened here."""
    try:
        return open_keys(config, passphrase_file=passphrase_file).tls_secret()
    except KeyStoreError:
        return b""


def check_keys(config: Config, passphrase_file: Path | None) -> str:
    """What the key store holds for this configuration, in words.

    Raises KeyStoreError: missing, of another site, refuses the passphrase, or lacks a key.
    """
    told = passphrase_file or config.keys.passphrase_file
    if told is None and config.keys.file.exists() and not os.environ.get("CREDENTIALS_DIRECTORY"):
        return "not opened: its passphrase is systemd's credential (see --passphrase-file)"
    store = open_keys(config, passphrase_file=passphrase_file)
    known = {address for address in store.addresses() if not store.node(address).revoked}
    missing = [str(home.address) for home in config.home if home.address not in known]
    if missing:
        raise KeyStoreError(
            f"{config.keys.file}: no key for home {', '.join(missing)}; give the node one (pbal "
            "provision add), or take the home out of the configuration"
        )
    for site in config.link_sites:
        store.link(site)
    return counted(len(known), "node")
