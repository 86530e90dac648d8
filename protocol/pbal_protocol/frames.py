"""Sealed frames: header(7) | ciphertext | tag(8), the same over every bearer.

Header: version << 4 | kind, address (2, little endian), counter (4, little endian); it is the
associated data. Nonce: kind, site id (4), address (2), counter (4), two zero bytes. A Sealer
never goes back with its counter, because a nonce used twice reveals both messages. A node that
cannot know whether it used a counter before, as its flash may hold an older copy, sends a random
nonce in the frame: kind 4, header(7) | nonce(12) | ciphertext | tag(8). An Opener remembers the
last 64 counters and refuses a frame that it has seen, and moves its window only after the tag has
matched.
"""

import struct

from pbal_protocol.aead import Ccm
from pbal_protocol.compat import const
from pbal_protocol.errors import (
    BadKind,
    BadVersion,
    CounterError,
    ForbiddenError,
    RangeError,
    ReplayError,
    SpaceError,
    TooLong,
    Truncated,
    WrongAddress,
    WrongDirection,
)
from pbal_protocol.records import RECORDS, first_foreign

VERSION = 1
UP, DOWN, GROUP = 1, 2, 3
UP_EXPLICIT = 4  # up, with an explicit nonce; an Opener treats it as UP
KINDS = {UP: "up", DOWN: "down", GROUP: "group"}

HEADER_LEN = 7
TAG_LEN = 8
NONCE_LEN = 12  # of an explicit nonce
MAX_FRAME = 240
MAX_PAYLOAD = 225  # MAX_FRAME - HEADER_LEN - TAG_LEN
COUNTER_MAX = 0xFFFFFFFF
WINDOW = 64

_H = const(7)
_T = const(8)
_N = const(12)
_EXPLICIT = const(4)
_WINDOW = const(64)
_PROOF = const(0x80)  # in place of a frame's kind


def peek(frame: bytes | bytearray | memoryview) -> tuple[int, int, int, int]:
    """Return (version, kind, address, counter) of a frame, unverified. Raises Truncated."""
    if len(frame) < _H:
        raise Truncated("%d bytes of header" % len(frame))
    first, address, counter = struct.unpack_from("<BHI", frame, 0)
    return first >> 4, first & 15, address, counter


class _End:
    """What both ends of one stream of frames share: key, direction and nonce."""

    def __init__(self, key: "bytes | Ccm", kind: int, site_id: int, address: int) -> None:
        if kind not in KINDS:
            raise RangeError("kind: %r" % kind)
        if not isinstance(key, Ccm):
            if len(key) != 32:
                raise RangeError("key: %d bytes, not 32" % len(key))
            key = Ccm(key, TAG_LEN)
        if not 0 <= site_id <= 0xFFFFFFFF:
            raise RangeError("site_id: %d" % site_id)
        if not 0 <= address <= 0xFFFF:
            raise RangeError("address: %d" % address)
        if kind == GROUP and address != 0:
            raise RangeError("group frames have address 0")
        self.kind = kind
        self.address = address
        self._first = VERSION << 4 | kind
        self._ccm = key
        self._nonce = bytearray(13)
        struct.pack_into("<BIH", self._nonce, 0, kind, site_id, address)

    def proof(self, address: int, challenge: int) -> bytes:
        """Return 8 bytes that only a holder of this key can answer a challenge with.

        `address` is the node that proves it, so one node's proof is not valid for another.
        The tag of an empty message; no frame's nonce has the same first byte.
        """
        nonce = bytearray(self._nonce)
        struct.pack_into("<HI", nonce, 5, address, challenge)
        nonce[0] = _PROOF
        return self._ccm.seal(nonce, b"", b"")


class Sealer(_End):
    """Seals the frames of one direction. `last` is the highest counter used so far."""

    def __init__(self, key: bytes, kind: int, site_id: int, address: int, last: int = 0) -> None:
        super().__init__(key, kind, site_id, address)
        self.last = last

    def seal(self, counter: int, payload: bytes | bytearray | memoryview) -> bytes:
        """Return a sealed frame of `payload` (1..225 bytes of records).

        Raises CounterError when `counter` does not grow, SpaceError, ForbiddenError.
        """
        n = len(payload)
        buf = bytearray(_H + n + _T)
        buf[_H : _H + n] = payload
        self.seal_into(counter, buf, n)
        return bytes(buf)

    def seal_into(
        self, counter: int, buf: bytearray, n: int, at: int = 0, nonce: bytes = b""
    ) -> int:
        """Seal in place the `n` bytes of payload at buf[at + 7:]; return the frame's length.

        The frame begins at buf[at]; it has 15 bytes more than the payload. With `nonce`, 12 fresh
        random bytes, an UP frame carries it: the payload is at buf[at + 19:].
        Raises as `seal` does, and RangeError for an illegal nonce.
        """
        head = _H + len(nonce)
        if not 1 <= n <= MAX_FRAME - head - _T or at + head + n + _T > len(buf):
            raise SpaceError("payload: %d bytes" % n)
        if nonce and (len(nonce) != _N or self.kind != UP):
            raise RangeError("nonce: %d bytes, %s" % (len(nonce), KINDS[self.kind]))
        if not self.last < counter <= COUNTER_MAX:
            raise CounterError("counter %d after %d" % (counter, self.last))
        if self.kind == GROUP:
            foreign = first_foreign(buf, at + _H, at + _H + n, "group")
            if foreign:
                raise ForbiddenError("%s in a group frame" % RECORDS[foreign].NAME)
        self.last = counter
        whole: bytes | bytearray = self._nonce
        struct.pack_into("<BHI", buf, at, self._first, self.address, counter)
        struct.pack_into("<I", self._nonce, 7, counter)
        if nonce:
            buf[at] = VERSION << 4 | _EXPLICIT
            buf[at + _H : at + head] = nonce
            whole = bytes((_EXPLICIT,)) + nonce
        return self._ccm.seal_at(whole, buf, at, at + head, at + head + n) - at


class Opener(_End):
    """Opens the frames of one direction, each once.

    `floor` is the highest counter accepted so far (at first: the one given). Everything at or
    below the first floor is refused, so a new Opener with a stored floor accepts
    nothing that was accepted before.
    """

    def __init__(
        self, key: "bytes | Ccm", kind: int, site_id: int, address: int, floor: int = 0
    ) -> None:
        super().__init__(key, kind, site_id, address)
        if not 0 <= floor <= COUNTER_MAX:
            raise RangeError("floor: %d" % floor)
        self.floor = floor
        self._lowest = floor
        self._seen = bytearray(_WINDOW // 8)

    def apart(self) -> "Opener":
        """Another Opener of the same stream, with a replay window of its own that begins at zero.
        They share the cipher, which on a node is most of an Opener's heap, and the nonce's buffer.
        """
        one = Opener(self._ccm, self.kind, 0, self.address)
        one._nonce = self._nonce
        return one

    def raise_floor(self, floor: int) -> None:
        """Refuse every counter up to and including `floor` from now on."""
        if not 0 <= floor <= COUNTER_MAX:
            raise RangeError("floor: %d" % floor)
        if floor > self._lowest:
            self._lowest = floor
        if floor > self.floor:
            self._advance(floor)

    def open(self, frame: bytes | bytearray | memoryview) -> bytes:
        """Return the payload of an authentic frame that was not seen before.

        Raises Truncated, TooLong, BadVersion, BadKind, WrongAddress, ReplayError, AuthError;
        for group frames also UnknownRecord and WrongDirection.
        """
        buf = bytearray(frame)
        n = self.open_into(buf, len(buf))
        return bytes(buf[_H : _H + n])

    def open_into(self, buf: bytearray, n: int) -> int:
        """Open in place the frame at buf[:n]; return the payload's length, it is at buf[7:].

        Raises as `open` does, and then leaves `buf` as it was.
        """
        if n < _H + 1 + _T:
            raise Truncated("%d bytes of frame" % n)
        if n > MAX_FRAME:
            raise TooLong("%d bytes of frame" % n)
        first = buf[0]
        if first >> 4 != VERSION:
            raise BadVersion("version %d" % (first >> 4))
        head = _H
        if first == (VERSION << 4 | _EXPLICIT) and self.kind == UP:
            head = _H + _N
            if n < head + 1 + _T:
                raise Truncated("%d bytes of frame" % n)
        elif first != self._first:
            raise BadKind("kind %d" % (first & 15))
        address = buf[1] | buf[2] << 8
        if address != self.address:
            raise WrongAddress("address %d" % address)
        counter = buf[3] | buf[4] << 8 | buf[5] << 16 | buf[6] << 24
        if not self._fresh(counter):
            raise ReplayError("counter %d" % counter)
        nonce: bytes | bytearray = self._nonce
        struct.pack_into("<I", self._nonce, 7, counter)
        if head > _H:
            nonce = bytes((_EXPLICIT,)) + bytes(buf[_H:head])
        end = self._ccm.open_at(nonce, buf, 0, head, n)
        if counter > self.floor:
            self._advance(counter)
        bit = counter % _WINDOW
        self._seen[bit >> 3] |= 1 << (bit & 7)
        if self.kind == GROUP:
            foreign = first_foreign(buf, _H, end, "group")
            if foreign:
                raise WrongDirection("%s in a group frame" % RECORDS[foreign].NAME)
        size: int = end - head
        if head > _H:
            buf[_H : _H + size] = buf[head:end]
        return size

    def _fresh(self, counter: int) -> bool:
        if counter <= self._lowest:
            return False
        if counter > self.floor:
            return True
        if self.floor - counter >= _WINDOW:
            return False
        bit = counter % _WINDOW
        return not self._seen[bit >> 3] & 1 << (bit & 7)

    def _advance(self, counter: int) -> None:
        """Make `counter` the highest; forget the bits that leave the window."""
        seen = self._seen
        step = counter - self.floor
        if step > _WINDOW:
            step = _WINDOW
        while step:
            step -= 1
            bit = (counter - step) % _WINDOW
            seen[bit >> 3] &= ~(1 << (bit & 7)) & 0xFF
        self.floor = counter
