"""What the chips' receivers get of a frame, and when.

A receiver gets a frame when its last byte has crossed the line, in one piece, as a UART with a
FIFO and a receive timeout hands it over. The node a request addresses is served first and the
bystanders in small groups after it while the line is busy anyway: sixty interpreters that wake
at once on two cores would delay the answer by milliseconds. On a large street (`pair_frames`) a
bystander gets the frames of two polls in one piece, while an answer is on the line, as a program
gets them that reads its UART a little late: a quarter of the wake-ups, while no process waits for
a processor, and no byte is lost.
"""

from __future__ import annotations

import mmap
import random
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence

from pbal_sim.hal import hwmap
from pbal_sim.line import Line, Transmission

_GROUP = 6
_GROUP_US = 350
_POLLS_AT_ONCE = 2
_PAIR_US = 50000


class Port:
    """A chip's end: its socket and its page."""

    __slots__ = ("base", "buffer", "connected", "garbled", "pending", "sock", "tx")

    def __init__(self, sock: socket.socket, base: int) -> None:
        self.sock = sock
        self.base = base
        self.buffer = bytearray()
        self.pending: deque[bytes] = deque()
        self.connected = True
        self.garbled = False
        self.tx: Transmission | None = None


class Receivers:
    """All receivers of a segment. `chunk` bytes at once are given to the addressed node; 0 = all.

    `at(t_us, action)` schedules; overruns and bytes that were not taken are added to `counts`.
    """

    def __init__(
        self,
        pages: mmap.mmap,
        ports: Sequence[Port],
        units: Sequence[int],
        line: Line,
        rng: random.Random,
        counts: dict[str, int],
        at: Callable[[float, Callable[[], None]], None],
        pair_frames: bool,
    ) -> None:
        self.chunk = 0
        self._pages = pages
        self._ports = ports
        self._by_unit = {unit: i for i, unit in enumerate(units)}
        self._line = line
        self._rng = rng
        self._counts = counts
        self._at = at
        self._pair = pair_frames
        self._rounds = 0

    def request_begins(self, unit: int) -> None:
        """The addressed node gets what was kept for it before its request arrives."""
        addressed = self._by_unit.get(unit)
        if addressed is not None:
            self._flush(addressed)

    def answer_begins(self, source: int) -> None:
        """While an answer is on the line, bystanders get what was kept for them."""
        if not self._pair:
            return
        self._rounds += 1
        if self._rounds % _POLLS_AT_ONCE == 0:
            n = len(self._ports)
            order = [(source + k) % n for k in range(1, n)]
            self._flush_groups(order, time.monotonic_ns() / 1000 + 200)

    def deliver(self, tx: Transmission, data: bytes) -> None:
        """A frame is over: `data` is what the receivers got of it."""
        first = self._by_unit.get(data[0]) if tx.source < 0 else None
        if first is not None:
            self._flush(first)
            self._give(first, data, tx)
        # A group (broadcast) frame is for all: no one is a bystander, no one is served late.
        everyone = tx.source < 0 and data[0] == 0
        others = [i for i in range(len(self._ports)) if i != first and i != tx.source]
        now = time.monotonic_ns() / 1000
        for i in others:
            if everyone:
                self._flush(i)
                self._give(i, data, tx)
            else:
                self._ports[i].pending.append(data)
        if everyone:
            return
        if self._pair:
            # They get it while the next answer is on its way (answer_begins), when neither the
            # controller nor a node waits for a processor; should none come, they get it late.
            since = self._rounds
            self._at(now + _PAIR_US, lambda: self._flush_late(since, others))
            return
        start = tx.source + 1 if tx.source >= 0 else 0
        self._flush_groups(others[start:] + others[:start], now + (300 if tx.source < 0 else 0))

    def _flush_groups(self, order: list[int], start_us: float) -> None:
        for k in range(0, len(order), _GROUP):
            group = order[k : k + _GROUP]
            self._at(start_us + k // _GROUP * _GROUP_US, lambda g=group: self._flush(*g))  # type: ignore[misc]

    def _flush_late(self, since: int, nodes: list[int]) -> None:
        if self._rounds < since + _POLLS_AT_ONCE:
            self._flush(*nodes)

    def _flush(self, *nodes: int) -> None:
        for i in nodes:
            pending = self._ports[i].pending
            if len(pending) > 1 and self._pair:
                data = b"".join(pending)
                pending.clear()
                self._give(i, data, None)
            while pending:
                self._give(i, pending.popleft(), None)

    def _give(self, i: int, data: bytes, tx: Transmission | None) -> None:
        port = self._ports[i]
        if not port.connected or self._line.drivers[i].on_us is not None:
            return  # cut off, or its receiver is off while its driver is on
        if port.garbled:
            data = self._rng.randbytes(len(data))
        if self.chunk and tx is not None:
            for k, at in enumerate(range(0, len(data), self.chunk)):
                part = data[at : at + self.chunk]
                self._at(tx.end_us + k * 400, lambda p=part: self._put(port, p))  # type: ignore[misc]
            return
        self._put(port, data)

    def _put(self, port: Port, data: bytes) -> None:
        base = port.base
        pages = self._pages
        read, size = (
            struct.unpack_from("<I", pages, base + hwmap.RX_READ)[0],
            struct.unpack_from("<I", pages, base + hwmap.RX_SIZE)[0],
        )
        given = struct.unpack_from("<I", pages, base + hwmap.RX_GIVEN)[0]
        if size == 0:
            return  # the firmware has not opened this UART: what arrives is lost
        room = size - ((given - read) & 0xFFFFFFFF)
        if room < len(data):
            self._counts["overrun_bytes"] += len(data) - max(room, 0)
            data = data[: max(room, 0)]
        if data:
            try:
                port.sock.send(data)
            except OSError:
                self._counts["unread_bytes"] += len(data)
                return
            struct.pack_into("<I", pages, base + hwmap.RX_GIVEN, (given + len(data)) & 0xFFFFFFFF)
