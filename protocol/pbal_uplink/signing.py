"""Commands with HQ's signature: signing and verifying.

The signature is Ed25519 (RFC 8032) over a fixed prefix and the command's packed bytes, so that no
signature of another purpose, or for another site, is valid for a command.
"""

from __future__ import annotations

import hashlib

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from pbal_uplink.errors import BadMessage, BadSignature
from pbal_uplink.messages import Command

PREFIX = b"pbal uplink command 1\0"
KEY_ID = 8
SIGNATURE = 64


def key_id(public: bytes) -> bytes:
    """The 8 bytes by which a key is named: the beginning of SHA-256 of its 32 bytes."""
    return hashlib.sha256(public).digest()[:KEY_ID]


def seal(command: Command, key: Ed25519PrivateKey) -> bytes:
    """The bytes to send: key id, signature, packed command."""
    body = command.encode()
    return key_id(key.public_key().public_bytes_raw()) + key.sign(PREFIX + body) + body


def open_sealed(data: bytes, keys: dict[bytes, bytes]) -> Command:
    """The command, if one of `keys` (key id -> 32 bytes public key) signed it.

    Raises BadSignature, and BadMessage for signed bytes that are not a command.
    """
    body = data[KEY_ID + SIGNATURE :]
    if not body:
        raise BadMessage(f"a sealed command has more than {KEY_ID + SIGNATURE} bytes")
    public = keys.get(bytes(data[:KEY_ID]))
    if public is None:
        raise BadSignature(f"signed with key {data[:KEY_ID].hex()}, which this site does not hold")
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(
            data[KEY_ID : KEY_ID + SIGNATURE], PREFIX + body
        )
    except InvalidSignature:
        raise BadSignature("its signature does not fit") from None
    return Command.decode(body)
