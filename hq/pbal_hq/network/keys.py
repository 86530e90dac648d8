"""WireGuard's keys: X25519, 32 bytes, base64 (wg(8))."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from pbal_hq.ca import write_private
from pbal_hq.errors import BadInput, ConfigError

_BYTES = 32


def check_key(text: str) -> str:
    """A public key as `wg pubkey` prints it. Raises BadInput."""
    key = text.strip()
    try:
        whole = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        whole = b""
    if len(whole) != _BYTES or base64.b64encode(whole).decode() != key:
        raise BadInput(
            f"{key!r} is no public key of WireGuard; on the Pi: wg pubkey < /etc/wireguard/pbal.key"
        )
    if not any(whole):
        raise BadInput("the key is all zero, which is no key")
    return key


def own_key(file: Path) -> str:
    """HQ's public key; the private one is made where there is none yet. Raises ConfigError."""
    try:
        if not file.exists():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            raw = X25519PrivateKey.generate().private_bytes(
                Encoding.Raw, PrivateFormat.Raw, NoEncryption()
            )
            write_private(file, base64.b64encode(raw) + b"\n")
        key = X25519PrivateKey.from_private_bytes(base64.b64decode(file.read_bytes()))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}; run it as the user that HQ runs as") from None
    except ValueError:
        raise ConfigError(f"{file}: is no key of WireGuard; put the right one back") from None
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return base64.b64encode(public).decode()
