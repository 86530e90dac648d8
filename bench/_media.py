"""What carries frames to model nodes in virtual time: a line's client, a network's socket, a
radio's thread, each in the place of the controller's own below its real bearers.

- Line: 11 bits a character; a node begins its answer after `TURN_S` (docs/node.md).
- Network: a datagram takes 2 to 20 ms, and `LOST` of them do not arrive. An assumption.
- Radio: the emulated air, its path loss, collisions and capture; besides, a share of frames that
  is lost for other reasons.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from pymodbus.framer import FramerRTU
from pymodbus.pdu import DecodePDU

import pbal_controller.bearers.rs485.line as rs485_line
from bench._model_nodes import URGENT, ModelNode
from bench._virtual_time import VirtualLoop
from pbal_controller.bearers import Answer
from pbal_controller.bearers.lora import RadioThread, Received
from pbal_protocol import datagram
from pbal_protocol import records as r
from pbal_protocol.errors import RemoteError
from pbal_protocol.frames import DOWN, GROUP, peek
from pbal_protocol.radio import carried
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.follower import SILENT, URGENT_BYTES, Contention, Follower
from pbal_protocol.radio.records import Beacon, SlotAssign
from pbal_sim.line import char_us
from pbal_sim.radio import Air, Ear
from pbal_sim.radio.air import Heard

TURN_S = 0.004
_HEAD, _TAIL = 4, 2  # characters of function 100 around a frame
LOST = 0.01
_NETWORK_S = (0.002, 0.020)
_MEASURE_S = 0.05
_DRIFT_PPM, _JITTER_US = 40, 1000
_RADIO_TURN_US = 15_000
_NEIGHBOURS_EVERY_S = 1.0
_BARE = 59  # a sealed Telemetry alone
_FRAMES = 4  # of one neighbour


def loop() -> VirtualLoop:
    """The running one."""
    running = asyncio.get_running_loop()
    assert isinstance(running, VirtualLoop)
    return running


# -- a line ---------------------------------------------------------------------------------------


class LineTo:
    """In place of rs485.line.LineClient: a line with these nodes, by unit."""

    nodes: dict[int, ModelNode]

    def __init__(self, port: str, *, baudrate: int, **_: Any) -> None:
        self._char_s = char_us(baudrate) / 1e6
        self.stats = rs485_line.LineStats()
        self.framer = FramerRTU(DecodePDU(False))
        self.first_rx = self.last_rx = 0.0
        self.on_lost: Callable[[Exception | None], None] | None = None
        self._due: asyncio.TimerHandle | None = None
        self.line = self
        self.may_send = None

    async def open(self) -> None:
        """There is nothing to open."""

    def close(self) -> None:
        """Nor to close."""

    def write(self, packet: bytes) -> None:
        """A group frame: nodes whose clocks are right need none."""

    def start(self, unit: int, packet: bytes, timeout_s: float, char_s: float) -> Any:
        """Ask a node; the future of its answer."""
        done: asyncio.Future[Answer | None] = loop().create_future()
        node, self.first_rx = self.nodes.get(unit), 0.0
        asked_s = loop().time() + len(packet) * self._char_s
        if node is None:
            self._due = loop().call_at(asked_s + timeout_s, done.set_result, None)
            return done
        target = node

        def answers() -> None:
            if len(packet) > _HEAD + _TAIL:
                target.told(packet[_HEAD:-_TAIL])
            frame, hints = target.frame()
            begin_s = loop().time()

            def arrives() -> None:
                self.first_rx, self.last_rx = begin_s, loop().time()
                self.stats.answers += 1
                if not done.done():
                    done.set_result(Answer(frame, bool(hints)))

            size = _HEAD + len(frame) + _TAIL
            self._due = loop().call_at(begin_s + size * self._char_s, arrives)

        self.stats.requests += 1
        self._due = loop().call_at(asked_s + TURN_S, answers)
        return done

    def abandon(self) -> None:
        """The request is over."""
        if self._due is not None:
            self._due.cancel()


# -- a network ------------------------------------------------------------------------------------


class SocketTo:
    """In place of a UDP socket: a network with these nodes, by address."""

    nodes: dict[int, ModelNode]

    def __init__(self, readable: Callable[[], None]) -> None:
        self._readable = readable
        self._came: deque[tuple[bytes, tuple[str, int]]] = deque()
        self._rng = random.Random(1)
        for number, node in enumerate(self.nodes.values()):
            self._later(lambda n=node: self._says(n), 0.5 + 0.05 * number)

    def _later(self, what: Callable[[], None], more_s: float = 0.0) -> None:
        if self._rng.random() >= LOST:
            loop().call_later(more_s + self._rng.uniform(*_NETWORK_S), what)

    def _says(self, node: ModelNode) -> None:
        frame, hints = node.frame()
        data = datagram.datagram(datagram.FRAMES, node.address, hints, frame)
        place = ("10.0.0.1", node.address)

        def arrives() -> None:
            self._came.append((data, place))
            self._readable()

        self._later(arrives)

    def sendto(self, data: bytes, place: tuple[str, int]) -> None:
        """To a node."""
        if data[0] != datagram.POLL:
            return
        for address, _hints, frame in datagram.items(data) or []:

            def asked(node: ModelNode = self.nodes[address], frame: bytes = frame) -> None:
                if frame:
                    node.told(frame)
                self._says(node)

            self._later(asked)

    def recvfrom(self, _size: int) -> tuple[bytes, tuple[str, int]]:
        """What came."""
        if not self._came:
            raise BlockingIOError
        return self._came.popleft()

    def getsockname(self) -> tuple[str, int]:
        """Any."""
        return ("10.0.0.254", 7225)

    def close(self) -> None:
        """Nothing to close."""

    def fileno(self) -> int:
        """Read by its own calls."""
        return -1


# -- a radio --------------------------------------------------------------------------------------


class RadioHome:
    """A model node with a radio, as firmware/pbal_node/bearers/lora.py and carrier.py are one."""

    def __init__(self, node: ModelNode, ear: Ear, sf: int, bw_hz: int) -> None:
        self.node, self._ear, self._sf, self._bw_hz = node, ear, sf, bw_hz
        self._air = ear.air
        self._rng = random.Random(node.address)
        self._rate = 1 + 1e-6 * self._rng.uniform(-_DRIFT_PPM, _DRIFT_PPM)
        self._follower, self._contention = Follower(bw_hz), Contention()
        self._urgent_s = self._heard_s = 0.0
        self._behind: dict[int, ModelNode] = {}
        self._kept: dict[int, list[tuple[bytes, int]]] = {}
        self._sent_s: dict[int, float] = {}
        self._guard_us = 0
        node.assigned = self._assigned
        ear.on_frame = self._hears
        ear.tune(sf)

    def bridges(self, nodes: list[ModelNode]) -> None:
        """It carries the frames of these: each is polled once a second."""
        self._behind = {each.address: each for each in nodes}
        for number, each in enumerate(nodes):
            self._kept[each.address] = []
            loop().call_later(number * _NEIGHBOURS_EVERY_S / len(nodes), self._polls, each)

    def _polls(self, each: ModelNode) -> None:
        kept = self._kept[each.address]
        if not kept or len(kept[-1][0]) <= _BARE:
            self._keep(each, *each.frame())
        loop().call_later(_NEIGHBOURS_EVERY_S, self._polls, each)

    def _keep(self, each: ModelNode, frame: bytes, hints: int) -> None:
        kept = self._kept[each.address]
        if kept and len(kept[-1][0]) <= _BARE:
            kept.pop()
        elif len(kept) >= _FRAMES:
            kept.pop(0)
        kept.append((frame, hints))

    def _assigned(self, record: SlotAssign) -> None:
        self._follower.assign(record.map_version, record.slot, record.sf)

    def _say(self, make: Callable[[], bytes], at_us: float, sf: int) -> None:
        def speak() -> None:
            self._ear.send(make(), sf)

        self._air.call_at(round(at_us), speak)

    def _hears(self, frame: bytes, _heard: Heard, end_us: int) -> None:
        if frame[0] == carried.ASK:
            if frame[1] | frame[2] << 8 == self.node.address:
                self._asked(frame, end_us)
            return
        kind, address = peek(frame)[1:3]
        if kind == DOWN and address == self.node.address and self.node.told(frame):
            self._heard_s = end_us / 1e6
            self._say(self.node.answer, end_us + _RADIO_TURN_US, self._sf)
        elif kind == GROUP:
            try:
                record = r.decode_all(self.node.opened(frame), "group")[0]
            except RemoteError:
                return
            if isinstance(record, Beacon):
                self._follow(record, len(frame), end_us)

    def _follow(self, beacon: Beacon, size: int, end_us: int) -> None:
        us = time_on_air_us(size, self._sf, self._bw_hz)
        begin_us, late_us = end_us - us, self._rng.uniform(0, _JITTER_US)
        after_us = self._follower.beacon(beacon, us)
        self._guard_us = 500 * beacon.shape[6]
        if after_us != SILENT:
            at_us = begin_us + after_us * self._rate + late_us
            self._say(self.node.slot, at_us, self._follower.sf)
        if not beacon.repair:
            self._contend(beacon, begin_us + late_us)

    def _contend(self, beacon: Beacon, begin_us: float) -> None:
        joined = self._follower.joined(beacon)
        if joined and not self.node.urgent:
            self._contention.done()
            self._urgent_s = 0.0
            return
        if self._urgent_s:
            if self._heard_s > self._urgent_s:
                self._contention.done()
            else:
                self._contention.failed(self._rng.randrange(8))
            self._urgent_s = 0.0
        slot = self._contention.turn(self._rng.randrange(64))
        if slot == SILENT:
            return
        if not joined:
            self.node.greet()
        step_us = time_on_air_us(URGENT_BYTES, self._sf, self._bw_hz) + self._guard_us
        at_us = begin_us + (self._follower.end_us + slot * step_us) * self._rate
        self._say(self.node.news, at_us, self._sf)
        self._urgent_s = at_us / 1e6

    # -- as a bridge ------------------------------------------------------------------------------

    def _asked(self, frame: bytes, end_us: int) -> None:
        items = carried.opened(bytes((carried.BATCH, frame[1], frame[2], 0)) + frame[6:])
        if items is None or not self.node.told(items[2][0]):
            return
        self._heard_s = end_us / 1e6
        for item in items[2][1:]:
            each = self._behind.get(peek(item)[2])
            if each is not None:
                each.told(item)
                self._keep(each, *each.frame())
        sf, left, room = frame[3], frame[4], frame[5]
        first: list[bytes] = [self.node.answer()]

        def batch(left: int) -> None:
            taken = self._fill(room - carried.BATCH_HEAD, first)
            more = left > 1 and any(self._kept.values())
            head = bytes((carried.BATCH, frame[1], frame[2], more))
            us = self._ear.send(head + b"".join(bytes((len(x),)) + x for x in taken), sf)
            if more:
                gap_us = max(_RADIO_TURN_US, self._guard_us)
                self._air.call_at(self._air.now_us + us + gap_us, lambda: batch(left - 1))

        self._air.call_at(end_us + _RADIO_TURN_US, lambda: batch(left))

    def _fill(self, room: int, first: list[bytes]) -> list[bytes]:
        """Urgent ones first, then those that waited longest."""
        taken = first[:]
        first.clear()
        room -= sum(len(x) + 1 for x in taken)
        order = sorted(
            (not kept[0][1] & URGENT, self._sent_s.get(address, 0.0), address)
            for address, kept in self._kept.items()
            if kept
        )
        for _, _, address in order:
            frame = self._kept[address][0][0]
            if len(frame) + 1 <= room:
                room -= len(frame) + 1
                taken.append(frame)
                self._kept[address].pop(0)
                self._sent_s[address] = self._air.now_us / 1e6
        return taken


class RadioTo(RadioThread):
    """A radio at the place of the controller, on the emulated air instead of in a thread."""

    air: Air
    channel: tuple[int, int]
    place: tuple[str, tuple[float, float]] = ("controller", (0.0, 0.0))
    loss = 0.0

    def __init__(self, opener: Any, room: int) -> None:
        super().__init__(opener, room)
        hz, self._bw_hz = self.channel
        self._ear = Ear(
            self.air, *self.place, hz, bw_hz=self._bw_hz, loss=self.loss,
            rng=random.Random(2), on_frame=self._hears,
        )  # fmt: skip
        self._sf = 7
        self._later: list[asyncio.TimerHandle] = []

    async def start(self) -> None:
        """Listens from now on."""
        self._loop = loop()
        self._ended = self._loop.create_future()
        self._measure()

    async def stop(self) -> None:
        """No more."""
        self.forget()

    def _measure(self) -> None:
        dbm = self.air.busy_dbm(self._ear, self.channel[0], self._bw_hz)
        least = self._quietest_dbm
        self._quietest_dbm = dbm if least is None else min(dbm, least)
        loop().call_later(_MEASURE_S, self._measure)

    def tune(self, at_s: float, hz: int, sf: int) -> None:
        """From then on."""
        if at_s <= loop().time():
            self._tune(sf)
        else:
            self._later.append(loop().call_at(at_s, self._tune, sf))

    def _tune(self, sf: int) -> None:
        self._sf = sf
        self._ear.tune(sf)

    def forget(self) -> None:
        """What was to be done later."""
        for each in self._later:
            each.cancel()
        self._later.clear()

    async def send(self, frame: bytes, hz: int, sf: int) -> float:
        """Now; when it ended."""
        self._tune(sf)
        us = self._ear.send(frame, sf)
        await asyncio.sleep(us / 1e6)
        return loop().time()

    def _hears(self, frame: bytes, heard: Heard, end_us: int) -> None:
        self._put(Received(frame, end_us / 1e6, heard.rssi_dbm, heard.snr_db, self._sf))
