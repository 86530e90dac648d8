"""The release key: an Ed25519 key pair; the private half is a PEM file under a passphrase."""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from ..errors import InputError

PASS_MIN = 8


def generate(path: Path, passphrase: bytes) -> bytes:
    """Writes a new private key (mode 0600) and the public one beside it; the public key, 32 bytes.

    Raises InputError: the file is there already, or the passphrase is too short.
    """
    if len(passphrase) < PASS_MIN:
        raise InputError(f"The passphrase is shorter than {PASS_MIN} characters.", "Use more.")
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InputError(
            f"{path} exists.", "A release key is not overwritten; name another file."
        ) from None
    except OSError as exc:
        raise InputError(f"{path} cannot be written ({exc.strerror}).", "Name another.") from None
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    public = key.public_key().public_bytes_raw()
    public_path(path).write_text(public.hex() + "\n", encoding="ascii")
    return public


def public_path(path: Path) -> Path:
    """Where the public half of a key file is."""
    return path.with_name(path.name + ".pub")


def private(path: Path, passphrase: bytes) -> Ed25519PrivateKey:
    """The private key in a PEM file. Raises InputError."""
    try:
        key = load_pem_private_key(path.read_bytes(), passphrase)
    except OSError as exc:
        raise InputError(
            f"{path} cannot be read ({exc.strerror}).", "Make a key: pbal release keygen FILE"
        ) from None
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InputError(
            f"{path}: the passphrase is wrong, or this is no key file.", "Try again."
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise InputError(f"{path} is not an Ed25519 key.", "Make one: pbal release keygen FILE")
    return key


def public(text: str) -> bytes:
    """A public key from 64 hex digits or a .pub file. Raises InputError."""
    path = Path(text)
    try:
        if len(text) != 64 and path.is_file():
            text = path.read_text(encoding="ascii").strip()
        raw = bytes.fromhex(text)
    except (OSError, ValueError):
        raw = b""
    if len(raw) != 32:
        raise InputError(
            f"{text!r} is not a public release key.", "Give 64 hex digits or a .pub file."
        )
    return raw


def passphrase(file: Path | None, ask: str) -> bytes:
    """The passphrase from a file, from PBAL_RELEASE_PASSPHRASE, or from the person.

    Raises InputError where no person can be asked.
    """
    if file is not None:
        try:
            return file.read_bytes().rstrip(b"\r\n")
        except OSError as exc:
            raise InputError(f"{file} cannot be read ({exc.strerror}).", "Name another.") from None
    given = os.environ.get("PBAL_RELEASE_PASSPHRASE")
    if given is not None:
        return given.encode()
    import getpass
    import sys

    if not sys.stdin.isatty():
        raise InputError("There is nobody to ask for the passphrase.", "Use --passphrase-file.")
    return getpass.getpass(ask).encode()
