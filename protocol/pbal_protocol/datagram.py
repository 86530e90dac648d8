"""Sealed frames in UDP datagrams, the same in both directions (docs/wire.md, "In UDP").

    datagram: kind | item ...
    item: address (2, little endian) | hints | length | frame (length bytes)

A POLL asks the node at each address for its pending records; its frame may be empty. FRAMES carries
frames of nodes. GROUP carries group frames, address 0. Nothing here is secret or trusted: only a
frame's own seal is. A datagram of several items comes from, or goes to, a bridge.
"""

from pbal_protocol.compat import const

PORT = 7225
POLL = 0xA1
GROUP = 0xA2
FRAMES = 0xA3
HEAD = 5  # kind and one item's head: the offset of the frame of a single item
MAX_DATAGRAM = 1200  # small enough not to be fragmented on any network between

_ITEM = const(4)


def put(buf: bytearray, at: int, address: int, hints: int, n: int) -> int:
    """Write the head of an item whose frame of `n` bytes is at buf[at + 4:]; return its end."""
    buf[at] = address & 0xFF
    buf[at + 1] = address >> 8
    buf[at + 2] = hints
    buf[at + 3] = n
    return at + _ITEM + n


def item_end(buf: bytes | bytearray | memoryview, at: int, end: int) -> int:
    """Where the item at buf[at:] ends; 0 when it is cut short by the end of the datagram."""
    if at + _ITEM > end:
        return 0
    after = at + _ITEM + buf[at + 3]
    return after if after <= end else 0


def datagram(kind: int, address: int, hints: int, frame: bytes) -> bytes:
    """A datagram of one item."""
    buf = bytearray(HEAD + len(frame))
    buf[0] = kind
    buf[HEAD:] = frame
    put(buf, 1, address, hints, len(frame))
    return bytes(buf)


def items(data: bytes) -> list[tuple[int, int, bytes]] | None:
    """(address, hints, frame) of each item of a datagram; None when it is malformed."""
    found = []
    at, end = 1, len(data)
    while at < end:
        after = item_end(data, at, end)
        if not after:
            return None
        found.append((data[at] | data[at + 1] << 8, data[at + 2], data[at + _ITEM : after]))
        at = after
    return found or None
