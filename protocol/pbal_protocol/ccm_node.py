"""AES-CCM on MicroPython, from the ECB and CBC that every port's cryptolib has.

RFC 3610 / NIST SP 800-38C: the tag is a CBC-MAC over B0, the associated data and the
plaintext; the text is exclusive-ored with the encryption of counter blocks. So a message
costs one CBC call and one ECB call, whatever its length, and the blocks are laid out in two
work buffers that all keys share (calls never overlap: nothing here awaits).

A CBC object chains on from the last block of its previous call. That block is therefore
exclusive-ored into B0, which starts a new MAC without a new object and key schedule per message.
"""

from cryptolib import aes  # type: ignore[import-not-found,unused-ignore]

from pbal_protocol.compat import const
from pbal_protocol.errors import AuthError, RangeError, SpaceError, Truncated
from pbal_protocol.loops import copy, xor

_BLOCK = const(16)
_ECB = const(1)
_CBC = const(2)
_START = const(288)  # B0, two blocks of associated data, 240 bytes of text


class _Work:
    """A buffer of whole blocks that grows on demand, with cached views of its first n blocks."""

    def __init__(self, size: int) -> None:
        self.buf = bytearray(size)
        self._views: dict[int, memoryview] = {}

    def view(self, blocks: int) -> memoryview:
        """A view of the first `blocks` blocks; the same object every time."""
        v = self._views.get(blocks)
        if v is None:
            if blocks * _BLOCK > len(self.buf):
                self.buf = bytearray(blocks * _BLOCK)
                self._views = {}
            v = self._views[blocks] = memoryview(self.buf)[: blocks * _BLOCK]
        return v


_mac = _Work(_START)
_ctr = _Work(_START)
_text = bytearray(_START)


class Ccm:
    """AES-CCM with one key; see pbal_protocol.aead for the interface."""

    def __init__(self, key: bytes, tag_len: int = 8) -> None:
        if len(key) not in (16, 32):
            raise RangeError("key: %d bytes" % len(key))
        if tag_len not in (4, 6, 8, 10, 12, 14, 16):
            raise RangeError("tag: %d bytes" % tag_len)
        self.tag_len = tag_len
        self._ecb = aes(key, _ECB)
        self._cbc = aes(key, _CBC, bytes(_BLOCK))
        # After one zero block the state is E(0). A port that carries it over gives E(0) again
        # for E(0) ^ E(0); one that starts every call at the IV needs no correction.
        first = self._cbc.encrypt(bytes(_BLOCK))
        self._carry = bytearray(_BLOCK)
        self._chained = self._cbc.encrypt(first) == first
        if self._chained:
            self._carry[:] = first

    def seal(
        self,
        nonce: bytes | bytearray,
        aad: bytes | bytearray | memoryview,
        plaintext: bytes | bytearray | memoryview,
    ) -> bytes:
        """Return ciphertext and tag. Raises RangeError for an illegal nonce length."""
        a = len(aad)
        n = len(plaintext)
        buf = bytearray(a + n + self.tag_len)
        copy(buf, 0, aad, 0, a)
        copy(buf, a, plaintext, 0, n)
        self.seal_at(nonce, buf, 0, a, a + n)
        return bytes(memoryview(buf)[a:])

    def open(
        self,
        nonce: bytes | bytearray,
        aad: bytes | bytearray | memoryview,
        sealed: bytes | bytearray | memoryview,
    ) -> bytes:
        """Return the plaintext. Raises AuthError, Truncated, RangeError."""
        a = len(aad)
        n = len(sealed)
        buf = bytearray(a + n)
        copy(buf, 0, aad, 0, a)
        copy(buf, a, sealed, 0, n)
        end = self.open_at(nonce, buf, 0, a, a + n)
        return bytes(memoryview(buf)[a:end])

    def seal_at(self, nonce: bytes | bytearray, buf: bytearray, a: int, p: int, e: int) -> int:
        """Seal in place; buf[a:p] associated data, buf[p:e] plaintext. Returns the new end."""
        t = self.tag_len
        if not 0 <= a <= p <= e or e + t > len(buf):
            raise SpaceError("no room for a tag")
        n = e - p
        self._check(nonce, n)
        at = self._tag(nonce, buf, a, p, buf, p, n)
        self._keystream(nonce, n)
        xor(buf, p, buf, p, _ctr.buf, _BLOCK, n)
        xor(buf, e, _mac.buf, at, _ctr.buf, 0, t)
        return e + t

    def open_at(self, nonce: bytes | bytearray, buf: bytearray, a: int, p: int, e: int) -> int:
        """Open in place; buf[p:e] ciphertext and tag. Returns the end of the plaintext."""
        global _text
        t = self.tag_len
        if not 0 <= a <= p <= e <= len(buf):
            raise SpaceError("outside the buffer")
        n = e - p - t
        if n < 0:
            raise Truncated("no room for a tag")
        self._check(nonce, n)
        if n > len(_text):
            _text = bytearray(n)
        self._keystream(nonce, n)
        xor(_text, 0, buf, p, _ctr.buf, _BLOCK, n)
        at = self._tag(nonce, buf, a, p, _text, 0, n)
        # Every byte is compared, so that the time does not reveal where the first difference is.
        mac = _mac.buf
        ctr = _ctr.buf
        diff = 0
        e -= t
        i = 0
        while i < t:
            diff |= mac[at + i] ^ ctr[i] ^ buf[e + i]
            i += 1
        if diff:
            raise AuthError("tag")
        copy(buf, p, _text, 0, n)
        return e

    def _check(self, nonce: bytes | bytearray, n: int) -> None:
        if not 7 <= len(nonce) <= 13:
            raise RangeError("nonce: %d bytes" % len(nonce))
        # The length field has the 15 - len(nonce) bytes left free; no length needs over 32 bits.
        if len(nonce) >= 12 and n >> (8 * (15 - len(nonce))):
            raise RangeError("too long for this nonce")

    def _keystream(self, nonce: bytes | bytearray, n: int) -> None:
        """Fill _ctr with the encrypted counter blocks 0 .. for n bytes of text."""
        count = 1 + (n + _BLOCK - 1) // _BLOCK
        view = _ctr.view(count)
        buf = _ctr.buf
        k = len(nonce)
        end = count * _BLOCK
        at = 0
        i = 0
        while at < end:
            buf[at] = 14 - k
            copy(buf, at + 1, nonce, 0, k)
            _count(buf, at + _BLOCK, 15 - k, i)
            at += _BLOCK
            i += 1
        self._ecb.encrypt(view, view)

    def _tag(
        self,
        nonce: bytes | bytearray,
        buf: bytearray,
        a: int,
        p: int,
        text: bytearray,
        s: int,
        n: int,
    ) -> int:
        """Leave the CBC-MAC in _mac; return where it starts."""
        k = len(nonce)
        aad = p - a
        head = 0 if aad == 0 else 2 if aad < 0xFF00 else 6
        first = _BLOCK + (head + aad + _BLOCK - 1) // _BLOCK * _BLOCK
        end = first + (n + _BLOCK - 1) // _BLOCK * _BLOCK
        view = _mac.view(end // _BLOCK)
        mac = _mac.buf
        mac[0] = (64 if aad else 0) + (self.tag_len - 2) // 2 * 8 + 14 - k
        copy(mac, 1, nonce, 0, k)
        _count(mac, _BLOCK, 15 - k, n)
        xor(mac, 0, mac, 0, self._carry, 0, _BLOCK)
        if head:
            at = _BLOCK + head
            _count(mac, at, head, aad)
            if head == 6:
                mac[_BLOCK] = 0xFF
                mac[_BLOCK + 1] = 0xFE
            copy(mac, at, buf, a, aad)
            _zero(mac, at + aad, first)
        copy(mac, first, text, s, n)
        _zero(mac, first + n, end)
        self._cbc.encrypt(view, view)
        at = end - _BLOCK
        if self._chained:
            copy(self._carry, 0, mac, at, _BLOCK)
        last: int = at
        return last


def _count(buf: bytearray, end: int, size: int, value: int) -> None:
    """Write `value` big endian into the `size` bytes before `end`."""
    while size:
        end -= 1
        size -= 1
        buf[end] = value & 0xFF
        value >>= 8


def _zero(buf: bytearray, start: int, end: int) -> None:
    while start < end:
        buf[start] = 0
        start += 1
