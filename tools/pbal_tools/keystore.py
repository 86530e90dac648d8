"""The site's key store as the field tool opens it: passphrase from a file, systemd or a person."""

import getpass
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pbal_controller.errors import KeyStoreError
from pbal_controller.keys import KeyStore, find_passphrase
from pbal_controller.secrecy import no_core_dump

from .errors import InputError

CREDENTIAL = "pbal-keys"
MIN_PASSPHRASE = 8


@contextmanager
def store_errors() -> Iterator[None]:
    """Turns the key store's errors into the command line's."""
    try:
        yield
    except KeyStoreError as exc:
        raise InputError(f"Key store: {exc}.") from None


def passphrase(file: Path | None, new: bool = False) -> bytes:
    """The passphrase: from the file, from systemd's credential, or asked on the terminal.

    Raises InputError if there is none, or if a new one is too short.
    """
    no_core_dump()
    secret: bytes
    try:
        secret = find_passphrase(file, CREDENTIAL)
    except KeyStoreError as exc:
        if file is not None:
            raise InputError(f"Key store: {exc}.") from None
        if not sys.stdin.isatty():
            raise InputError(
                "There is no passphrase for the key store.",
                "Give --passphrase-file FILE (mode 600), or run it on a terminal.",
            ) from None
        secret = getpass.getpass("Passphrase of the key store: ").encode()
        if new and getpass.getpass("Once more: ").encode() != secret:
            raise InputError("The two passphrases differ.", "Try again.") from None
    if new and len(secret) < MIN_PASSPHRASE:
        raise InputError(
            f"The passphrase has {len(secret)} characters; {MIN_PASSPHRASE} at least.",
            "Take a longer one; a few random words are good.",
        )
    return secret


def open_store(path: Path, passphrase_file: Path | None) -> KeyStore:
    """Opens the site's key store. Raises InputError."""
    if not path.exists():
        raise InputError(
            f"There is no key store {path}.",
            f"Create it:  pbal provision init --keys {path} --site N",
        )
    secret = passphrase(passphrase_file)
    with store_errors():
        return KeyStore.open(path, secret)


def holder_of(store: KeyStore, eui: str) -> int | None:
    """The address under which a node is known, if it is and is not revoked."""
    for address in store.addresses():
        node = store.node(address)
        if node.eui == eui and not node.revoked:
            return address
    return None
