"""Finds the address of NAME.local without waiting for it: one multicast DNS query, and its answer.

A one-shot query from a port of its own, to which responders answer directly (RFC 6762, 5.1 and
6.7). The port's own getaddrinfo can do it, too, but blocks for seconds, and with it the loop that
watches the contacts. A wrong answer only costs time: nothing but a frame's seal is trusted.
"""

from micropython import const

GROUP = ("224.0.0.251", 5353)

_A = const(1)
_IN = const(1)
_QU = const(0x8000)  # asks for a unicast answer
_HEAD = const(12)
_JUMPS = const(8)  # of a compressed name; with more it is malformed


def query(name: str, number: int) -> bytes:
    """The datagram that asks for `name`, as "pbal-7.local"."""
    labels = name.encode().split(b".")
    out = bytes((number >> 8, number & 0xFF, 0, 0, 0, 1)) + bytes(6)
    for label in labels:
        out += bytes((len(label),)) + label
    return out + bytes((0, 0, _A, _QU >> 8, _IN))


def _name(data, at: int) -> tuple:
    """(the name at data[at:], where what follows it begins)."""
    labels = []
    after = 0
    for _ in range(_JUMPS):
        while data[at] and data[at] < 0xC0:
            labels.append(bytes(data[at + 1 : at + 1 + data[at]]))
            at += 1 + data[at]
        if not data[at]:
            return b".".join(labels).lower(), after or at + 1
        after = after or at + 2
        at = (data[at] & 0x3F) << 8 | data[at + 1]
    raise ValueError


def address(data, name: str) -> str:
    """The IPv4 address of `name` in an answer, "" when it has none or is malformed."""
    wanted = name.lower().encode()
    try:
        if not data[2] & 0x80:
            return ""
        at = _HEAD
        for _ in range(data[4] << 8 | data[5]):
            at = _name(data, at)[1] + 4
        records = 0
        for i in (6, 8, 10):
            records += data[i] << 8 | data[i + 1]
        for _ in range(records):
            found, at = _name(data, at)
            kind = data[at] << 8 | data[at + 1]
            of = (data[at + 2] & 0x7F) << 8 | data[at + 3]
            size = data[at + 8] << 8 | data[at + 9]
            at += 10
            if found == wanted and kind == _A and of == _IN and size == 4:
                return "%d.%d.%d.%d" % tuple(data[at : at + 4])
            at += size
    except (IndexError, ValueError, TypeError):
        pass
    return ""
