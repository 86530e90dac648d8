"""The link to HQ: connects, sends its birth and what waits, takes what comes; and reconnects.

Live messages go first, in their order; what waited before the birth follows, oldest first, at
`replay_per_s`, marked historical. A message leaves the outbox only when HQ says that it has stored
it (or, with acknowledged_by = "broker", when the broker took it). Until then it is sent again after
`resend_s`, which HQ's insert takes as the same message.

Nothing here touches balancing: the loop is not essential, and whatever fails is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import aiomqtt
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY

from pbal_controller.config import UplinkConfig
from pbal_controller.errors import ConfigError
from pbal_controller.journal import AsyncJournal
from pbal_controller.loops import Backoff, pause
from pbal_controller.uplink import outbox, tls
from pbal_controller.uplink.contracts import Behind, Orders
from pbal_controller.uplink.node import EdgeNode, Packet, Stage
from pbal_controller.uplink.outbox import Row
from pbal_host import check_cancelled
from pbal_uplink import BadMessage, Message, State, Summary, metrics

log = logging.getLogger(__name__)
# Loggers of the libraries: this module logs each failure, once.
_quiet = logging.getLogger("pbal_controller.uplink.mqtt")
_quiet.setLevel(logging.CRITICAL)

_TICK_S = 1.0
_RETRY_FIRST_S = 2.0
# After a refusal that only a person can lift, s.
_REFUSED_S = 300.0
# After a session that lasted so long, the next failure begins with short pauses again.
_GOOD_S = 60.0
_REBIRTH_EVERY_S = 10.0  # more frequent requests get one
_STEP = 100  # rows read at once
_WINDOW = 200  # messages on their way; HQ may be slow
_TIMEOUT_S = 20.0
# Data that is not acknowledged for so long ends the connection (TCP_USER_TIMEOUT), ms.
_DEAD_MS = 60_000


class HostOffline(Exception):
    """The primary host has gone: the session ends until it is back."""


class Uplink:
    """The loop that keeps the link to HQ."""

    def __init__(
        self,
        journal: AsyncJournal,
        config: UplinkConfig,
        site: int,
        state: Callable[[int, int], State],
        orders: Orders,
        reading: Callable[[], Awaitable[Summary | None]],
        wall: Callable[[], float],
        behind: Behind | None = None,
        secret: bytes = b"",
    ) -> None:
        """`secret`: what the certificate's key is sealed with, where it is."""
        self._secret = secret
        self._journal = journal
        self._config = config
        self._behind = behind
        self._state = state
        self._orders = orders
        self._reading = reading
        self._wall = wall
        name = config.node or str(site)
        self._identifier = f"pbal-{config.group}-{name}"
        self._node = EdgeNode(
            config.group, name, config.form, wall, config.primary_host, devices=behind is not None
        )
        share = zlib.crc32(self._identifier.encode()) / (1 << 32)
        self._offset_s = share * min(config.spread_s, config.window_s / 2)
        self._woken = asyncio.Event()
        self._said = ""  # the failure that was logged
        self._born_at = float("-inf")
        self._rebirth = False
        self._host: bool | None = None
        self._wants_reading = False
        self._live: list[Row] = []
        self._live_above = 0  # rows above this id are read, or will be, as live ones
        self._old_above = 0  # how far the backlog has been sent in this session
        self._old_to = 0
        self._allowance = 0.0
        self._allowed_at = 0.0
        self._on_way: dict[int, float] = {}  # id -> when it was sent
        self._again: list[int] = []
        self.why = "not connected yet"
        self.connections_total = 0
        self.births_total = 0
        self.sent_total = 0
        self.acknowledged_total = 0

    @property
    def born(self) -> bool:
        """Whether HQ can receive from us now."""
        return self._node.stage is Stage.BORN

    def as_dict(self) -> dict[str, Any]:
        """For the status."""
        configured = self._config.kind != "null"
        return {
            "configured": configured,
            "online": self.born,
            "why": "" if self.born or not configured else self.why,
            "connections": self.connections_total,
            "births": self.births_total,
            "sent": self.sent_total,
            "acknowledged": self.acknowledged_total,
            "on_way": len(self._on_way),
            **({} if self._behind is None else {"gateway": self._behind.as_dict()}),
        }

    def wake(self) -> None:
        """Something was queued."""
        self._woken.set()

    # -- connecting, again and again -------------------------------------------------------

    async def run(self, beat: Callable[[], None]) -> None:
        """Keep the way open until cancelled. Raises JournalError."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(_RETRY_FIRST_S, self._config.retry_s)
        while True:
            began = loop.time()
            gone = False
            try:
                await self._session(beat)
                why = "the session ended"
            except HostOffline:
                gone, why = True, f"primary host {self._config.primary_host} is offline"
            except (aiomqtt.MqttError, OSError, ConfigError, TimeoutError) as error:
                check_cancelled()
                why = await self._explain(error)
            finally:
                self._node.stage = Stage.OFFLINE
            self._down(why)
            if loop.time() - began >= _GOOD_S:
                backoff.reset()
            rest_s = backoff.first_s if gone else backoff.next()
            if tls.is_refusal(why):
                rest_s = max(rest_s, min(_REFUSED_S, self._config.retry_s))
            await pause(rest_s, beat)

    def _down(self, why: str) -> None:
        self.why = why
        if why != self._said:
            log.warning("no link to HQ", extra={"host": self._config.host, "why": why})
            self._said = why

    async def _explain(self, error: Exception) -> str:
        if isinstance(error, ConfigError):
            return str(error)
        if isinstance(error, ssl.SSLError):
            return tls.explain(error, self._config)
        if isinstance(error, aiomqtt.MqttCodeError) and "uthori" in str(error):
            return f"the broker does not let this site in: {error}"
        # The library's error for a broken connection says little; the handshake alone tells more.
        with contextlib.suppress(ConfigError):
            if why := await tls.probe(self._config, self._secret):
                return why
        return f"{self._config.host}:{self._config.port}: {error}"

    def _client(self, will: Packet, context: ssl.SSLContext) -> aiomqtt.Client:
        c = self._config
        five = c.mqtt == "5"
        options: list[tuple[int, int, int]] = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            options.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_MS))
        return aiomqtt.Client(
            c.host, c.port, identifier=self._identifier, tls_context=context,
            protocol=aiomqtt.ProtocolVersion.V5 if five else aiomqtt.ProtocolVersion.V311,
            clean_session=None if five else True,
            clean_start=True if five else MQTT_CLEAN_START_FIRST_ONLY, keepalive=c.keepalive_s,
            will=aiomqtt.Will(will.topic, will.payload, qos=1, retain=False),
            timeout=_TIMEOUT_S, socket_options=options, logger=_quiet,
        )  # fmt: skip

    async def _session(self, beat: Callable[[], None]) -> None:
        context = await asyncio.to_thread(tls.context, self._config, self._secret)
        will = self._node.connecting(await self._journal.call(outbox.next_bdseq))
        self._host = None
        self._rebirth = self._wants_reading = False
        beat()
        async with self._client(will, context) as client:
            self.connections_total += 1
            for topic in self._node.subscriptions:
                await client.subscribe(topic, qos=1)
            reader = asyncio.create_task(self._read(client), name="pbal uplink reader")
            try:
                await self._send(client, reader, beat)
            except (asyncio.CancelledError, HostOffline):
                # An NDEATH that is sent ends the session; the will is for a connection that breaks.
                with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                    async with asyncio.timeout(2.0):
                        await self._publish(client, self._node.death(), 0)
                raise
            finally:
                reader.cancel()
                await asyncio.wait([reader])
                if not reader.cancelled():
                    reader.exception()

    # -- what comes -------------------------------------------------------------------------

    async def _read(self, client: aiomqtt.Client) -> None:
        try:
            async for message in client.messages:
                payload = message.payload if isinstance(message.payload, bytes) else b""
                intents = self._node.received(str(message.topic), payload)
                if intents.trouble:
                    log.debug("not understood", extra={"why": intents.trouble})
                if intents.host is not None:
                    self._host = intents.host
                self._rebirth |= intents.rebirth
                if intents.device and self._behind is not None:
                    await self._behind.take(intents)
                    self._woken.set()
                    continue
                if intents.stored:
                    await self._stored(intents.stored)
                for sealed in intents.commands:
                    effect = await self._orders.take(sealed)
                    self._rebirth |= effect.rebirth
                    self._wants_reading |= effect.reading
                self._woken.set()
        finally:
            self._woken.set()

    async def _stored(self, tokens: list[int]) -> None:
        gone = await self._journal.call(outbox.stored, tokens)
        self.acknowledged_total += len(gone)
        for number in gone:
            self._on_way.pop(number, None)

    # -- what goes --------------------------------------------------------------------------

    async def _publish(self, client: aiomqtt.Client, packet: Packet, qos: int) -> None:
        await client.publish(packet.topic, packet.payload, qos=qos, retain=False)

    async def _send(
        self, client: aiomqtt.Client, reader: asyncio.Task[None], beat: Callable[[], None]
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._woken.clear()
            if reader.done():
                reader.result()
                raise aiomqtt.MqttError("the broker ended the connection")
            now = loop.time()
            if self._node.stage is Stage.BORN and self._host is False:
                raise HostOffline
            wanted = self._rebirth and now - self._born_at >= _REBIRTH_EVERY_S
            if self._node.stage is Stage.WAITING and (self._host or not self._config.primary_host):
                await self._birth(client, now, first=True)
            elif self._node.stage is Stage.BORN and wanted:
                await self._birth(client, now, first=False)
            if self._node.stage is Stage.BORN:
                await self._send_due(client, now)
            else:
                self.why = f"primary host {self._config.primary_host} is not online"
            beat()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._woken.wait()

    async def _birth(self, client: aiomqtt.Client, now: float, *, first: bool) -> None:
        waiting = await self._journal.call(outbox.backlog)
        thinned = await self._journal.call(outbox.thinned_total)
        await self._publish(client, self._node.birth(self._state(waiting, thinned)), 0)
        if self._behind is not None:
            for packet in await self._behind.births(self._node, first=first):
                await self._publish(client, packet, 0)
        self._rebirth = False
        self._born_at = now
        self.births_total += 1
        if not first:
            # HQ has missed something: what is not acknowledged is sent once more.
            self._again = sorted({*self._again, *self._on_way})
            self._on_way.clear()
            return
        # What is queued from here on is live; what was before is history, and sent as such.
        self._old_to = self._live_above = await self._journal.call(outbox.last_id)
        self._old_above = 0
        self._live.clear()
        self._again.clear()
        self._on_way.clear()
        self._allowance, self._allowed_at = 1.0, now
        if self._said:
            log.info("HQ is heard again", extra={"was": self._said, "waiting": waiting})
        self._said = self.why = ""

    async def _send_due(self, client: aiomqtt.Client, now: float) -> None:
        if self._wants_reading:
            self._wants_reading = False
            summary = await self._reading()
            if summary is not None:
                packet = self._node.data(summary, self._wall(), historical=False)
                await self._publish(client, packet, 0)
        new = await self._journal.call(outbox.rows, self._live_above, None, _STEP)
        if new:
            self._live_above = new[-1].id
            self._live += new
        for row in list(self._live):
            if self._is_due(row):
                self._live.remove(row)
                await self._send_row(client, row, now, historical=False)
        if self._behind is not None:
            for packet in await self._behind.due(self._node, now):
                await self._publish(client, packet, 0)
        if not self._live and not new:
            await self._send_history(client, now)

    def _is_due(self, row: Row) -> bool:
        """Whether it is this site's second within the spread; events do not wait."""
        if row.kind != outbox.SUMMARY:
            return True
        wait = row.at_s + self._config.window_s + self._offset_s - self._wall()
        # A clock that was set meanwhile keeps nothing back.
        return not 0 < wait <= self._config.spread_s

    async def _send_history(self, client: aiomqtt.Client, now: float) -> None:
        rate = self._config.replay_per_s
        self._allowance = min(
            max(1.0, rate * 2 * _TICK_S), self._allowance + (now - self._allowed_at) * rate
        )
        self._allowed_at = now
        for number, sent in list(self._on_way.items()):
            if now - sent >= self._config.resend_s:
                del self._on_way[number]
                self._again.append(number)
        most = min(int(self._allowance), _WINDOW - len(self._on_way))
        if most < 1:
            return
        due: list[Row] = []
        for number in self._again[:most]:
            due += await self._journal.call(outbox.rows, number - 1, number, 1)
        del self._again[:most]
        if len(due) < most and self._old_above < self._old_to:
            more = await self._journal.call(
                outbox.rows, self._old_above, self._old_to, most - len(due)
            )
            self._old_above = more[-1].id if more else self._old_to
            due += more
        for row in due:
            await self._send_row(client, row, now, historical=True)
        self._allowance -= len(due)

    async def _send_row(
        self, client: aiomqtt.Client, row: Row, now: float, *, historical: bool
    ) -> None:
        try:
            message = row.message()
        except BadMessage as error:
            # Of a later version, or damaged: it is kept, and does not hold up the others.
            log.error("a message cannot be sent", extra={"row": row.id, "why": str(error)})
            return
        by_broker = self._config.acknowledged_by == "broker"
        packet = self._node.data(message, _when(message, row), historical)
        await self._publish(client, packet, 1 if by_broker else 0)
        self.sent_total += 1
        if by_broker:
            await self._stored([metrics.token_of(row.body)])
        else:
            self._on_way[row.id] = now


def _when(message: Message, row: Row) -> float:
    """The moment a message is of: the end of a window, or when something happened."""
    return row.at_s + message.length_s if isinstance(message, Summary) else row.at_s
