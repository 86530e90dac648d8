"""Sites over LoRaWAN: what ChirpStack's MQTT integration says of its devices, onto the bus; HQ's
orders for them, into ChirpStack's queues.

A device is a site whose node is its DevEUI, in the group of the configuration. Payloads are brief
messages (`pbal_uplink.brief`) and are read with pbal's own declarations; what a codec in ChirpStack
makes of them is not looked at. An event is acknowledged to the broker when its message is durable
on the bus, and the broker keeps them while HQ is away.

Who a device is, is ChirpStack's word: it knows the device's key, and a payload of 51 bytes has no
room for a seal of ours (docs/security.md).

Orders are signed by HQ, so ChirpStack can keep one back and cannot make one. That a message is
stored is not said down there: it would cost the network's gateways a downlink for each.

Form of an event: ChirpStack 4, integration.UplinkEvent as JSON, topic
`application/APPLICATION/device/DEVEUI/event/up`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pbal_hq.bus import Bus, New, Record, done_with, topics
from pbal_hq.ca import client_context
from pbal_hq.config import ChirpstackConfig
from pbal_hq.database import Database
from pbal_hq.errors import BrokerError, CertificateError
from pbal_hq.ingest.client import Arrived, Client
from pbal_hq.ingest.downlinks import Downlink, Downlinks
from pbal_hq.ingest.wording import BadRecord, Dead, Message, Out, Presence
from pbal_uplink import BadMessage, Event, State, Summary, brief, metrics, names
from pbal_uplink import Message as Said

log = logging.getLogger(__name__)

NAME = "pbal-hq-chirpstack"
GROUP = "chirpstack"
UP_PORT = 10
_TICK_S = 1.0
# LoRaWAN says nothing of it: what is older than this had waited at the site.
_LATE_MS = 3_600_000
_TOPIC: dict[type[Said], str] = {Summary: topics.SUMMARY, Event: topics.EVENT}


@dataclass(frozen=True)
class Uplink:
    """A device's payload. `dev_eui`: 16 small hex digits; `application`: ChirpStack's id."""

    application: str
    dev_eui: str
    port: int
    data: bytes


def read(topic: str, payload: bytes) -> Uplink | None:
    """What an event brings; None without a payload (LoRaWAN's own). Raises BadMessage."""
    parts = topic.split("/")
    if len(parts) != 6 or (parts[0], parts[2], *parts[4:]) != (
        "application", "device", "event", "up",
    ):  # fmt: skip
        raise BadMessage(f"{topic[:100]}: no topic of ChirpStack's uplinks")
    try:
        event: Any = json.loads(payload)
        name = str(event["deviceInfo"]["devEui"]).lower()
        data = base64.b64decode(event.get("data", ""), validate=True)
        port = int(event.get("fPort", 0))
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
        raise BadMessage(
            "no uplink event as JSON; is json=true set in ChirpStack's MQTT integration?"
        ) from None
    if name != parts[3].lower():
        raise BadMessage(f"the event of {name[:32]} came as one of {parts[3][:32]}")
    return Uplink(parts[1], name, port, data) if data else None


def _said(uplink: Uplink, site: int) -> Said:
    """Its message. Raises BadMessage."""
    if uplink.port != UP_PORT:
        raise BadMessage(f"fPort {uplink.port}: pbal sends on {UP_PORT}")
    return brief.decode(uplink.data, site)


def _is_late(said: Said, now_ms: int) -> bool:
    fields = said.as_dict()
    at_s = fields["start_s"] + fields["length_s"] if isinstance(said, Summary) else fields["at_s"]
    return now_ms - int(at_s) * 1000 > _LATE_MS


class Chirpstack:
    """One connection to ChirpStack's broker; the supervisor makes a new one after it ends."""

    def __init__(
        self,
        bus: Bus,
        database: Database,
        config: ChirpstackConfig,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._bus = bus
        self._database = database
        self._config = config
        self._wall = wall
        self._heard: dict[str, int] = {}  # key -> ms; the sites that are online
        self._downlinks = Downlinks(config.application)

    def _context(self) -> ssl.SSLContext:
        c = self._config
        assert c.ca is not None, "the tables see to it"
        assert c.certificate is not None
        try:
            return client_context(c.ca, c.certificate, c.key)
        except OSError as error:
            raise CertificateError(
                f"chirpstack: {c.ca}, {c.certificate}, {c.key}: cannot be used: {error}"
            ) from None

    async def run(self, beat: Callable[[], None]) -> None:
        """One connection until it ends. Raises BrokerError, BusError, CertificateError,
        psycopg.Error.
        """
        c = self._config
        client = Client(c.host, c.port, NAME, self._context(), will=None, keepalive_s=60)
        await self._begin()
        try:
            await client.open([f"application/{c.application or '+'}/device/+/event/up"])
            log.info("ChirpStack's broker is there", extra={"host": c.host, "port": c.port})
            async with asyncio.TaskGroup() as group:
                group.create_task(self._inward(client, beat), name="pbal-hq chirpstack in")
                group.create_task(self._outward(client), name="pbal-hq chirpstack out")
        except ExceptionGroup as group_error:
            raise group_error.exceptions[0] from None
        finally:
            await client.close()

    async def _inward(self, client: Client, beat: Callable[[], None]) -> None:
        while True:
            found = await client.arrived(_TICK_S)
            down: list[Downlink] = []
            out = await self.batch(found, down) + self._silent()
            if out:
                await self._bus.append(out)
            client.acknowledge(found)
            self._send(client, down)
            beat()

    async def _outward(self, client: Client) -> None:
        async with self._bus.consumer(GROUP, (topics.OUT,)) as consumer:
            while True:
                records = await consumer.take(500, _TICK_S)
                if not records:
                    continue
                down: list[Downlink] = []
                dead = [letter for each in records if (letter := self._ordered(each, down))]
                self._send(client, down)
                await self._bus.append(dead, done_with(GROUP, records))

    def _ordered(self, record: Record, down: list[Downlink]) -> New | None:
        """What an order puts into ChirpStack's queue; a dead letter where it cannot go."""
        group, _, dev_eui = record.key.partition("/")
        if group != self._config.group:
            return None  # an edge node's: the bridge sends it
        try:
            out = Out.decode(record.value)
            if out.command:
                down += self._downlinks.order(dev_eui, bytes.fromhex(out.command), self._wall())
        except (BadRecord, BadMessage) as error:
            letter = Dead.of("out", str(error), record.value, record.at_ms)
            return New(topics.DEAD, record.key, letter.encode())
        return None

    def _send(self, client: Client, down: list[Downlink]) -> None:
        for each in down:
            if not client.publish(each.topic, each.encode(), qos=1):
                raise BrokerError("ChirpStack's broker takes nothing")

    async def _begin(self) -> None:
        """Which sites were online when HQ last ran."""
        async with self._database.connection() as db:
            rows = await db.execute(
                "SELECT s.node, l.seen_at FROM site s JOIN site_live l ON l.site_id = s.id "
                "WHERE s.group_id = %s AND l.online",
                (self._config.group,),
            )
            self._heard = {
                self._key(node): int(seen.timestamp() * 1000)
                for node, seen in await rows.fetchall()
            }

    def _key(self, node: str) -> str:
        return f"{self._config.group}/{node}"

    async def _sites(self, nodes: set[str]) -> dict[str, int]:
        """The sites' numbers by node."""
        async with self._database.connection() as db:
            rows = await db.execute(
                "SELECT node, id FROM site WHERE device AND group_id = %s AND node = ANY(%s)",
                (self._config.group, list(nodes)),
            )
            return {str(node): int(site) for node, site in await rows.fetchall()}

    async def batch(self, found: list[Arrived], down: list[Downlink]) -> list[New]:
        """The records of these events; `down` gets what is to be sent for them.

        Raises psycopg.Error.
        """
        out: list[New] = []
        read_: list[tuple[Uplink, bytes]] = []
        for each in found:
            try:
                if (uplink := read(each.topic, each.payload)) is not None:
                    read_.append((uplink, each.payload))
            except BadMessage as error:
                node = each.topic.split("/")[3:4] or ["unknown"]
                out.append(self._dead(node[0][:48], str(error), each.payload))
        sites = await self._sites({uplink.dev_eui for uplink, _ in read_}) if read_ else {}
        for uplink, payload in read_:
            site = sites.get(uplink.dev_eui)
            out += self._one(uplink, site, payload)
            if site is not None:
                down += self._downlinks.heard(uplink.dev_eui, uplink.application, self._wall())
        return out

    def _one(self, uplink: Uplink, site: int | None, payload: bytes) -> list[New]:
        key, now_ms = self._key(uplink.dev_eui), int(self._wall() * 1000)
        if site is None:
            return [self._dead(uplink.dev_eui, "no site has this DevEUI as its node", payload)]
        try:
            said = _said(uplink, site)
        except BadMessage as error:
            return [self._dead(uplink.dev_eui, str(error), payload)]
        if isinstance(said, Event) and said.kind == names.KIND_ANSWER:
            self._downlinks.answered(uplink.dev_eui, said.command_id)
        kept = Message(
            f"{metrics.token(said):016x}", now_ms, _is_late(said, now_ms), said.as_dict()
        )
        out = [New(_TOPIC.get(type(said), topics.STATE), key, kept.encode())]
        if key not in self._heard:
            state = kept if isinstance(said, State) else None
            out.insert(0, New(topics.STATE, key, Presence(True, None, now_ms, state).encode()))
        self._heard[key] = now_ms
        return out

    def _silent(self) -> list[New]:
        """The sites that were not heard for long: offline."""
        now_ms = int(self._wall() * 1000)
        gone = [
            key for key, at_ms in self._heard.items()
            if now_ms - at_ms > self._config.silent_s * 1000
        ]  # fmt: skip
        for key in gone:
            del self._heard[key]
        return [New(topics.STATE, key, Presence(False, None, now_ms).encode()) for key in gone]

    def _dead(self, node: str, reason: str, payload: bytes) -> New:
        dead = Dead.of("UP", reason, payload, int(self._wall() * 1000))
        return New(topics.DEAD, self._key(node), dead.encode())
