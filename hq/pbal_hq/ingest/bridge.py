"""Between the broker and the bus: the sites' messages go onto the bus, HQ's to the sites.

A message is acknowledged to the broker when it is durable on the bus. The host application's STATE
says online with a timestamp, and the will says offline with the same one (Sparkplug 3.0, 5.13).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable

from pbal_hq.bus import Bus, Done, New, Record, topics
from pbal_hq.ca import HQ, Pki, client_context
from pbal_hq.config import Config
from pbal_hq.errors import BrokerError, CertificateError
from pbal_hq.ingest.client import Arrived, Client
from pbal_hq.ingest.outbound import Acknowledgements, Packet
from pbal_hq.ingest.wording import DEVICE_KINDS, KINDS, BadRecord, Dead, Out, Raw
from pbal_hq.metrics import counts
from pbal_uplink import sparkplug

log = logging.getLogger(__name__)

GROUP = "bridge"
_TICK_S = 1.0
_STALE_MS = 60_000  # a request for a rebirth that waited longer is forgotten
_MAX_PAYLOAD = 262_144


class Bridge:
    """One connection to the broker; the supervisor makes a new one after it ends."""

    def __init__(self, bus: Bus, config: Config, wall: Callable[[], float] = time.time) -> None:
        self._bus = bus
        self._config = config
        self._wall = wall
        self.online = False
        self.received_total = 0
        self.strange_total = 0

    def _now_ms(self) -> int:
        return int(self._wall() * 1000)

    def _context(self) -> ssl.SSLContext:
        broker, pki = self._config.broker, Pki(self._config.data / "pki")
        ca = broker.ca or pki.ca
        certificate, key = broker.certificate or pki.certificate(HQ), broker.key or pki.key(HQ)
        try:
            return client_context(ca, certificate, key)
        except OSError as error:
            raise CertificateError(
                f"{ca}, {certificate}, {key}: cannot be used: {error}; pbal-hq init makes them"
            ) from None

    async def run(self, beat: Callable[[], None]) -> None:
        """One connection until it ends. Raises BrokerError, BusError, CertificateError."""
        broker = self._config.broker
        state = sparkplug.state_topic(broker.host_id)
        at_ms = self._now_ms()
        client = Client(
            broker.host, broker.port, HQ, self._context(),
            will=(state, sparkplug.write_state(False, at_ms)), keepalive_s=broker.keepalive_s,
        )  # fmt: skip
        try:
            # Subscribed before it reports that it is online, so that no answer is lost.
            kinds = (*KINDS, *DEVICE_KINDS)
            await client.open([f"{sparkplug.NAMESPACE}/+/{kind}/#" for kind in kinds])
            client.publish(state, sparkplug.write_state(True, at_ms), qos=1, retain=True)
            self.online = True
            log.info("broker is there", extra={"host": broker.host, "port": broker.port})
            async with asyncio.TaskGroup() as group:
                group.create_task(self._inward(client, beat), name="pbal-hq bridge in")
                group.create_task(self._outward(client), name="pbal-hq bridge out")
        except ExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        finally:
            if self.online:
                client.publish(state, sparkplug.write_state(False, at_ms), qos=1, retain=True)
            self.online = False
            await client.close()

    # -- inward -----------------------------------------------------------------------------

    async def _inward(self, client: Client, beat: Callable[[], None]) -> None:
        while True:
            found = await client.arrived(_TICK_S)
            if found:
                await self._bus.append([new for each in found if (new := self._raw(each))])
                client.acknowledge(found)
                self.received_total += len(found)
                for each in found:
                    counts.MESSAGES.labels(_kind(each.topic)).inc()
            beat()

    def _raw(self, arrived: Arrived) -> New | None:
        parts = arrived.topic.split("/")
        device = len(parts) == 5 and parts[2] in DEVICE_KINDS
        if not (device or len(parts) == 4) or len(arrived.payload) > _MAX_PAYLOAD:
            self.strange_total += 1  # the access list lets no site send this
            return None
        _, group, kind, node, *rest = parts
        raw = Raw(kind, 1 if arrived.mid else 0, arrived.payload, rest[0] if rest else "")
        # A device's messages count in its node's sequence, and stay in order with them.
        return New(topics.RAW, f"{group}/{node}", raw.encode())

    # -- outward ----------------------------------------------------------------------------

    async def _outward(self, client: Client) -> None:
        async with self._bus.consumer(GROUP, (topics.OUT,)) as consumer:
            share = None
            waiting: dict[int, Acknowledgements] = {}  # by partition
            at: dict[int, int] = {}
            said: dict[int, int] = {}
            while True:
                records = await consumer.take(500, _TICK_S)
                if consumer.share != share:
                    share, waiting, at, said = consumer.share, {}, {}, {}
                now_ms = self._now_ms()
                dead = []
                for record in records:
                    at[record.partition] = record.offset
                    if self._is_device(record.key):
                        continue
                    if record.partition not in waiting:
                        waiting[record.partition] = self._acknowledgements()
                    try:
                        self._one_out(client, waiting[record.partition], record, now_ms)
                    except (BadRecord, ValueError) as error:  # ValueError: no name of a node
                        letter = Dead.of("out", str(error), record.value, record.at_ms)
                        dead.append(New(topics.DEAD, record.key, letter.encode()))
                done = []
                for partition, tokens in waiting.items():
                    for packet in tokens.due(now_ms):
                        self._send(client, packet)
                    offset = tokens.done(at[partition])
                    if offset > said.get(partition, -1):
                        said[partition] = offset
                        done.append(Done(GROUP, topics.OUT, offset, partition))
                if done or dead:
                    await self._bus.append(dead, done)

    def _is_device(self, key: str) -> bool:
        """Whether it is of a LoRaWAN network server: no edge node hears it here."""
        chirpstack = self._config.chirpstack
        return bool(chirpstack.host) and key.startswith(f"{chirpstack.group}/")

    def _acknowledgements(self) -> Acknowledgements:
        c = self._config.ingest
        return Acknowledgements(c.stored_batch, c.stored_within_s)

    def _one_out(
        self, client: Client, waiting: Acknowledgements, record: Record, now_ms: int
    ) -> None:
        out = Out.decode(record.value)
        waiting.add(record.key, out.stored, record.offset, record.at_ms)
        if out.rebirth and now_ms - record.at_ms < _STALE_MS:
            # What is stored is not sent again for it.
            for packet in (*waiting.flush(record.key), Packet.rebirth(record.key)):
                self._send(client, packet)
        if out.command:
            self._send(client, Packet.command(record.key, bytes.fromhex(out.command)))

    def _send(self, client: Client, packet: Packet) -> None:
        # Sparkplug's commands are QoS 0: what is lost is sent again.
        if not client.publish(packet.topic, packet.encode(self._now_ms())):
            raise BrokerError("the broker takes nothing")


def _kind(topic: str) -> str:
    """A message's kind as the metrics say it."""
    kind = topic.split("/", 3)[2] if topic.count("/") > 1 else ""
    return kind if kind in KINDS or kind in DEVICE_KINDS else "other"
