"""The LoRa bearer of a bridge: its own turns (lora.py), and its neighbours' frames in batches.

The controller asks for them (pbal_protocol/radio/carried.py) by an authentic frame for this node;
nothing else makes it send a batch. The bridge (bridge.py) polls the neighbours all the time. The
newest reading of each waits here; a frame with more than a reading in it is kept until it was sent,
as a neighbour says some records once only. Until then that neighbour is not polled by itself.
"""

import time

from micropython import const

from pbal_node.bearers.lora import Lora
from pbal_protocol.radio import carried

TYPE_CHECKING = const(0)  # a type checker takes it for 1
if TYPE_CHECKING:
    from pbal_node.bearers.bridge import Bridge

_ASK = const(0xB0)
_BATCH = const(0xB8)
_KIND = const(15)
_GROUP = const(3)
_EXPLICIT = const(4)
_ASK_HEAD = const(6)
_BATCH_HEAD = const(4)
_ANSWER_BYTES = const(110)
_TURN_MS = const(15)  # the controller turns from sending to listening, or fetches a frame
_READING = const(59)  # a sealed Telemetry alone, ...
_NONCE = const(12)  # ... and this much longer until time is proven
_URGENT = const(2)
_URGENT_MS = const(60000)  # an urgent frame goes before one that waited for as much longer
_FRAMES = const(4)  # of one neighbour
_FROM = const(5)  # where the bridge puts a frame


class Waiting:
    """Frames of neighbours that wait for the radio. For the bridge this is its network: `tx`,
    `open`, `quiet_ms`, `wants`, `send`.

    Counter: dropped.
    """

    open = True
    quiet_ms = 1000  # a reading is polled anew after this

    def __init__(self, now_ms) -> None:
        self.tx = bytearray(256)
        self._now_ms = now_ms
        self._frames: dict = {}  # of each address: frames, the oldest first
        self._urgent: dict = {}
        self._sent_ms: dict = {}
        self._taken: list = []
        self.dropped = 0

    def wants(self, address: int) -> bool:
        """Whether a neighbour may be polled: what it said cannot be lost by it."""
        frames = self._frames.get(address)
        return not frames or _bare(frames[-1])

    def send(self, address: int, hints: int, size: int) -> int:
        """Keep the frame of `size` bytes at tx[5:] until it is sent."""
        frame = bytes(memoryview(self.tx)[_FROM : _FROM + size])
        frames = self._frames.setdefault(address, [])
        self._urgent[address] = bool(hints & _URGENT)
        if frames and _bare(frames[-1]):
            frames.pop()
        elif len(frames) >= _FRAMES:
            frames.pop(0)
            self.dropped += 1
        frames.append(frame)
        return 1

    def fill(self, tx, at: int, end: int) -> int:
        """Put frames into tx[at:end], urgent ones first, then those of whoever waited longest;
        where they end. `sent` then forgets them.
        """
        self._taken = taken = []
        while True:
            best = None
            best_ms = 0
            for address, frames in self._frames.items():
                if not frames or address in taken or at + 1 + len(frames[0]) > end:
                    continue
                ms = self._sent_ms.get(address, 0)
                if self._urgent[address]:
                    ms -= _URGENT_MS
                if best is None or ms < best_ms:
                    best, best_ms = address, ms
            if best is None:
                return at
            frame = self._frames[best][0]
            tx[at] = len(frame)
            tx[at + 1 : at + 1 + len(frame)] = frame
            at += 1 + len(frame)
            taken.append(best)

    def more(self) -> bool:
        """Whether frames wait that `fill` did not take."""
        for address, frames in self._frames.items():
            if len(frames) > (1 if address in self._taken else 0):
                return True
        return False

    def sent(self) -> int:
        """What `fill` took has left; how many frames."""
        now_ms = self._now_ms()
        for address in self._taken:
            self._frames[address].pop(0)
            self._sent_ms[address] = now_ms
        count = len(self._taken)
        self._taken = []
        return count


def _bare(frame) -> bool:
    """Whether a frame has a reading and nothing else, by its length: no key is needed."""
    return len(frame) <= (_READING + _NONCE if frame[0] & _KIND == _EXPLICIT else _READING)


class Carrier(Lora):
    """As Lora, and carries what waits in `waiting`; `bridge` is set after it is made.

    Counters: those of Lora; batches, carried.
    """

    def __init__(self, *parts) -> None:
        Lora.__init__(self, *parts)
        self.waiting = Waiting(self._report.now_ms)
        self.bridge: "Bridge | None" = None
        self._batch = bytearray(256)  # what was heard is read while it is filled
        self.batches = 0
        self.carried = 0

    def group(self, buf, start: int, end: int) -> None:
        """A group frame for this node itself."""
        self._link.group(buf, start, end)

    async def _frame(self, buf, n: int) -> None:
        if buf[0] == _ASK:
            if n > _ASK_HEAD and buf[1] | buf[2] << 8 == self.address:
                await self._asked(buf, n)
        elif buf[0] & _KIND == _GROUP and not buf[6] & 0x80 and self.bridge and 16 <= n <= 240:
            self.bridge.group(buf, 0, n)
        else:
            await Lora._frame(self, buf, n)

    async def _asked(self, buf, n: int) -> None:
        """Take commands to the neighbours, and send batches."""
        link = self._link
        at_us = time.ticks_add(self._radio.stamp_us, 1000 * _TURN_MS)
        before_ms = link.heard_ms
        end = carried.item_end(buf, _ASK_HEAD, n)
        bridge = self.bridge
        if not end or not bridge:
            self.malformed += 1
            return
        tx = self._batch
        head = _BATCH_HEAD
        size = link.poll(buf, _ASK_HEAD + 1, end, tx, head + 1, _ANSWER_BYTES)
        if not size or link.heard_ms == before_ms:
            return
        sf, frames, room = buf[3], buf[4], buf[5]
        while end < n:
            start = end + 1
            end = carried.item_end(buf, end, n)
            if not end:
                self.malformed += 1
                break
            if end - start >= 16:
                bridge.ask(buf[start + 1] | buf[start + 2] << 8, buf, start, end)
        tx[head] = size
        await self._send_batches(head + 1 + size, at_us, sf, frames, room)
        self._back()

    async def _send_batches(self, at: int, at_us, sf: int, frames: int, room: int) -> None:
        """`at`: the end of this node's own item in the first of them."""
        tx = self._batch
        waiting = self.waiting
        while frames:
            frames -= 1
            end = waiting.fill(tx, at, room)
            if end <= _BATCH_HEAD:
                return
            more = frames > 0 and waiting.more()
            tx[0] = _BATCH
            tx[1] = self.address & 0xFF
            tx[2] = self.address >> 8
            tx[3] = 1 if more else 0
            self._radio.buf[:end] = memoryview(tx)[:end]
            if not await self._transmit(end, at_us, -1, sf):
                return
            self.carried += waiting.sent()
            self.batches += 1
            self._rhythm.answered(self._report.now_ms())
            if not more:
                return
            at = _BATCH_HEAD
            gap_us = max(1000 * _TURN_MS, self._guard_us)
            at_us = time.ticks_add(time.ticks_us(), gap_us)


def with_bridge(parts, port, neighbours, now_ms, faults) -> list:
    """The two bearers of a bridge: `parts` are Lora's; `port`: UART, driver pin, baud."""
    from pbal_node.bearers.bridge import Bridge

    radio = Carrier(*parts)
    radio.bridge = bridge = Bridge(radio, port, neighbours, now_ms, faults)
    bridge.network = radio.waiting
    return [radio, bridge]
