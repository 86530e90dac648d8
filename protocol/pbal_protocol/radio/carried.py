"""What a bridge carries over a radio: sealed frames of its neighbours, several in one. Sans-IO.

    ask, down:  ASK   | bridge (2, little endian) | sf | frames | bytes | item ...
    batch, up:  BATCH | bridge (2) | more | item ...
    item: length | frame

The first item of an ask is a sealed frame for the bridge itself: without an authentic one it sends
nothing. The others are for neighbours. `frames` batches of at most `bytes` each may answer, at the
spreading factor `sf`; `more` says that another one follows. Nothing else here is trusted: a frame
has its address and its seal in itself. Neither kind is one of a sealed frame (frames.py).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

ASK = 0xB0
BATCH = 0xB8
ASK_HEAD = 6
BATCH_HEAD = 4
MOST = 255  # bytes of a LoRa frame


def item_end(buf: "bytes | bytearray | memoryview", at: int, end: int) -> int:
    """Where the item at buf[at:] ends; 0 when it is empty, or cut short by the end."""
    if at >= end or not buf[at]:
        return 0
    after = at + 1 + buf[at]
    return after if after <= end else 0


def ask(bridge: int, sf: int, frames: int, size: int, items: "Iterable[bytes]") -> bytes:
    """An ask; its items are the bridge's own frame and those of neighbours."""
    out = bytes((ASK, bridge & 0xFF, bridge >> 8, sf, frames, size))
    return out + b"".join([bytes((len(item),)) + item for item in items])


def opened(data: bytes) -> "tuple[int, bool, list[bytes]] | None":
    """(bridge, more, frames) of a batch; None when it is none, or malformed."""
    if len(data) <= BATCH_HEAD or data[0] != BATCH:
        return None
    found = []
    at = BATCH_HEAD
    while at < len(data):
        after = item_end(data, at, len(data))
        if not after:
            return None
        found.append(data[at + 1 : after])
        at = after
    return data[1] | data[2] << 8, data[3] != 0, found
