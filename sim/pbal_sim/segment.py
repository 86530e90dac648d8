"""The client of the bus process: its device name, its faults and its figures."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections import deque
from collections.abc import Sequence
from typing import Any

from pbal_sim.errors import TwinError
from pbal_sim.hal import hwmap
from pbal_sim.processclient import ProcessClient


class Segment:
    """One RS-485 segment. `device` is the serial port for the controller.

    Nodes are numbered 0.. in the order in which their wires were given.
    """

    def __init__(
        self,
        units: Sequence[int],
        baud: int,
        seed: int,
        pair_frames: bool = False,
        pages: Sequence[int] | None = None,
    ) -> None:
        """`pages`: the number of each node's page; by default they follow one another."""
        self.units = list(units)
        self.baud = baud
        self.device = ""
        self.pid = 0
        self.frames: deque[dict[str, Any]] = deque(maxlen=20000)
        self._pages = list(range(len(self.units)) if pages is None else pages)
        self._seed = seed
        self._pair_frames = pair_frames
        self._control: socket.socket | None = None
        self._tickets: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._next = 0
        self._ready: asyncio.Future[str] | None = None

    async def start(
        self, processes: ProcessClient, wires: Sequence[socket.socket], pages_fd: int
    ) -> None:
        """Starts the bus process, which owns the wires from now on."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self._control = ours
        loop = asyncio.get_running_loop()
        self._ready = loop.create_future()
        loop.add_reader(ours.fileno(), self._read)
        log = os.open(processes.workdir / "bus.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self.pid = await processes.spawn(
                {
                    "do": "call",
                    "name": "pbal-bus",
                    "target": "pbal_sim.bus:main",
                    "args": {
                        "nodes": self._pages,
                        "units": self.units,
                        "baud": self.baud,
                        "seed": self._seed,
                        "page_size": hwmap.PAGE_SIZE,
                        "pair_frames": self._pair_frames,
                    },
                },
                [log, theirs.fileno(), pages_fd, *(w.fileno() for w in wires)],
            )
        finally:
            os.close(log)
            theirs.close()
        self.device = await asyncio.wait_for(self._ready, 20)

    def close(self) -> None:
        """Closes the connection to the bus process; the process server ends it."""
        if self._control is not None:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
            self._control = None

    def _read(self) -> None:
        if self._control is None:
            return
        while True:
            try:
                data = self._control.recv(65536)
            except (BlockingIOError, InterruptedError):
                return
            except OSError:
                data = b""
            if not data:
                asyncio.get_running_loop().remove_reader(self._control.fileno())
                for lost in self._tickets.values():
                    if not lost.done():
                        lost.set_exception(TwinError("the bus process has ended"))
                self._tickets.clear()
                return
            message = json.loads(data)
            if "frame" in message:
                self.frames.append(message)
            elif "ticket" in message:
                future = self._tickets.pop(int(message["ticket"]), None)
                if future is not None and not future.done():
                    future.set_result(message["stats"])
            elif "device" in message and self._ready is not None and not self._ready.done():
                self._ready.set_result(message["device"])

    def _send(self, message: dict[str, Any]) -> None:
        if self._control is None:
            return
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            self._control.send(json.dumps(message).encode())

    async def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        self._next += 1
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._tickets[self._next] = future
        self._send({**message, "ticket": self._next})
        return await asyncio.wait_for(future, 10)

    async def stats(self) -> dict[str, Any]:
        """Counts and timings since the start or the last `clear_stats`."""
        return await self._ask({"do": "stats"})

    async def clear_stats(self) -> None:
        """Starts all counts and timings anew."""
        await self._ask({"do": "stats_clear"})

    async def noise(self, ber: float) -> None:
        """Bit error rate of the pair, 0..1."""
        await self._ask({"do": "ber", "value": ber})

    async def chunks(self, size: int) -> None:
        """Hands frames to the addressed node in pieces of `size` bytes; 0 = whole."""
        await self._ask({"do": "chunk", "value": size})

    async def rule(self, **rule: Any) -> None:
        """Adds a rule for frames in flight; see pbal_sim.rules."""
        await self._ask({"do": "rule", "rule": rule})

    async def clear_rules(self) -> None:
        """Removes all rules."""
        await self._ask({"do": "rules_clear"})

    async def inject(self, frame: bytes) -> None:
        """Lets an intruder send `frame` in the next gap between an answer and a request."""
        await self._ask({"do": "inject", "data": frame.hex()})

    async def tap(self, on: bool = True) -> None:
        """Records every delivered frame in `frames`."""
        await self._ask({"do": "tap", "value": int(on)})

    async def wire(self, node: int, connected: bool) -> None:
        """Cuts or reconnects one node's wires."""
        await self._ask({"do": "wire", "node": node, "value": connected})

    async def babble(self, node: int, on_ms: float = 20.0, off_ms: float = 80.0) -> None:
        """Lets a node send noise in bursts; `on_ms` 0 stops it."""
        await self._ask({"do": "babble", "node": node, "on_ms": on_ms, "off_ms": off_ms})

    async def hold_driver(self, node: int, on: bool) -> None:
        """A transceiver whose driver is stuck on."""
        await self._ask({"do": "hold", "node": node, "value": on})

    def chip_reset(self, node: int) -> None:
        """A node's chip stopped: its driver is off."""
        self._send({"do": "reset", "node": node})
