"""The RS-485 segment: one process that carries bytes between the controller's serial port and
the chips at the speed of the line.

The controller's side is a pseudo terminal (a real serial device for its driver), a chip's
side a socket that carries time-stamped driver-enable and transmit records out and plain bytes
in. A receiver gets a frame when its last byte has crossed the line, in one piece, as a UART
with a FIFO and a receive timeout hands it over. The node a request addresses is served first
and the bystanders in small groups behind it while the line is busy anyway: sixty interpreters
that wake at once on two cores would delay the answer by milliseconds. On a large street
(`pair_frames`) a bystander gets the frames of two polls in one piece, while an answer is on the
line, as a program does that reads its UART a little late: a quarter of the wake-ups, at a moment
when nobody waits for a processor, and no byte less.
"""

from __future__ import annotations

import contextlib
import ctypes
import heapq
import json
import mmap
import os
import random
import select
import socket
import struct
import time
import tty
from collections import deque
from collections.abc import Callable
from typing import Any, NoReturn

from pbal_sim.hal import hwmap
from pbal_sim.keeper import HAL_FIRST_FD, precise_timers
from pbal_sim.line import CONTROLLER, INTRUDER, Line, Transmission, char_us, silence_us
from pbal_sim.rules import Rules
from pbal_sim.timerfd import TimerFd

_GROUP = 6
_GROUP_US = 350
_LATE_HOLD_US = 1750  # a driver held longer than t3.5 can meet the next request
_SAMPLES = 20000
_POLLS_AT_ONCE = 2
_PAIR_US = 50000


class Port:
    """A chip's end: its socket and its page."""

    __slots__ = ("base", "buffer", "connected", "garbled", "hold_us", "pending", "sock", "tx")

    def __init__(self, sock: socket.socket, base: int) -> None:
        self.sock = sock
        self.base = base
        self.buffer = bytearray()
        self.pending: deque[bytes] = deque()
        self.connected = True
        self.garbled = False
        self.tx: Transmission | None = None
        self.hold_us = 0.0


class Bus:
    """One segment. All methods run in the bus process."""

    def __init__(
        self,
        control: socket.socket,
        pages: mmap.mmap,
        ports: list[Port],
        units: list[int],
        baud: int,
        seed: int,
        pair_frames: bool,
    ) -> None:
        self._control = control
        self._pair = pair_frames
        self._pages = pages
        self._ports = ports
        self._by_unit = {unit: i for i, unit in enumerate(units)}
        self._baud = baud
        self._char = char_us(baud)
        self._rng = random.Random(seed)
        self._line = Line(len(ports), self._rng)
        self._rules = Rules(self._rng)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._request: Transmission | None = None
        self._taps = 0
        self._rounds = 0
        self._chunk = 0
        self._babble: dict[int, tuple[float, float]] = {}
        self._last_end = 0.0
        self._last_source = 0
        self._counts = dict.fromkeys(
            (
                "requests",
                "responses",
                "bytes_down",
                "bytes_up",
                "overrun_bytes",
                "de_early",
                "de_late",
                "early_starts",
                "rule_hits",
                "unread_bytes",
            ),
            0,
        )
        self._turn_node: deque[int] = deque(maxlen=_SAMPLES)
        self._turn_controller: deque[int] = deque(maxlen=_SAMPLES)
        self._hold: deque[int] = deque(maxlen=_SAMPLES)
        self._late_us: deque[int] = deque(maxlen=_SAMPLES)
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self._slave = slave  # kept open: without a reader the controller's end would hang up
        os.set_blocking(self._master, False)
        self.device = os.ttyname(slave)

    # -- the loop -----------------------------------------------------------------------

    def run(self) -> None:
        timer = TimerFd()
        poll = select.epoll()
        poll.register(timer.fd, select.EPOLLIN)
        poll.register(self._master, select.EPOLLIN)
        poll.register(self._control, select.EPOLLIN)
        by_fd: dict[int, int] = {}
        for i, port in enumerate(self._ports):
            port.sock.setblocking(False)
            by_fd[port.sock.fileno()] = i
            poll.register(port.sock, select.EPOLLIN)
        master, control = self._master, self._control.fileno()
        while True:
            if self._queue:
                timer.at_us(self._queue[0][0])
            for fd, _ in poll.poll():
                node = by_fd.get(fd)
                if node is not None:
                    self._from_node(node)
                elif fd == master:
                    self._from_controller()
                elif fd == control:
                    if not self._command():
                        return
                else:
                    timer.clear()
            while self._queue and self._queue[0][0] <= time.monotonic_ns() / 1000:
                due, _, action = heapq.heappop(self._queue)
                self._late_us.append(int(time.monotonic_ns() / 1000 - due))
                action()

    def _at(self, t_us: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._queue, (t_us, self._order, action))

    # -- transmitters -------------------------------------------------------------------

    def _from_controller(self) -> None:
        now = time.monotonic_ns() / 1000
        try:
            data = os.read(self._master, 4096)
        except OSError:
            return
        tx = self._request
        if tx is not None and not tx.delivered and now <= tx.end_us + self._char:
            tx.data += data
            return
        self._send(CONTROLLER, now, data)
        # The bystanders' copies of the frame before this one must be out of the way.
        addressed = self._by_unit.get(data[0])
        if addressed is not None:
            self._flush(addressed)

    def _send(self, source: int, t_us: float, data: bytes, garbled: bool = False) -> Transmission:
        tx = Transmission(source, t_us, bytearray(data), self._char, garbled)
        self._line.begin(tx)
        gap = t_us - self._last_end
        if source == CONTROLLER:
            self._request = tx
            self._counts["requests"] += 1
            if self._last_source >= 0 and 0 < gap < 1e6:
                self._turn_controller.append(int(gap))
        elif source >= 0:
            self._ports[source].tx = tx
            self._counts["responses"] += 1
            if self._pair:
                self._rounds += 1
                if self._rounds % _POLLS_AT_ONCE == 0:
                    n = len(self._ports)
                    order = [(source + k) % n for k in range(1, n)]
                    self._flush_groups(order, time.monotonic_ns() / 1000 + 200)
            if self._last_source == CONTROLLER and 0 < gap < 1e6:
                self._turn_node.append(int(gap))
        # Two characters of grace: the clock of a UART is only so good.
        if self._last_source != source and gap < silence_us(self._baud) - 2 * self._char:
            self._counts["early_starts"] += 1
        self._at(tx.end_us + self._char, lambda: self._finish(tx))
        return tx

    def _from_node(self, i: int) -> None:
        port = self._ports[i]
        try:
            data = port.sock.recv(8192)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            return
        buffer = port.buffer
        buffer += data
        size = hwmap.EVENT_SIZE
        while len(buffer) >= size:
            kind, a, b, c, t_us = struct.unpack_from(hwmap.EVENT_FORMAT, buffer, 0)
            if kind == hwmap.EV_TX:
                # The length has 8 bits in the record; the bytes themselves follow it.
                if len(buffer) < size + b:
                    return
                body = bytes(buffer[size : size + b])
                del buffer[: size + b]
                self._node_sends(i, t_us, body)
                continue
            del buffer[:size]
            driver = self._line.drivers[i]
            if kind == hwmap.EV_PIN:
                if not port.connected:
                    continue
                if b:
                    driver.enable(t_us)
                else:
                    self._released(i, t_us)
                    driver.disable(t_us)
            elif kind == hwmap.EV_UART:
                port.garbled = c != self._baud or a != hwmap.LINK_RS485 or b != 2

    def _node_sends(self, i: int, t_us: float, body: bytes) -> None:
        port = self._ports[i]
        if not port.connected:
            return
        tx = port.tx
        if tx is not None and not tx.delivered and abs(t_us - tx.end_us) < 2 * self._char:
            tx.data += body
        else:
            self._send(i, t_us, body, port.garbled)

    def _released(self, i: int, t_us: float) -> None:
        tx = self._ports[i].tx
        if tx is None:
            return
        held = t_us - tx.end_us
        self._hold.append(int(held))
        if held < -self._char / 11:
            self._counts["de_early"] += 1
        elif held > _LATE_HOLD_US:
            self._counts["de_late"] += 1

    # -- receivers ----------------------------------------------------------------------

    def _finish(self, tx: Transmission) -> None:
        due = tx.end_us + self._char
        if due > time.monotonic_ns() / 1000 + 5:  # it grew meanwhile
            self._at(due, lambda: self._finish(tx))
            return
        tx.delivered = True
        self._last_end = tx.end_us
        self._last_source = tx.source
        heard = bytes(self._line.heard(tx))
        way = "up" if tx.source >= 0 else "down"
        self._counts["bytes_up" if tx.source >= 0 else "bytes_down"] += len(tx.data)
        for data, delay in self._rules.apply(way, heard):
            if delay:
                self._at(due + delay, lambda d=data: self._deliver(tx, d))  # type: ignore[misc]
            else:
                self._deliver(tx, data)

    def _deliver(self, tx: Transmission, data: bytes) -> None:
        if self._taps:
            self._tell(
                {
                    "frame": data.hex(),
                    "source": tx.source,
                    "start_us": int(tx.start_us),
                    "end_us": int(tx.end_us),
                }
            )
        if not data:
            return
        if tx.source != CONTROLLER:
            self._to_controller(data)
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
            # They get it while the next answer is on its way (see _send), when neither the
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
        if self._chunk and tx is not None:
            for k, at in enumerate(range(0, len(data), self._chunk)):
                part = data[at : at + self._chunk]
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
            return  # the firmware has not opened this UART: nobody stores what arrives
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

    def _to_controller(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._master, data)

    # -- faults and figures -------------------------------------------------------------

    def _tell(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self._control.send(json.dumps(message).encode())

    def _command(self) -> bool:
        try:
            data = self._control.recv(65536)
        except OSError:
            return False
        if not data:
            return False
        message = json.loads(data)
        do = message["do"]
        if do == "ber":
            self._line.ber = message["value"]
        elif do == "chunk":
            self._chunk = message["value"]
        elif do == "tap":
            self._taps = message["value"]
        elif do == "wire":
            self._ports[message["node"]].connected = message["value"]
        elif do == "reset":
            self._reset(message["node"])
        elif do == "rule":
            self._rules.add(message["rule"])
        elif do == "rules_clear":
            self._rules.clear()
        elif do == "babble":
            self._set_babble(message["node"], message["on_ms"], message["off_ms"])
        elif do == "hold":
            driver = self._line.drivers[message["node"]]
            now = time.monotonic_ns() / 1000
            (driver.enable if message["value"] else driver.disable)(now)
        elif do == "inject":
            self._inject(bytes.fromhex(message["data"]))
        elif do == "stats_clear":
            for samples in (self._turn_node, self._turn_controller, self._hold, self._late_us):
                samples.clear()
            self._counts = dict.fromkeys(self._counts, 0)
        if "ticket" in message:
            self._tell({"ticket": message["ticket"], "stats": self._stats()})
        return True

    def _reset(self, i: int) -> None:
        """A chip that stops releases the line at once; what it had not sent yet is never sent."""
        now = time.monotonic_ns() / 1000
        port = self._ports[i]
        self._from_node(i)
        port.buffer.clear()
        port.pending.clear()
        self._line.drivers[i].disable(now)
        # A chip in reset has no UART: its configuration comes back with its firmware.
        struct.pack_into("<I", self._pages, port.base + hwmap.RX_SIZE, 0)

    def _set_babble(self, i: int, on_ms: float, off_ms: float) -> None:
        if on_ms <= 0:
            self._babble.pop(i, None)
            return
        start = i not in self._babble
        self._babble[i] = (on_ms, off_ms)
        if start:
            self._burst(i)

    def _burst(self, i: int) -> None:
        if i not in self._babble:
            return
        on_ms, off_ms = self._babble[i]
        now = time.monotonic_ns() / 1000
        count = max(1, int(on_ms * 1000 / self._char))
        driver = self._line.drivers[i]
        driver.enable(now)
        tx = Transmission(i, now, bytearray(self._rng.randbytes(count)), self._char)
        self._line.begin(tx)
        end = tx.end_us

        def over() -> None:
            driver.disable(end + 1)
            self._finish(tx)

        self._at(end + self._char, over)
        self._at(end + off_ms * 1000, lambda: self._burst(i))

    def _inject(self, data: bytes, tries: int = 400) -> None:
        """Puts an intruder's frame on the line in the next gap that is long enough."""
        now = time.monotonic_ns() / 1000
        busy = any(not t.delivered for t in self._line.recent)
        if tries and (busy or now - self._last_end < 800 or self._last_source == CONTROLLER):
            self._at(now + 300, lambda: self._inject(data, tries - 1))
            return
        self._send(INTRUDER, now, data)

    def _stats(self) -> dict[str, Any]:
        return {
            **self._counts,
            **vars(self._line.counts),
            "rule_hits": self._rules.hits,
            "turn_node_us": _summary(self._turn_node),
            "turn_controller_us": _summary(self._turn_controller),
            "driver_hold_us": _summary(self._hold),
            "timer_late_us": _summary(self._late_us),
        }


def _summary(samples: deque[int]) -> dict[str, int]:
    if not samples:
        return {"n": 0}
    s = sorted(samples)
    n = len(s)
    return {"n": n, "min": s[0], "p50": s[n // 2], "p95": s[int(n * 0.95)], "max": s[-1]}


def main(
    nodes: int, units: list[int], baud: int, seed: int, page_size: int, pair_frames: bool
) -> NoReturn:
    """Entry of the bus process; fds are control, pages, then one socket per node."""
    precise_timers()
    with contextlib.suppress(OSError, PermissionError):
        os.nice(-5)
    first = HAL_FIRST_FD
    control = socket.socket(fileno=first)
    pages = mmap.mmap(first + 1, nodes * page_size)
    ports = [Port(socket.socket(fileno=first + 2 + i), i * page_size) for i in range(nodes)]
    bus = Bus(control, pages, ports, units, baud, seed, pair_frames)
    control.send(json.dumps({"device": bus.device}).encode())
    with contextlib.suppress(KeyboardInterrupt):
        bus.run()
    ctypes.CDLL(None)._exit(0)
    raise AssertionError
