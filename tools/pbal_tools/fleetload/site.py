"""One site's session: the controller's own Sparkplug node, over MQTT with the site's certificate.

What HQ has not said to have stored is kept and sent again, after a rebirth and after a while, as a
controller does. Nothing is kept on a disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections import Counter
from pathlib import Path

import aiomqtt

from pbal_controller.uplink import EdgeNode, Packet
from pbal_host import check_cancelled
from pbal_uplink import State, Summary, metrics

from .figures import Street
from .tokens import Enrolled

_RESEND_S = 120.0
_RETRY_S = (2.0, 60.0)
_IN_FLIGHT = 100
_quiet = logging.getLogger("pbal_tools.fleetload.mqtt")
_quiet.setLevel(logging.CRITICAL)


class FleetSite:
    """One site. `counts` is shared by all: births, sent, stored, connections, trouble."""

    def __init__(
        self, given: Enrolled, folder: Path, window_s: int, past: int, counts: Counter[str]
    ) -> None:
        self._given = given
        self._window_s = window_s
        self._counts = counts
        self._street = Street.of(given.site)
        self._node = EdgeNode(given.group, given.node, "packed", time.time, given.host_id)
        self._context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        self._context.minimum_version = ssl.TLSVersion.TLSv1_3
        self._context.load_cert_chain(folder / f"{given.site}.pem", folder / f"{given.site}.key")
        self._bdseq = random.randrange(256)
        # Not stored yet: token -> (summary, when it was sent last).
        self._kept: dict[int, tuple[Summary, float]] = {}
        # Each site has its own moment within the window.
        self._offset_s = random.Random(given.site).random() * window_s
        self._next = self._due(time.time()) - past
        self._host: bool | None = None
        self._hosted = asyncio.Event()
        self._rebirth = False

    def _due(self, now_s: float) -> int:
        """The window that begins now; those before it are told of."""
        return int((now_s - self._offset_s) // self._window_s)

    async def run(self) -> None:
        """Be connected until cancelled."""
        pause = _RETRY_S[0]
        while True:
            began = time.monotonic()
            try:
                await self._session()
            except (aiomqtt.MqttError, OSError, TimeoutError):
                check_cancelled()
                self._counts["trouble"] += 1
            if time.monotonic() - began > 60:
                pause = _RETRY_S[0]
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(_RETRY_S[1], pause * 2)

    async def _session(self) -> None:
        self._bdseq = (self._bdseq + 1) % 256
        will = self._node.connecting(self._bdseq)
        self._host, self._rebirth = None, False
        self._hosted.clear()
        client = aiomqtt.Client(
            self._given.host, self._given.port, identifier=self._given.node,
            tls_context=self._context, protocol=aiomqtt.ProtocolVersion.V5, clean_start=True,
            keepalive=300, will=aiomqtt.Will(will.topic, will.payload, qos=1), timeout=60,
            logger=_quiet,
        )  # fmt: skip
        async with client:
            self._counts["online"] += 1
            try:
                for topic in self._node.subscriptions:
                    await client.subscribe(topic, qos=1)
                async with asyncio.TaskGroup() as group:
                    reading = group.create_task(self._read(client))
                    try:
                        await self._send(client)
                    finally:
                        reading.cancel()
            except* (aiomqtt.MqttError, OSError, TimeoutError) as error:
                raise aiomqtt.MqttError(str(error)) from None
            finally:
                self._counts["online"] -= 1

    async def _read(self, client: aiomqtt.Client) -> None:
        async for message in client.messages:
            payload = message.payload if isinstance(message.payload, bytes) else b""
            intents = self._node.received(str(message.topic), payload)
            if intents.host is not None:
                self._host = intents.host
                if intents.host:
                    self._hosted.set()
            self._rebirth |= intents.rebirth
            for token in intents.stored:
                if self._kept.pop(token, None) is not None:
                    self._counts["stored"] += 1

    async def _publish(self, client: aiomqtt.Client, packet: Packet, qos: int) -> None:
        await client.publish(packet.topic, packet.payload, qos=qos)

    async def _send(self, client: aiomqtt.Client) -> None:
        await self._hosted.wait()
        await self._birth(client)
        while self._host:
            if self._rebirth:
                self._rebirth = False
                await self._birth(client)
                self._kept = {token: (made, 0.0) for token, (made, _) in self._kept.items()}
            now = time.time()
            for made, sent in list(self._kept.values()):
                if now - sent > _RESEND_S:
                    await self._data(client, made)
            while self._next < self._due(now) and len(self._kept) < _IN_FLIGHT:
                start_s = self._next * self._window_s
                await self._data(client, self._street.summary(start_s, self._window_s))
                self._next += 1
                self._counts["sent"] += 1
            await asyncio.sleep(min(1.0, self._window_s / 4))
        with contextlib.suppress(aiomqtt.MqttError):
            await self._publish(client, self._node.death(), 0)

    async def _birth(self, client: aiomqtt.Client) -> None:
        state = State(
            site=self._given.site, at_s=int(time.time()), version=1 << 8, words=1,
            config_hash=bytes(8), homes=self._street.homes, rated_kva=self._street.rated_kva,
            window_s=self._window_s, backlog=len(self._kept), name=f"Street {self._given.site}",
        )  # fmt: skip
        await self._publish(client, self._node.birth(state), 0)
        self._counts["births"] += 1

    async def _data(self, client: aiomqtt.Client, made: Summary) -> None:
        end_s = made.start_s + made.length_s
        late = time.time() - end_s > 2 * self._window_s + 60
        self._kept[metrics.token(made)] = (made, time.time())
        await self._publish(client, self._node.data(made, end_s, historical=late), 1)
