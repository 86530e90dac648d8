"""AES-CCM on CPython, from the `cryptography` package."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from pbal_protocol.errors import AuthError, RangeError, SpaceError, Truncated


class Ccm:
    """AES-CCM with one key; see pbal_protocol.aead for the interface."""

    def __init__(self, key: bytes, tag_len: int = 8) -> None:
        if len(key) not in (16, 24, 32):
            raise RangeError("key: %d bytes" % len(key))
        if tag_len not in (4, 6, 8, 10, 12, 14, 16):
            raise RangeError("tag: %d bytes" % tag_len)
        self.tag_len = tag_len
        self._aes = AESCCM(bytes(key), tag_len)

    def seal(
        self,
        nonce: bytes | bytearray,
        aad: bytes | bytearray | memoryview,
        plaintext: bytes | bytearray | memoryview,
    ) -> bytes:
        """Return ciphertext and tag. Raises RangeError for an illegal nonce length."""
        self._check(nonce, len(plaintext))
        return self._aes.encrypt(nonce, plaintext, aad)

    def open(
        self,
        nonce: bytes | bytearray,
        aad: bytes | bytearray | memoryview,
        sealed: bytes | bytearray | memoryview,
    ) -> bytes:
        """Return the plaintext. Raises AuthError, Truncated, RangeError."""
        if len(sealed) < self.tag_len:
            raise Truncated("no room for a tag")
        self._check(nonce, len(sealed) - self.tag_len)
        try:
            return self._aes.decrypt(nonce, sealed, aad)
        except InvalidTag:
            raise AuthError("tag") from None

    def seal_at(self, nonce: bytes | bytearray, buf: bytearray, a: int, p: int, e: int) -> int:
        """Seal in place; buf[a:p] associated data, buf[p:e] plaintext. Returns the new end."""
        end = e + self.tag_len
        if not 0 <= a <= p <= e or end > len(buf):
            raise SpaceError("no room for a tag")
        view = memoryview(buf)
        buf[p:end] = self.seal(nonce, view[a:p], view[p:e])
        return end

    def open_at(self, nonce: bytes | bytearray, buf: bytearray, a: int, p: int, e: int) -> int:
        """Open in place; buf[p:e] ciphertext and tag. Returns the end of the plaintext."""
        if not 0 <= a <= p <= e <= len(buf):
            raise SpaceError("outside the buffer")
        view = memoryview(buf)
        plain = self.open(nonce, view[a:p], view[p:e])
        end = p + len(plain)
        buf[p:end] = plain
        return end

    def _check(self, nonce: bytes | bytearray, length: int) -> None:
        if not 7 <= len(nonce) <= 13:
            raise RangeError("nonce: %d bytes" % len(nonce))
        if length >> (8 * (15 - len(nonce))):
            raise RangeError("too long for this nonce")
