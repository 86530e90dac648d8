"""A bridge: carries the sealed frames of wired neighbours over this node's own network or radio.

It is the poller of its RS-485 line and the neighbours' path to the controller; it has none of
their keys, and can read, make and change none of their frames. It polls a neighbour when the
controller polls it, commands before plain polls, and by itself when the controller does not: so
the controller learns where they are. A frame that waits here too long is dropped; a command
has its own expiry time, which the neighbour checks (S4).

When the bridge fails its neighbours hear nothing and hold their phases (S7).
"""

import asyncio
import time

from micropython import const

from pbal_node.bearers.driver import transmit
from pbal_node.bearers.watched import Watch
from pbal_protocol import modbus

TYPE_CHECKING = const(0)  # a type checker takes it for 1
if TYPE_CHECKING:
    from typing import Protocol

    class Network(Protocol):
        """The bearer that sends neighbours' frames. Its datagram's frame begins at byte 5 of `tx`.
        `wants`: whether this one is to be polled when nobody asks, `quiet_ms` after the last time.
        """

        tx: bytearray
        quiet_ms: int

        @property
        def open(self) -> bool: ...
        def wants(self, address: int) -> bool: ...
        def send(self, address: int, hints: int, size: int) -> int: ...


_PBAL = const(100)
_FRAME_AT = const(4)
_CRC = const(2)
_BITS = const(11)
_TO_US = const(5)  # where a datagram's frame begins
MOST = 30  # neighbours
_STALE_MS = const(5000)
_ANSWER_MS = const(80)
_AFTER_GROUP_MS = const(12)
_WAIT_MS = const(200)
_AGAIN_MS = const(1000)


class _Neighbour:
    def __init__(self, address: int) -> None:
        self.address = address
        self.frame = b""
        self.asked = False
        self.since_ms = 0
        self.polled_ms = 0


class Bridge:
    """`own` carries this node's frames (udp.Single); `port`: UART, driver pin, baud. `network` is
    the bearer that sends neighbours' frames.

    Counters: carried (answers of neighbours), silent, expired; bad_crc, malformed.
    """

    answered = 0  # of this node itself: the network's

    def __init__(self, own, port, neighbours, now_ms, faults) -> None:
        if not 0 < len(neighbours) <= MOST or own.address in neighbours:
            raise ValueError("neighbours")
        self.address = own.address
        self.network: "Network | None" = None
        self._own = own
        self._uart, self._de, baud = port
        self._char_us = 1000000 * _BITS // baud
        self._now_ms = now_ms
        self._watch = Watch(now_ms, faults)
        self._all = {address: _Neighbour(address) for address in neighbours}
        self._group = b""
        self._wake = asyncio.Event()
        self._tx = bytearray(256)
        self._rx = bytearray(256)
        self.carried = 0
        self.silent = 0
        self.expired = 0
        self.bad_crc = 0
        self.malformed = 0
        self._de.value(0)

    # for the network ---------------------------------------------------------------------------

    def heard_ms(self) -> int:
        """When an authentic frame came last for this node itself."""
        return self._own.heard_ms()

    def hints(self) -> int:
        """The hints of this node's own answer."""
        return self._own.hints()

    def poll(self, address: int, buf, start: int, end: int, out, at: int, room: int) -> int:
        """This node's own answer; a neighbour's comes later, when it was asked."""
        if address == self.address:
            return self._own.poll(address, buf, start, end, out, at, room)
        self.ask(address, buf, start, end)
        return 0

    def ask(self, address: int, buf, start: int, end: int) -> None:
        """Poll a neighbour soon, with the frame in buf[start:end], if any; nobody else."""
        it = self._all.get(address)
        if it:
            if end > start:
                it.frame = bytes(memoryview(buf)[start:end])
            it.asked = True
            it.since_ms = self._now_ms()
            self._wake.set()

    def group(self, buf, start: int, end: int) -> None:
        """A group frame is the neighbours', too."""
        self._own.group(buf, start, end)
        self._group = bytes(memoryview(buf)[start:end])
        self._wake.set()

    # the line ----------------------------------------------------------------------------------

    def alive(self, now_ms: int) -> bool:
        """S11: whether the loop makes progress."""
        return self._watch.alive(now_ms)

    async def run(self) -> None:
        """Never ends."""
        while True:
            await self._watch.once(self._carry())
            self._de.value(0)
            await asyncio.sleep_ms(_AGAIN_MS)

    async def _carry(self) -> None:
        while True:
            self._watch.turns += 1
            now = self._now_ms()
            if self._group:
                frame, self._group = self._group, b""
                self._send(modbus.BROADCAST, modbus.OP_GROUP, frame)
                await asyncio.sleep_ms(_AFTER_GROUP_MS)
                continue
            it = self._next(now)
            if it is None:
                self._wake.clear()
                try:
                    await asyncio.wait_for_ms(self._wake.wait(), _WAIT_MS)
                except asyncio.TimeoutError:
                    pass
                continue
            frame, it.frame, it.asked = it.frame, b"", False
            it.polled_ms = now
            await self._exchange(it.address, frame)

    def _next(self, now: int):
        """Commands first, then plain polls, each the oldest; then neighbours not polled lately."""
        best = None
        rank = 3
        polled_ms = 0
        network = self.network
        for it in self._all.values():
            if it.asked and now - it.since_ms > _STALE_MS:
                it.asked = False
                if it.frame:
                    it.frame = b""
                    self.expired += 1
            if it.asked:
                own = 0 if it.frame else 1
            elif (
                network
                and network.open
                and now - it.polled_ms >= network.quiet_ms
                and network.wants(it.address)
            ):
                own = 2
            else:
                continue
            if own < rank or (own == rank and it.polled_ms < polled_ms):
                best, rank, polled_ms = it, own, it.polled_ms
        return best

    async def _exchange(self, address: int, frame: bytes) -> None:
        uart, rx = self._uart, self._rx
        while uart.any():
            uart.readinto(rx)  # stale bytes
        self._send(address & 0xFF, modbus.OP_POLL, frame)
        view = memoryview(rx)
        until = self._now_ms() + _ANSWER_MS
        at = total = 0
        while self._now_ms() < until:
            n = uart.any()
            if n:
                at += uart.readinto(view[at:]) or 0
                if at >= _FRAME_AT:
                    total = _FRAME_AT + rx[3] + _CRC
                    if rx[0] != address & 0xFF or rx[1] != _PBAL or total > len(rx):
                        self.malformed += 1
                        return
                    if at >= total:
                        break
            await asyncio.sleep_ms(1)
        if not total or at < total:
            self.silent += 1
            return
        if modbus.crc16(rx, total - _CRC) != rx[total - 2] | rx[total - 1] << 8:
            self.bad_crc += 1
            return
        size = rx[3]
        network = self.network
        if size and network:
            network.tx[_TO_US : _TO_US + size] = view[_FRAME_AT : _FRAME_AT + size]
            self.carried += network.send(address, rx[2], size)

    def _send(self, unit: int, op: int, frame: bytes) -> None:
        tx = self._tx
        tx[0] = unit
        tx[1] = _PBAL
        tx[2] = op
        tx[3] = len(frame)
        tx[_FRAME_AT : _FRAME_AT + len(frame)] = frame
        n = modbus.seal_adu(tx, _FRAME_AT + len(frame))
        time.sleep_us(1750)  # Modbus: 3.5 characters of silence
        transmit(self._uart, self._de, memoryview(tx)[:n], self._char_us)
