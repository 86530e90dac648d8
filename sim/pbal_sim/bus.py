"""The RS-485 segment: one process that carries bytes between the controller's serial port and
the chips at the speed of the line.

The controller's side is a pseudo terminal (a real serial device for its driver), a chip's
side a socket that carries time-stamped driver-enable and transmit records out and plain bytes
in. Here are the loop of the process and the transmitters; `line` decides what the receivers get
of a frame, `receivers` delivers it.
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
from collections.abc import Callable
from typing import Any, NoReturn

from pbal_sim.buscounts import BusCounts
from pbal_sim.childprocess import HAL_FIRST_FD, precise_timers
from pbal_sim.disturbances import Disturbances
from pbal_sim.hal import hwmap
from pbal_sim.line import CONTROLLER, Line, Transmission, char_us, silence_us
from pbal_sim.receivers import Port, Receivers
from pbal_sim.rules import Rules
from pbal_sim.timerfd import TimerFd

_LATE_HOLD_US = 1750  # a driver held longer than t3.5 can meet the next request
_GAP_US = 800  # an intruder leaves at least so much after an answer


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
        self._pages = pages
        self._ports = ports
        self._baud = baud
        self._char = char_us(baud)
        self._rng = random.Random(seed)
        self._line = Line(len(ports), self._rng)
        self._rules = Rules(self._rng)
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = 0
        self._request: Transmission | None = None
        self._taps = 0
        self._last_end = 0.0
        self._last_source = 0
        self._figures = BusCounts()
        # Held here because they are used for every frame.
        self._counts = self._figures.counts
        self._turn_node = self._figures.turn_node
        self._turn_controller = self._figures.turn_controller
        self._hold = self._figures.driver_hold
        self._late_us = self._figures.timer_late
        self._receivers = Receivers(
            pages, ports, units, self._line, self._rng, self._counts, self._at, pair_frames
        )
        self._disturbances = Disturbances(
            self._line,
            self._char,
            self._rng,
            at=self._at,
            send=self._send,
            finish=self._finish,
            between_turns=self._between_turns,
        )
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
        self._receivers.request_begins(data[0])

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
            self._receivers.answer_begins(source)
            if self._last_source == CONTROLLER and 0 < gap < 1e6:
                self._turn_node.append(int(gap))
        # Two characters of tolerance for the clock of a UART.
        if self._last_source != source and gap < silence_us(self._baud) - 2 * self._char:
            self._counts["early_starts"] += 1
        self._at(tx.end_us + self._char, lambda: self._finish(tx))
        return tx

    def _between_turns(self, t_us: float) -> bool:
        return t_us - self._last_end >= _GAP_US and self._last_source != CONTROLLER

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

    # -- what arrives -------------------------------------------------------------------

    def _finish(self, tx: Transmission) -> None:
        due = tx.end_us + self._char
        if due > time.monotonic_ns() / 1000 + 5:  # it got longer meanwhile
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
        self._receivers.deliver(tx, data)

    def _to_controller(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            os.write(self._master, data)

    # -- the street's commands ----------------------------------------------------------

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
            self._receivers.chunk = message["value"]
        elif do == "tap":
            self._taps = message["value"]
        elif do == "wire":
            self._wire(message["node"], message["value"])
        elif do == "reset":
            self._reset(message["node"])
        elif do == "rule":
            self._rules.add(message["rule"])
        elif do == "rules_clear":
            self._rules.clear()
        elif do == "babble":
            self._disturbances.babble(message["node"], message["on_ms"], message["off_ms"])
        elif do == "hold":
            self._disturbances.hold_driver(message["node"], message["value"])
        elif do == "inject":
            self._disturbances.inject(bytes.fromhex(message["data"]))
        elif do == "stats_clear":
            self._figures.clear()
        if "ticket" in message:
            self._tell({"ticket": message["ticket"], "stats": self._stats()})
        return True

    def _stats(self) -> dict[str, Any]:
        return {
            **self._figures.summary(),
            **vars(self._line.counts),
            "rule_hits": self._rules.hits,
        }

    def _wire(self, i: int, connected: bool) -> None:
        """What is cut off drives the pair no more, also in the middle of an answer."""
        self._from_node(i)
        self._ports[i].connected = connected
        if not connected:
            self._line.drivers[i].disable(time.monotonic_ns() / 1000)

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


def main(
    nodes: list[int], units: list[int], baud: int, seed: int, page_size: int, pair_frames: bool
) -> NoReturn:
    """Entry of the bus process; fds are control, pages, then one socket per node. `nodes`: the
    numbers of their pages.
    """
    precise_timers()
    with contextlib.suppress(OSError, PermissionError):
        os.nice(-5)
    first = HAL_FIRST_FD
    control = socket.socket(fileno=first)
    pages = mmap.mmap(first + 1, 0)
    ports = [
        Port(socket.socket(fileno=first + 2 + i), page * page_size) for i, page in enumerate(nodes)
    ]
    bus = Bus(control, pages, ports, units, baud, seed, pair_frames)
    control.send(json.dumps({"device": bus.device}).encode())
    with contextlib.suppress(KeyboardInterrupt):
        bus.run()
    ctypes.CDLL(None)._exit(0)
    raise AssertionError
