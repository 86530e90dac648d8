"""What a site and its gateway put into one sealed frame over LoRa: items of kind, length, body.

    up      NEW, OLD   a brief message (`brief`); OLD waited for the link to be there
    down    HELD       the counter of a frame (u32) whose messages the gateway has on its disk
            STORED     tokens (u64 each) of messages that HQ itself has stored
            PART       a part of a sealed command (`split`)
            ASK        send the State

All numbers are little-endian. The items of LoRaWAN's downlinks are the same.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pbal_uplink.errors import BadMessage

NEW, OLD = 1, 2
HELD, STORED, PART, ASK = 16, 17, 18, 19
HEAD = 2  # bytes before an item's body
_KNOWN = (NEW, OLD, HELD, STORED, PART, ASK)
_PART = struct.Struct("<4sBB")
_TOKEN = 8  # bytes
_PARTS = 15  # of one command, at most
_COMMANDS = 4  # that may be incomplete at the same time


@dataclass(frozen=True)
class Item:
    """One item."""

    kind: int
    body: bytes = b""

    @property
    def size(self) -> int:
        """Its bytes in a frame."""
        return HEAD + len(self.body)


def pack(items: Iterable[Item]) -> bytes:
    """The payload of a frame."""
    return b"".join(bytes((item.kind, len(item.body))) + item.body for item in items)


def unpack(data: bytes) -> list[Item]:
    """The items of a payload. Raises BadMessage; kinds of a later version are left out."""
    out, at = [], 0
    while at < len(data):
        if at + HEAD > len(data) or at + HEAD + data[at + 1] > len(data):
            raise BadMessage("an item is cut off")
        end = at + HEAD + data[at + 1]
        if data[at] in _KNOWN:
            out.append(Item(data[at], bytes(data[at + HEAD : end])))
        at = end
    return out


def fill(items: Iterable[Item], room: int) -> list[list[Item]]:
    """The items of one frame after the other, in their order, each frame within `room` bytes.

    Raises BadMessage: one item alone is larger.
    """
    frames: list[list[Item]] = []
    left = -1
    for item in items:
        if item.size > room:
            raise BadMessage(f"an item of {item.size} bytes does not fit a frame's {room}")
        if item.size > left:
            frames.append([])
            left = room
        frames[-1].append(item)
        left -= item.size
    return frames


def held(counter: int) -> Item:
    """The gateway has what this frame brought."""
    return Item(HELD, counter.to_bytes(4, "little"))


def held_counter(item: Item) -> int:
    """Which frame that is. Raises BadMessage."""
    if len(item.body) != 4:
        raise BadMessage("HELD has 4 bytes")
    return int.from_bytes(item.body, "little")


def stored_room(room: int) -> int:
    """How many tokens fit a frame of `room` bytes that has nothing else."""
    return max(0, room - HEAD) // _TOKEN


def stored(tokens: Sequence[int]) -> Item:
    """HQ has these, at most 31."""
    return Item(STORED, struct.pack(f"<{len(tokens)}Q", *tokens))


def stored_tokens(item: Item) -> list[int]:
    """Which those are. Raises BadMessage."""
    if len(item.body) % _TOKEN:
        raise BadMessage(f"tokens have {_TOKEN} bytes each")
    return list(struct.unpack(f"<{len(item.body) // _TOKEN}Q", item.body))


def split(sealed: bytes, room: int) -> list[Item]:
    """A sealed command in parts that each fit `room` bytes. Raises BadMessage: too long."""
    size = room - HEAD - _PART.size
    if size < 1:
        raise BadMessage(f"no part of a command fits {room} bytes")
    count = -(-len(sealed) // size)
    if count > _PARTS:
        raise BadMessage(f"a command of {len(sealed)} bytes does not fit {_PARTS} parts")
    name = hashlib.sha256(sealed).digest()[:4]
    return [
        Item(PART, _PART.pack(name, n, count) + sealed[n * size : (n + 1) * size])
        for n in range(count)
    ]


class Joiner:
    """Puts commands together from parts that come in any order, also twice."""

    def __init__(self) -> None:
        self._begun: dict[bytes, tuple[int, dict[int, bytes]]] = {}

    @property
    def lacks_parts(self) -> bool:
        """Whether a command was begun that is not whole."""
        return bool(self._begun)

    def put(self, item: Item) -> bytes | None:
        """The sealed command once it is whole. Raises BadMessage."""
        if len(item.body) <= _PART.size:
            raise BadMessage("a part without content")
        name, number, count = _PART.unpack_from(item.body)
        if not number < count <= _PARTS:
            raise BadMessage(f"part {number} of {count}")
        of, parts = self._begun.pop(name, (count, {}))
        if of != count:
            parts = {}
        self._begun[name] = count, parts  # the latest is last
        parts[number] = item.body[_PART.size :]
        while len(self._begun) > _COMMANDS:
            del self._begun[next(iter(self._begun))]
        if len(parts) < count:
            return None
        del self._begun[name]
        whole = b"".join(parts[n] for n in range(count))
        return whole if hashlib.sha256(whole).digest()[:4] == name else None
