"""The link to HQ over LoRa: a site that sends its messages in brief to a gateway.

    site     NEW, OLD items ---------------->  gateway     onto its disk, then to HQ
             <------------------ HELD, STORED, PART, ASK

A frame is sent again, after pauses that double, until the gateway says HELD. A message stays in the
outbox until the gateway passes on that HQ itself has STORED it; one that was held and not stored
within `uplink.resend_s` is sent once more, which changes nothing where it was. Commands come in
parts and are judged here, by HQ's signature: the gateway is trusted with nothing but bytes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

from pbal_controller.bearers.lora import RadioConfig
from pbal_controller.config import UplinkConfig
from pbal_controller.journal import AsyncJournal
from pbal_controller.loops import Backoff
from pbal_controller.uplink import outbox
from pbal_controller.uplink.airlink import Airlink
from pbal_controller.uplink.briefbox import Brief
from pbal_controller.uplink.contracts import Orders
from pbal_controller.uplink.sealed import End, SealedLink
from pbal_controller.uplink.thinend import ThinEnd
from pbal_protocol.errors import RemoteError
from pbal_uplink import BadMessage, State, Summary, brief, link

log = logging.getLogger(__name__)

_LISTEN_S = 0.5
_RETRY_S = (2.0, 300.0)
_SLOW = 5.0  # the first pause is longer by this share for each second that a summary's frame lasts
_SPREAD = 4.0  # of uplink.spread_s: a frame here lasts as long as hundreds over IP
_RECENT = 8  # frames whose HELD may still come
_OLD_PAUSE = 100.0  # of the time on air of a frame with what had waited
_LOST_S = 3600.0  # without a word of the gateway for so long the link counts as down


class LoraUplink:
    """The loop of the site's end."""

    def __init__(
        self,
        journal: AsyncJournal,
        config: UplinkConfig,
        radio: RadioConfig,
        root: bytes,
        site: int,
        state: Callable[[int, int], State],
        orders: Orders,
        reading: Callable[[], Awaitable[Summary | None]],
        wall: Callable[[], float],
    ) -> None:
        self._config = config
        self._site = site
        self._wall = wall
        self._air = Airlink(radio, journal, config.radio, wall, gateway=False)
        self._link = SealedLink(journal, site, root, End.SITE)
        self._end = ThinEnd(
            journal, self._air.room - link.HEAD, config.resend_s, state, orders, reading
        )
        share = zlib.crc32(f"pbal link {site}".encode()) / (1 << 32)
        self._spread_s = min(_SPREAD * config.spread_s, 0.8 * config.window_s)
        self._offset_s = share * self._spread_s
        slower = 1 + _SLOW * self._air.airtime(brief.LIMIT + link.HEAD) / 1e6
        self._backoff = Backoff(_RETRY_S[0] * slower, _RETRY_S[1])
        self._random = random.Random()
        self._woken = asyncio.Event()
        self._flights: dict[int, tuple[list[int], list[bytes]]] = {}  # rows, extras by counter
        self._not_before = 0.0
        self._old_not_before = 0.0
        self._heard_at = float("-inf")
        self.why = "the gateway was not heard yet"
        self.retries_total = 0
        self.foreign_total = 0

    @property
    def born(self) -> bool:
        """Whether the gateway is heard."""
        return asyncio.get_running_loop().time() - self._heard_at < _LOST_S

    def as_dict(self) -> dict[str, Any]:
        """For the status."""
        return {
            "configured": True,
            "online": self.born,
            "why": "" if self.born else self.why,
            "radio": self._config.radio,
            "frames": self._air.frames_total,
            "airtime_s": round(self._air.airtime_us / 1e6, 3),
            "retries": self.retries_total,
            "acknowledged": self._end.acknowledged_total,
            "on_way": self._end.box.on_way,
        }

    def wake(self) -> None:
        """Something was queued; it is seen at the next look."""
        self._woken.set()

    async def run(self, beat: Callable[[], None]) -> None:
        """Send and listen until cancelled. Raises JournalError."""
        await self._link.restore()
        await self._end.begin()
        await self._air.serve(self._turn, beat, self._on_radio)

    def _on_radio(self, why: str) -> None:
        if why:
            self.why = why
            self._heard_at = float("-inf")

    # -- sending ----------------------------------------------------------------------------

    async def _turn(self) -> None:
        """Send what is due, and listen for a while."""
        now = asyncio.get_running_loop().time()
        await self._end.refresh()
        listen_s = _LISTEN_S
        if now >= self._not_before:
            rows_out, extras, items = self._frame(now)
            if items:
                payload = link.pack(items)
                wait_s = self._air.wait_s(len(payload))
                if wait_s > 0:
                    self._not_before = now + wait_s
                else:
                    if any(item.kind == link.OLD for item in items):
                        pause_s = _OLD_PAUSE * self._air.airtime(len(payload)) / 1e6
                        self._old_not_before = now + pause_s * self._random.uniform(0.5, 1.5)
                    await self._send(payload, rows_out, extras)
                    listen_s = self._air.reply_s()
        await self._listen(listen_s)

    def _frame(self, now: float) -> tuple[list[int], list[bytes], list[link.Item]]:
        left = self._air.room
        rows: list[int] = []
        extras: list[bytes] = []
        items: list[link.Item] = []
        for body in self._end.extras:
            if len(body) + link.HEAD <= left:
                extras.append(body)
                items.append(link.Item(link.NEW, body))
                left -= items[-1].size
        for made in self._end.box.due(now):
            if made.historical and now < self._old_not_before:
                break
            item = link.Item(link.OLD if made.historical else link.NEW, made.body)
            if item.size > left:
                break
            if made.historical and not self._air.has_spare(self._air.room - left + item.size):
                break
            if self._is_due(made):
                rows.append(made.row.id)
                items.append(item)
                left -= item.size
        return rows, extras, items

    def _is_due(self, made: Brief) -> bool:
        """Whether it is this site's second within the spread: sites must not send at once."""
        if made.historical or made.row.kind == outbox.EVENT:
            return True
        wait = made.row.at_s + self._config.window_s + self._offset_s - self._wall()
        return not 0 < wait <= self._spread_s

    async def _send(self, payload: bytes, rows: list[int], extras: list[bytes]) -> None:
        counter, frame = await self._link.seal(payload)
        self._flights[counter] = rows, extras
        while len(self._flights) > _RECENT:
            del self._flights[next(iter(self._flights))]
        await self._air.send(frame)
        # Counted from the end of the frame; a HELD sets it back.
        pause = self._air.reply_s() + self._backoff.next()
        self._not_before = asyncio.get_running_loop().time() + pause
        self.retries_total += self._backoff.failures > 1

    # -- receiving --------------------------------------------------------------------------

    async def _listen(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while (left := until - loop.time()) > 0:
            frame = await self._air.receive(left)
            if frame is None:
                return
            try:
                _, payload = await self._link.open(frame)
            except RemoteError:
                self.foreign_total += 1
                continue
            try:
                items = link.unpack(payload)
            except BadMessage as error:
                log.warning("the gateway's frame", extra={"why": str(error)})
                continue
            if not self.born:
                log.info("the gateway is heard", extra={"radio": self._config.radio})
            self._heard_at = loop.time()
            held = False
            for item in items:
                try:
                    held |= await self._take(item)
                except BadMessage as error:
                    log.warning("the gateway's item", extra={"why": str(error)})
            if held:
                return

    async def _take(self, item: link.Item) -> bool:
        """Carry out one item; whether it ends the wait for an answer."""
        loop = asyncio.get_running_loop()
        if item.kind == link.HELD:
            flight = self._flights.pop(link.held_counter(item), None)
            if flight is None:
                return False
            end = self._end
            end.box.taken(flight[0], loop.time())
            end.extras = [body for body in end.extras if body not in flight[1]]
            self._backoff.reset()
            # The channel is for others, too.
            self._not_before = loop.time() + self._random.uniform(0.1, 1.0)
            return True
        if await self._end.take(item):
            # Its answer is wanted.
            self._backoff.reset()
            self._not_before = loop.time()
        return False
