"""HQ's command key: Ed25519, in a file that only HQ's user reads.

Sites hold its public half (`uplink.hq_keys`), so only this key can sign a command: neither the
broker nor the database can.
"""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from pbal_hq.errors import CertificateError
from pbal_uplink import Command, signing


class Signer:
    """Signs commands."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def read(cls, path: Path) -> Signer:
        """From a PEM file. Raises CertificateError."""
        try:
            if path.stat().st_mode & 0o077:
                raise CertificateError(f"{path}: others may read it; chmod 600 it")
            key = load_pem_private_key(path.read_bytes(), None)
        except OSError as error:
            raise CertificateError(f"{path}: {error.strerror}; pbal-hq init makes it") from None
        except (TypeError, ValueError):
            raise CertificateError(f"{path}: no private key without password in PEM") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise CertificateError(f"{path}: the command key is an Ed25519 key")
        return cls(key)

    @property
    def public_hex(self) -> str:
        """What sites list in uplink.hq_keys."""
        return self._key.public_key().public_bytes_raw().hex()

    def seal(self, command: Command) -> bytes:
        """The sealed command for the site."""
        return signing.seal(command, self._key)


def make_key(path: Path) -> str:
    """A new key in a new file; returns its public half as hex. Raises CertificateError."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise CertificateError(f"{path}: is there already; it is not replaced") from None
    except OSError as error:
        raise CertificateError(f"{path}: {error.strerror}") from None
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
    return key.public_key().public_bytes_raw().hex()
