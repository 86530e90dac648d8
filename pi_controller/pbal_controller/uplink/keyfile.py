"""The private key of the site's certificate as a file: PKCS #8 in PEM, as openssl reads it.

Sealed (PBES2, AES-256) where the site's key store is at hand: its secret is derived from the store
(`KeyStore.tls_secret`), so that a card without the store's passphrase holds no key of the uplink. A
key that a person or an older version left in the clear is read as it is, and sealed later (`seal`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from pbal_controller.errors import ConfigError, KeyStoreError
from pbal_controller.keys import atomic_write

_SEALED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


@dataclass(frozen=True)
class KeyFile:
    """A key's file. `secret` is empty where the key store is not open."""

    path: Path
    secret: bytes = field(default=b"", repr=False)

    @property
    def waiting(self) -> KeyFile:
        """The next key, until it has its certificate."""
        return KeyFile(self.path.with_name(f"{self.path.name}.new"), self.secret)

    @property
    def is_sealed(self) -> bool:
        """Whether the file holds a sealed key. Raises OSError."""
        return _SEALED in self.path.read_bytes()

    def password(self) -> bytes:
        """What ssl asks for; not asked where the key is in the clear."""
        return self.secret

    def read(self) -> PrivateKeyTypes:
        """The key. Raises ConfigError, for a sealed one without its secret too."""
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise ConfigError(f"{self.path} cannot be read: {error.strerror}") from None
        sealed = _SEALED in data
        if sealed and not self.secret:
            raise ConfigError(f"{self.path} is sealed with the key store, which is not open here")
        try:
            return load_pem_private_key(data, self.secret if sealed else None)
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"{self.path} was sealed with another key store, or is damaged; enrol again"
                if sealed
                else f"{self.path} holds no PEM key without a passphrase: {error}"
            ) from None

    def draw(self, sealed: bool) -> ec.EllipticCurvePrivateKey:
        """Put a new key there. Raises ConfigError."""
        made = ec.generate_private_key(ec.SECP256R1())
        self._put(made, sealed)
        return made

    def seal(self) -> bool:
        """Seal a key that is in the clear; whether there was one. Raises ConfigError."""
        if not self.secret or self.is_sealed:
            return False
        self._put(self.read(), True)
        return True

    def _put(self, key: PrivateKeyTypes, sealed: bool) -> None:
        how = BestAvailableEncryption(self.secret) if sealed and self.secret else NoEncryption()
        place(self.path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how), 0o600)


def place(path: Path, data: bytes, mode: int) -> None:
    """Write a file of the uplink, for its folder's owner. Raises ConfigError."""
    try:
        atomic_write(path, data, mode)
        if os.geteuid() == 0:  # a person's command; the service must be able to replace it
            owner = path.parent.stat()
            os.chown(path, owner.st_uid, owner.st_gid)
    except (OSError, KeyStoreError) as error:
        raise ConfigError(
            f"{path}: cannot be written ({error}); certificate and key must be where the "
            "controller may write, as pbal-controller enrol puts them"
        ) from None
