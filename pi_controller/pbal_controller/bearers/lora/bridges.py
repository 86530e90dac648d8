"""Homes behind bridges: each bridge is asked once a round for what its wired neighbours say.

An ask carries frames for neighbours, and one sealed for the bridge itself, without which it sends
nothing. It answers with batches of its neighbours' frames (pbal_protocol.radio.carried). A batch is
trusted in nothing: each frame in it opens by itself, or is dropped. When an answer calls for a
frame at once (the time, a command), the bridge is asked again in the same turn.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field
from typing import Any, Protocol

from pbal_controller.bearers.base import Answer, Request, Traffic, Where
from pbal_controller.bearers.lora.driver import Received
from pbal_controller.bearers.lora.radio import RadioThread
from pbal_controller.bearers.lora.settings import TURN_S, Behind, RadioConfig
from pbal_protocol.errors import RemoteError
from pbal_protocol.frames import UP, UP_EXPLICIT, peek
from pbal_protocol.radio import carried
from pbal_protocol.radio.airtime import time_on_air_us
from pbal_protocol.radio.budget import longest_bytes

log = logging.getLogger(__name__)

# Of one frame for a neighbour: beside it an ask has room for a short one of the bridge's own.
ROOM = 230
_OWN_ROOM = 60
_ASKS = 4  # of one bridge in one round
_BATCHES_S = 5.0  # on the air in answer to one ask, at most, though one batch always
_READING = 60  # a neighbour's item with a reading alone
# A bridge's batches may use this share of the airtime that the plan allows.
_DUTY_SHARE = 0.4
_LOST_ROUNDS = 2


@dataclass(slots=True)
class Bridge:
    """One bridge and the homes behind it."""

    address: int
    homes: set[Behind] = field(default_factory=set)
    waiting: dict[Behind, Request] = field(default_factory=dict)  # until its next turn
    due: float = 0.0  # by its own airtime
    silent: bool = False
    dropped: bool = False  # its key was revoked: it carries nothing any more
    batches: int = 0
    carried: int = 0


class Channel(Protocol):
    """The bearer, as far as bridges need it."""

    async def transmit(self, radio: RadioThread, frame: bytes) -> float:
        """Send within the airtime budget; when it ended."""

    def heard_sf(self, address: int) -> int:
        """The spreading factor of a home with a radio; 0 while it has no slot."""

    def missed(self, address: int) -> int:
        """Rounds in a row in which it was not heard, this one included."""

    def note(self, address: int, received: Received) -> dict[str, float]:
        """Count a frame of a home with a radio; how well it is heard."""

    def take(self, received: Received) -> None:
        """A frame of another home, in between."""


class Bridges:
    """All bridges of one channel."""

    def __init__(self, name: str, config: RadioConfig, traffic: Traffic, channel: Channel) -> None:
        self._name = name
        self._config = config
        self._traffic = traffic
        self._channel = channel
        self._bw_hz = config.up[1]
        self.all: dict[int, Bridge] = {}
        self.asks = self.unanswered = 0

    # -- what the bearer says of them ---------------------------------------------------------

    def reaches(self, where: Behind) -> str:
        """Why a home behind a bridge cannot be reached now."""
        bridge = self.all.get(where.bridge)
        if bridge is not None and bridge.silent:
            return f"its bridge {where.bridge} is silent"
        if not self._channel.heard_sf(where.bridge):
            return f"its bridge {where.bridge} was not heard on this channel yet"
        return ""

    def counts(self) -> dict[str, int]:
        """Since start; `bridges_silent` is now."""
        return {
            "asks": self.asks,
            "unanswered_asks": self.unanswered,
            "batches": sum(each.batches for each in self.all.values()),
            "carried": sum(each.carried for each in self.all.values()),
            "bridges_silent": sum(each.silent for each in self.all.values()),
        }

    def as_list(self) -> list[dict[str, Any]]:
        """For the status API."""
        return [
            {
                "address": address,
                "homes": sorted(where.address for where in bridge.homes),
                "silent": bridge.silent,
                "batches": bridge.batches,
                "carried": bridge.carried,
            }
            for address, bridge in sorted(self.all.items())
        ]

    def wants(self, request: Request) -> None:
        """What is due for a home behind a bridge goes with the bridge's next turn."""
        assert isinstance(request.to, Behind)
        address = request.to.bridge
        bridge = self.all.setdefault(address, Bridge(address))
        bridge.homes.add(request.to)
        before = bridge.waiting.get(request.to)
        if before is None or request.frame:
            bridge.waiting[request.to] = request

    def drop(self, where: Where) -> None:
        """A home behind a bridge, or a bridge, is never asked again."""
        if isinstance(where, Behind):
            bridge = self.all.get(where.bridge)
            if bridge is not None:
                bridge.homes.discard(where)
                bridge.waiting.pop(where, None)
        elif where in self.all:
            self.all[where].dropped = True

    # -- a round ------------------------------------------------------------------------------

    async def turns(self, radio: RadioThread) -> None:
        """Each bridge in turn."""
        loop = asyncio.get_running_loop()
        for bridge in self.all.values():
            missed = self._channel.missed(bridge.address)
            self._judge(bridge, bridge.dropped or missed >= _LOST_ROUNDS)
            if missed or not self._channel.heard_sf(bridge.address):
                self._give_up(bridge, loop.time())
                continue
            if loop.time() < bridge.due:
                continue
            for number in range(_ASKS):
                if not await self._ask(radio, bridge, again=number > 0):
                    break

    def _judge(self, bridge: Bridge, silent: bool) -> None:
        if silent == bridge.silent:
            return
        bridge.silent = silent
        homes = sorted(where.address for where in bridge.homes)
        what = {"bearer": self._name, "bridge": bridge.address, "homes": homes}
        if silent:
            log.error("bridge silent: its homes hold their phases", extra=what)
        else:
            log.info("bridge heard again", extra=what)

    def _give_up(self, bridge: Bridge, now: float) -> None:
        """Without the bridge its homes are silent, too."""
        for request in bridge.waiting.values():
            self._traffic.handle(request, None, now)
        bridge.waiting.clear()
        if bridge.silent:
            for where in bridge.homes:
                self._traffic.unheard(where, now)

    def _requests(self, bridge: Bridge, now: float, again: bool) -> list[Request]:
        found = list(bridge.waiting.values())
        bridge.waiting.clear()
        known = {request.to for request in found}
        for where in bridge.homes:
            if where not in known:
                request = self._traffic.ask(where, now, ROOM, again)
                if request is not None:
                    found.append(request)
        found.sort(key=lambda request: (request.sent is None, not request.frame))
        return found

    async def _ask(self, radio: RadioThread, bridge: Bridge, again: bool) -> bool:
        """One ask and its batches; whether it was answered and something more is to be said."""
        loop, address = asyncio.get_running_loop(), bridge.address
        now = loop.time()
        requests = self._requests(bridge, now, again)
        if again and not any(request.frame for request in requests):
            return False
        room = carried.MOST - carried.ASK_HEAD - 1 - _OWN_ROOM
        told: list[Request] = []
        for request in requests:
            size = len(request.frame) + 1
            if request.frame and (size <= room or not told):
                told.append(request)
                room -= size
            elif request.frame:
                bridge.waiting[request.to] = request  # type: ignore[index]
        room = min(room + _OWN_ROOM, ROOM)
        own = self._traffic.ask(address, now, room, False)
        if own is None or not own.frame:
            bridge.waiting |= {request.to: request for request in told}  # type: ignore[misc]
            return False
        self.asks += 1
        sf = self._channel.heard_sf(address)
        size, batches = self._answer(sf, len(told) if again else len(bridge.homes))
        items = [own.frame, *(request.frame for request in told)]
        frame = carried.ask(address, sf, batches, size, items)
        end_s = await self._channel.transmit(radio, frame)
        for request in [own, *told]:
            if request.sent is not None:
                request.sent()
        radio.tune(0.0, self._config.up[0], sf)
        open_ = {r.to: r for r in [own, *requests] if r.to not in bridge.waiting}
        answered = await self._batches(radio, bridge, open_, end_s, size, sf)
        now = loop.time()
        # A home whose frame may wait for another turn is not taken for silent.
        if not answered or (not again and batches * size >= _READING * len(bridge.homes)):
            for request in open_.values():
                self._traffic.handle(request, None, now)
        if not answered:
            self.unanswered += 1
        return answered

    def _answer(self, sf: int, homes: int) -> tuple[int, int]:
        """Bytes of one batch, and how many batches so many homes need: what the plan and the round
        have room for.
        """
        size = longest_bytes(self._config.plan, self._config.up, sf, carried.MOST)
        each = max(1, (size - carried.BATCH_HEAD) // _READING)
        batches = -(-(homes + 1) // each) + 1  # its own reading, and one to spare
        us = time_on_air_us(size, sf, self._bw_hz)
        return size, max(1, min(batches, int(_BATCHES_S * 1e6 / us), 255))

    async def _batches(
        self,
        radio: RadioThread,
        bridge: Bridge,
        open_: dict[Where | None, Request],
        end_s: float,
        size: int,
        sf: int,
    ) -> bool:
        """Take batches until the last; whether any was the bridge's own. Answered ones leave
        `open_`.
        """
        loop, config = asyncio.get_running_loop(), self._config
        longest_s = config.answer_timeout_ms / 1e3 + time_on_air_us(size, sf, self._bw_hz) / 1e6
        close_s = end_s + longest_s + config.guard_ms / 1e3
        us = 0
        while (received := await radio.receive(close_s)) is not None:
            batch = carried.opened(received.frame)
            if batch is None or batch[0] != bridge.address:
                self._channel.take(received)
                continue
            if not self._open(bridge, batch[2], received, open_):
                continue
            us += time_on_air_us(len(received.frame), sf, self._bw_hz)
            bridge.batches += 1
            if not batch[1]:
                # The node listens again before the next frame comes.
                await asyncio.sleep(max(0.0, received.end_s + TURN_S - loop.time()))
                break
            close_s = received.end_s + longest_s + config.guard_ms / 1e3
        duty = config.plan.band(*config.up).duty_permille
        if duty:
            bridge.due = max(bridge.due, end_s) + us / 1e6 / (_DUTY_SHARE * duty / 1000)
        return us > 0

    def late(self, received: Received) -> bool:
        """A batch that comes outside of a bridge's turn; whether it was one that opened."""
        batch = carried.opened(received.frame)
        if batch is None or batch[0] not in self.all:
            return False
        return self._open(self.all[batch[0]], batch[2], received, {})

    def _open(
        self,
        bridge: Bridge,
        frames: list[bytes],
        received: Received,
        open_: dict[Where | None, Request],
    ) -> bool:
        """Hand in each frame of a batch; whether one of them opened."""
        now = asyncio.get_running_loop().time()
        address = bridge.address
        heard: list[Where] = []
        for frame in frames:
            source = source_of(frame)
            if source is None:
                continue
            where: Where = source if source == address else Behind(source, address)
            request = open_.get(where)
            if request is not None:
                if not self._traffic.offered(request, Answer(frame), now):
                    continue
                del open_[where]
            elif not self._traffic.unasked(where, frame, now):
                continue
            heard.append(where)
        if not heard:
            return False
        figures = self._channel.note(address, received)
        for where in heard:
            if isinstance(where, Behind):
                bridge.homes.add(where)
                bridge.carried += 1
                self._traffic.quality(where, figures | {"bridge": address})
        return True


def source_of(frame: bytes) -> int | None:
    """The address that a frame claims; None for what no node sends."""
    try:
        _version, kind, address, _counter = peek(frame)
    except RemoteError:
        return None
    return address if kind in (UP, UP_EXPLICIT) else None
