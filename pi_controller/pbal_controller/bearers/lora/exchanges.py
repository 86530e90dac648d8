"""Exchanges of the LoRa bearer: after a round each home for which something waits is sent it, and
answers at once."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from typing import Protocol

from pbal_controller.bearers.base import EVERYBODY, Answer, Request, Traffic, Where
from pbal_controller.bearers.lora.bridges import Bridges, Channel, source_of
from pbal_controller.bearers.lora.radio import RadioThread
from pbal_controller.bearers.lora.settings import ANSWER_BYTES, TURN_S, Behind, RadioConfig
from pbal_protocol.radio import tdma
from pbal_protocol.radio.airtime import time_on_air_us

# More exchanges in a round while homes wait for their first slot, and while they settle in it.
_JOINING = 4
# More exchanges in a round while something waits for homes: a command, an acknowledgement.
_WANTED = 2
# With one home in one turn, while its answer calls for another frame.
_IN_A_ROW = 2


class Owner(Channel, Protocol):
    """The bearer, as far as exchanges need it."""

    room: int

    @property
    def quality(self) -> Container[Where]:
        """The homes that were heard."""


class Exchanges:
    """Of one channel. `joining`: homes that wait for their first slot."""

    def __init__(
        self,
        config: RadioConfig,
        traffic: Traffic,
        rounds: tdma.Rounds,
        bridges: Bridges,
        owner: Owner,
    ) -> None:
        self._config = config
        self._traffic = traffic
        self._rounds = rounds
        self._bridges = bridges
        self._owner = owner
        self.joining: set[int] = set()
        self.counts = dict.fromkeys(("requests", "answers", "timeouts"), 0)

    async def run(self, radio: RadioThread) -> None:
        """Sends what waits for homes, and receives their answers."""
        loop = asyncio.get_running_loop()
        left = self._config.exchanges + min(len(self.joining), _JOINING)
        self.joining.clear()
        left = await self._wanted(radio, left)
        behind = sum(len(bridge.homes) for bridge in self._bridges.all.values())
        for _ in range(2 * left + 4 + 2 * behind):
            if left <= 0:
                return
            todo = self._traffic.next_request(loop.time())
            if not isinstance(todo, Request):
                return
            if todo.to is EVERYBODY:
                if self._bridges.all:
                    await self._owner.transmit(radio, todo.frame)
                continue  # to the others beacons carry the time
            if isinstance(todo.to, Behind):
                self._bridges.wants(todo)
                continue
            if not todo.frame:
                # Nothing can be sealed for it: it was not heard since our start.
                if todo.to not in self._owner.quality:
                    self._traffic.handle(todo, None, loop.time())
                continue
            left -= 1
            await self._turn(radio, todo)

    async def _wanted(self, radio: RadioThread, left: int) -> int:
        """First those for which something waits, in a row of their own; how many of `left` homes
        may be told after that: one at least, so that the others have their turn too.
        """
        homes = self._rounds.homes()
        first = self._rounds.round % len(homes) if homes else 0
        more = left - 1 + _WANTED + min(len(self._rounds.settling()), _JOINING)
        for address in homes[first:] + homes[:first]:
            if more <= 0:
                break
            todo = self._waiting(address)
            if todo is not None:
                more -= 1
                await self._turn(radio, todo)
        return max(1, min(left, more))

    def _waiting(self, where: Where) -> Request | None:
        """The frame that waits for this home, if any."""
        now = asyncio.get_running_loop().time()
        todo = self._traffic.ask(where, now, self._owner.room, True)
        return todo if todo is not None and todo.frame else None

    async def _turn(self, radio: RadioThread, todo: Request) -> None:
        """One home is told something, and once more where its answer calls for it."""
        where = todo.to
        assert where is not None
        for n in range(_IN_A_ROW):
            # A node takes the time for some seconds after it asked: not in its next turn.
            following = self._waiting(where) if n else todo
            if following is None:
                return
            self.counts["requests"] += 1
            if not await self._exchange(radio, following):
                self.counts["timeouts"] += 1
                self._traffic.handle(following, None, asyncio.get_running_loop().time())
                return
            self.counts["answers"] += 1

    async def _exchange(self, radio: RadioThread, todo: Request) -> bool:
        """A frame down, and the node's answer; False when none came."""
        loop, config, owner = asyncio.get_running_loop(), self._config, self._owner
        end_s = await owner.transmit(radio, todo.frame)
        if todo.sent is not None:
            todo.sent()
        radio.tune(0.0, config.up[0], config.sf)
        longest_us = time_on_air_us(ANSWER_BYTES, config.sf, config.up[1])
        guard_s = self._rounds.guard_us / 1e6
        close_s = end_s + config.answer_timeout_ms / 1e3 + longest_us / 1e6 + guard_s
        while (received := await radio.receive(close_s)) is not None:
            if source_of(received.frame) != todo.to:
                owner.take(received)
            elif self._traffic.offered(todo, Answer(received.frame), loop.time()):
                assert isinstance(todo.to, int)
                owner.note(todo.to, received)
                # The node listens again before the next frame comes.
                await asyncio.sleep(max(0.0, received.end_s + TURN_S - loop.time()))
                return True
        return False
