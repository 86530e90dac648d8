"""The link to HQ over LoRaWAN: brief messages through an AT modem, one a confirmed uplink.

    port closed --open, set up--> ready --join--> joined --message, message, ...
         ^                          ^ not joined ----'
         '-- no answer, gone (pause 2 s to 5 min)

A message counts as taken when the network acknowledges it. It leaves the outbox then
(acknowledged_by = "broker"), or when a downlink says that HQ has STORED it ("host"). Downlinks hold
the items of pbal_uplink.link: commands in parts, judged here by HQ's signature. Each part that is
not the last is answered with the State, so that the network can send the next one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from pbal_controller.config import UplinkConfig
from pbal_controller.errors import BearerError
from pbal_controller.journal import AsyncJournal
from pbal_controller.loops import Backoff, pause
from pbal_controller.uplink.atport import AtPort, Outcome, Result
from pbal_controller.uplink.contracts import Orders
from pbal_controller.uplink.modem import load_modem, read_app_key
from pbal_controller.uplink.thinend import ThinEnd
from pbal_uplink import BadMessage, State, Summary, brief, link, metrics

log = logging.getLogger(__name__)

UP_PORT, DOWN_PORT = 10, 11
_OPEN_S = (2.0, 300.0)
# LoRaWAN asks for rarer and rarer join requests: 1 % of the time, after an hour 0.1 %.
_JOIN_S = (30.0, 3600.0)
_TRY_S = (20.0, 900.0)
_BUSY_S = 5.0
_RESTRICTED_S = 60.0
_TICK_S = 1.0


class LorawanUplink:
    """The loop that keeps the modem's link."""

    def __init__(
        self,
        journal: AsyncJournal,
        config: UplinkConfig,
        state: Callable[[int, int], State],
        orders: Orders,
        reading: Callable[[], Awaitable[Summary | None]],
    ) -> None:
        """Raises ConfigError: the modem's file or the key file is not right."""
        given = config.lorawan
        assert given is not None  # the configuration was checked
        self._config = config
        self._given = given
        self._modem = load_modem(given.modem, given.region)
        self._port = AtPort(given, self._modem, read_app_key(given.app_key_file))
        self._end = ThinEnd(journal, brief.LIMIT, config.resend_s, state, orders, reading)
        self._tries = Backoff(*_TRY_S)
        self._not_before = 0.0
        self._joined = False
        self.why = "the modem is not open yet"
        self.joins_total = 0
        self.sent_total = 0
        self.failed_total = 0

    @property
    def born(self) -> bool:
        """Whether the network is joined."""
        return self._joined

    def as_dict(self) -> dict[str, Any]:
        """For the status."""
        return {
            "configured": True, "online": self._joined, "why": "" if self._joined else self.why,
            "modem": self._modem.modem.title, "joins": self.joins_total, "sent": self.sent_total,
            "acknowledged": self._end.acknowledged_total, "failed": self.failed_total,
            "on_way": self._end.box.on_way,
        }  # fmt: skip

    def wake(self) -> None:
        """Something was queued; it is seen at the next look."""

    async def run(self, beat: Callable[[], None]) -> None:
        """Open, join and send until cancelled. Raises JournalError."""
        await self._end.begin()
        opening = Backoff(*_OPEN_S)
        said = ""
        while True:
            try:
                self._port.open()
                await self._port.set_up()
                await self._join(beat)
                log.info("LoRaWAN is joined", extra={"modem": self._modem.modem.title})
                opening.reset()
                said = ""
                while self._joined:
                    beat()
                    await self._turn()
            except BearerError as error:
                self.why = str(error)
                if self.why != said:
                    log.error("the LoRaWAN modem", extra={"why": self.why})
                    said = self.why
            finally:
                self._joined = False
                self._port.close()
            await pause(opening.next(), beat)

    async def _join(self, beat: Callable[[], None]) -> None:
        pauses = Backoff(*_JOIN_S)
        while True:
            beat()
            result = await self._port.join()
            if result.outcome is Outcome.DONE:
                self._joined = True
                self.joins_total += 1
                return
            self.why = f"the network does not let it join ({result.line})"
            if pauses.failures == 0:
                log.warning("LoRaWAN", extra={"why": self.why})
            await pause(max(pauses.next(), result.wait_s), beat)

    # -- sending ----------------------------------------------------------------------------

    async def _turn(self) -> None:
        now = asyncio.get_running_loop().time()
        end = self._end
        await end.refresh()
        due = end.box.due(now)
        if now >= self._not_before and (end.extras or due):
            await self._send(end.extras[0] if end.extras else due[0].body)
        while self._port.downlinks:
            down = self._port.downlinks.popleft()
            if down.port == DOWN_PORT:
                await self._received(down.data)
        await asyncio.sleep(min(_TICK_S, self._given.every_s))

    async def _send(self, body: bytes) -> None:
        result = await self._port.send(UP_PORT, body)
        now = asyncio.get_running_loop().time()
        self.sent_total += 1
        if result.outcome is Outcome.DONE:
            self._tries.reset()
            self._not_before = now + self._given.every_s
            await self._taken(body, now)
            return
        self.failed_total += 1
        self._not_before = now + self._wait_s(result)
        if result.outcome is Outcome.NOT_JOINED:
            self._joined = False
            self.why = f"the modem has left the network ({result.line})"
        elif result.outcome is Outcome.TOO_LONG:
            log.error(
                "LoRaWAN: the data rate allows less than a summary",
                extra={"bytes": len(body), "remedy": "adr = false and a higher data_rate"},
            )

    def _wait_s(self, result: Result) -> float:
        if result.outcome is Outcome.BUSY:
            return _BUSY_S
        if result.outcome is Outcome.RESTRICTED:
            return result.wait_s or _RESTRICTED_S
        return self._tries.next()

    async def _taken(self, body: bytes, now: float) -> None:
        end = self._end
        if end.extras and end.extras[0] == body:
            end.extras.pop(0)
            return
        row = next(made.row for made in end.box.due(now) if made.body == body)
        end.box.taken([row.id], now)
        if self._config.acknowledged_by == "broker":
            await end.stored([metrics.token_of(row.body)])

    # -- receiving --------------------------------------------------------------------------

    async def _received(self, data: bytes) -> None:
        try:
            for item in link.unpack(data):
                await self._end.take(item)
                if item.kind == link.PART and self._end.lacks_parts and not self._end.extras:
                    # The network has one downlink for each uplink: the next part comes for this.
                    await self._end.say_state()
        except BadMessage as error:
            log.warning("a downlink", extra={"why": str(error)})
