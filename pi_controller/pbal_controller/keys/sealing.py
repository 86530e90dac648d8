"""How the key store's file is sealed, and what else its key is good for.

One JSON document: the scrypt parameters, a nonce, and everything else (content.py) as one
AES-256-GCM ciphertext whose associated data is the file's plain header.

scrypt: RFC 7914; the default cost (N 2^15, r 8, p 1) takes about 0.1 s and 32 MiB on a
computer and about 0.5 s on a Raspberry Pi 4.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from pbal_controller.documents import dump_json
from pbal_controller.keys.content import KEY_BYTES
from pbal_controller.keys.file import FORMAT


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


@dataclass(frozen=True)
class Seal:
    """The key (32 bytes) of one file, and the plain header that it is bound to."""

    key: bytes = field(repr=False)
    log2_n: int
    site_id: int
    salt: bytes

    @classmethod
    def derived(cls, passphrase: bytes, log2_n: int, site_id: int, salt: bytes) -> Seal:
        """The seal that a passphrase gives for this header."""
        key = Scrypt(salt=salt, length=KEY_BYTES, n=1 << log2_n, r=8, p=1).derive(passphrase)
        return cls(key, log2_n, site_id, salt)

    @property
    def head(self) -> tuple[int, int, bytes]:
        """(scrypt cost, site, salt), as `file.read` gives them."""
        return self.log2_n, self.site_id, self.salt

    def _header(self) -> bytes:
        return f"{FORMAT}|{self.site_id}|{self.log2_n}|{_b64(self.salt)}".encode("ascii")

    def open(self, nonce: bytes, sealed: bytes) -> bytes:
        """What was sealed. Raises InvalidTag: altered, or of another key; ValueError: no nonce."""
        return AESGCM(self.key).decrypt(nonce, sealed, self._header())

    def document(self, plain: bytes) -> bytes:
        """The whole file with this sealed in it, under a fresh nonce."""
        nonce = secrets.token_bytes(12)
        sealed = AESGCM(self.key).encrypt(nonce, plain, self._header())
        document = {
            "format": FORMAT,
            "site": self.site_id,
            "log2_n": self.log2_n,
            "salt": _b64(self.salt),
            "nonce": _b64(nonce),
            "sealed": _b64(sealed),
        }
        return (dump_json(document, indent=1) + "\n").encode()

    def key_for(self, purpose: bytes) -> bytes:
        """A key (32 bytes) for one purpose, derived from the file's own: the same while that is.

        The same in a copy of the file; another in a store that was made anew.
        """
        return HKDF(hashes.SHA256(), KEY_BYTES, None, purpose).derive(self.key)
