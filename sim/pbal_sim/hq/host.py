"""A minimal HQ: a Sparkplug host that decodes, stores each message once, acknowledges.

It shares with the sites only the declarations of pbal_uplink. It requests births that it missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import aiomqtt

from pbal_host import check_cancelled
from pbal_sim.hq.pki import Pki
from pbal_uplink import Message, metrics, sparkplug

HOST = "hq"


class Host:
    """One host application; an async context. What it saw is in its lists."""

    def __init__(
        self, ca: Path, certificate: Path, key: Path, port: int, *, name: str = HOST, batch: int = 1
    ) -> None:
        """`batch`: acknowledge when so many messages of a site are stored."""
        context = ssl.create_default_context(cafile=str(ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(certificate, key)
        self._context, self._port, self._name, self._batch = context, port, name, batch
        self.raw: list[tuple[str, bytes]] = []  # (topic, payload) of sites
        self.got: list[tuple[Message, bool]] = []  # (message, historical) as they came
        self.store: dict[int, Message] = {}  # by token, as an idempotent insert keeps them
        self.births: list[sparkplug.Payload] = []
        self.deaths: list[sparkplug.Payload] = []
        self.seqs: list[int | None] = []
        self.acknowledge = True
        self.heard: Callable[[str, Message, bool], None] | None = None
        self.changed = asyncio.Event()
        self._aliases: dict[str, dict[int, tuple[str, int]]] = {}  # by site
        self._due: dict[str, list[int]] = {}
        self._client: aiomqtt.Client | None = None
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def of(cls, pki: Pki, port: int, *, batch: int = 1) -> Host:
        """With a certificate of this authority."""
        return cls(pki.ca, *pki.issue(HOST), port, batch=batch)

    async def __aenter__(self) -> Host:
        ready = asyncio.Event()
        self._task = asyncio.create_task(self._run(ready), name="host application")
        await asyncio.wait_for(ready.wait(), 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and (error := self._task.exception()):
            raise error

    async def _run(self, ready: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(aiomqtt.MqttError):
                async with aiomqtt.Client(
                    "localhost", self._port, tls_context=self._context, identifier=self._name
                ) as client:
                    self._client = client
                    await client.subscribe(f"{sparkplug.NAMESPACE}/#", qos=1)
                    for site in self._aliases:  # it may have missed their births
                        await self._ask_rebirth(site)
                    ready.set()
                    async for message in client.messages:
                        payload = message.payload
                        if isinstance(payload, bytes):
                            await self._take(str(message.topic), payload)
            self._client = None
            check_cancelled()
            await asyncio.sleep(0.2)

    async def _take(self, topic: str, payload: bytes) -> None:
        _, group, kind, *rest = topic.split("/")
        if kind not in ("NBIRTH", "NDATA", "NDEATH"):
            return
        site = f"{group}/{rest[0]}"
        self.raw.append((topic, payload))
        if kind == "NBIRTH":
            birth = sparkplug.decode(payload)
            self._aliases[site] = sparkplug.aliases(birth)
            self.births.append(birth)
            self.seqs.append(birth.seq)
            for message, historical in metrics.messages(birth.metrics):
                self._say(site, message, historical)
        elif kind == "NDEATH":
            self.deaths.append(sparkplug.decode(payload))
        elif site not in self._aliases:
            await self._ask_rebirth(site)
        else:
            data = sparkplug.decode(payload, self._aliases[site])
            self.seqs.append(data.seq)
            for message, historical in metrics.messages(data.metrics):
                self.got.append((message, historical))
                self.store[metrics.token(message)] = message
                self._due.setdefault(site, []).append(metrics.token(message))
                self._say(site, message, historical)
            if self.acknowledge and len(self._due.get(site, ())) >= self._batch:
                await self.stored(self._due.pop(site), site)
        self.changed.set()

    def _say(self, site: str, message: Message, historical: bool) -> None:
        if self.heard is not None:
            self.heard(site, message, historical)

    async def _ask_rebirth(self, site: str) -> None:
        await self.command(sparkplug.Metric(sparkplug.REBIRTH, True, sparkplug.BOOLEAN), site)

    async def stored(self, tokens: list[int], site: str) -> None:
        """Acknowledge these."""
        metric = sparkplug.Metric(sparkplug.STORED, tuple(tokens), sparkplug.UINT64_ARRAY)
        await self.command(metric, site)

    async def command(self, metric: sparkplug.Metric, site: str) -> None:
        """One metric to a site ("group/node")."""
        data = sparkplug.encode(sparkplug.Payload((metric,), int(time.time() * 1000)))
        # Sparkplug's commands are QoS 0: a lost one is sent again.
        await self.publish(sparkplug.topic(*_split(site)), data, qos=0)

    async def publish(self, topic: str, data: bytes, *, qos: int = 1, retain: bool = False) -> None:
        """Publish any message; lost while there is no broker."""
        with contextlib.suppress(aiomqtt.MqttError):
            if self._client is not None:
                await self._client.publish(topic, data, qos=qos, retain=retain)

    async def say(self, online: bool, at_ms: int | None = None) -> None:
        """The primary host's STATE."""
        at_ms = int(time.time() * 1000) if at_ms is None else at_ms
        data = sparkplug.write_state(online, at_ms)
        await self.publish(sparkplug.state_topic(self._name), data, retain=True)

    async def until(self, condition: Callable[[], object], seconds: float = 40.0) -> None:
        """Wait for a condition on what was received. Raises TimeoutError."""
        async with asyncio.timeout(seconds):
            while not condition():
                self.changed.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.changed.wait(), 0.1)


def _split(site: str) -> tuple[str, str, str]:
    group, _, node = site.partition("/")
    return group, "NCMD", node
