"""Key derivation: HKDF-SHA256 (RFC 5869) and the three keys pbal derives with it.

HMAC is written out because MicroPython has SHA-256 and no `hmac` module.
"""

import hashlib
import struct

from pbal_protocol.compat import const
from pbal_protocol.errors import RangeError

KEY_LEN = 32
_BLOCK = const(64)
_SALT = b"pbal/1"


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return HMAC-SHA256 (RFC 2104), 32 bytes."""
    if len(key) > _BLOCK:
        key = hashlib.sha256(key).digest()
    pad = key + bytes(_BLOCK - len(key))
    inner = hashlib.sha256(bytes([b ^ 0x36 for b in pad]))
    inner.update(message)
    outer = hashlib.sha256(bytes([b ^ 0x5C for b in pad]))
    outer.update(inner.digest())
    return outer.digest()


def hkdf_sha256(ikm: bytes, salt: bytes, info: bytes, length: int = KEY_LEN) -> bytes:
    """Return `length` (1..8160) bytes of key material; RFC 5869, extract then expand."""
    if not 1 <= length <= 255 * 32:
        raise RangeError("length: %d" % length)
    prk = hmac_sha256(salt, ikm)
    out = b""
    block = b""
    n = 1
    while len(out) < length:
        block = hmac_sha256(prk, block + info + bytes((n,)))
        out += block
        n += 1
    return out[:length]


def _salt(site_id: int) -> bytes:
    if not 0 <= site_id <= 0xFFFFFFFF:
        raise RangeError("site_id: %d" % site_id)
    return _SALT + struct.pack("<I", site_id)


def _check_key(name: str, key: bytes) -> None:
    if len(key) != KEY_LEN:
        raise RangeError("%s: %d bytes, not 32" % (name, len(key)))


def node_keys(root: bytes, site_id: int, address: int) -> tuple[bytes, bytes]:
    """Return (up key, down key) of one node from its 32-byte root key."""
    _check_key("root key", root)
    if not 0 <= address <= 0xFFFF:
        raise RangeError("address: %d" % address)
    salt = _salt(site_id)
    tail = struct.pack("<H", address)
    return hkdf_sha256(root, salt, b"up" + tail), hkdf_sha256(root, salt, b"down" + tail)


def group_key(site_group_key: bytes, site_id: int) -> bytes:
    """Return the key of a site's group frames from the site's 32-byte group root."""
    _check_key("group key", site_group_key)
    return hkdf_sha256(site_group_key, _salt(site_id), b"group")
