"""The MQTT client of HQ's bridges: one connection, whose messages are acknowledged by hand.

paho's network thread hands messages over; while they are not taken it waits, so that the broker and
not this process holds the excess.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from pbal_hq.errors import BrokerError

log = logging.getLogger(__name__)

# The broker keeps our session, and in it what we have not acknowledged, for so long.
_SESSION_S = 7 * 86_400
_IN_FLIGHT = 500  # messages of QoS 1 that may wait for our acknowledgement
_HELD = 5_000  # messages in memory before the network waits
_CONNECT_S = 30.0


@dataclass(frozen=True)
class Arrived:
    """One message. `mid`: for its acknowledgement; 0 where none is due."""

    topic: str
    payload: bytes
    mid: int


class Client:
    """One connection, used once. Raises BrokerError."""

    def __init__(
        self,
        host: str,
        port: int,
        name: str,
        context: ssl.SSLContext,
        *,
        will: tuple[str, bytes] | None,
        keepalive_s: int,
    ) -> None:
        self._host, self._port, self._keepalive_s = host, port, keepalive_s
        self._loop = asyncio.get_running_loop()
        self._mqtt = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=mqtt.MQTTv5,
            manual_ack=True, reconnect_on_failure=False,
        )  # fmt: skip
        self._mqtt.tls_set_context(context)
        if will is not None:
            self._mqtt.will_set(*will, qos=1, retain=True)
        self._mqtt.max_queued_messages_set(0)
        self._mqtt.on_connect = self._on_connect
        self._mqtt.on_disconnect = self._on_disconnect
        self._mqtt.on_message = self._on_message
        self._mqtt.on_subscribe = self._on_subscribe
        self._room = threading.Condition()
        self._held: list[Arrived] = []
        self._news = asyncio.Event()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._subscribed: asyncio.Future[None] = self._loop.create_future()
        self._ended = ""
        self._closing = False

    # -- paho's thread ----------------------------------------------------------------------

    def _tell(self, future: asyncio.Future[None], why: str) -> None:
        def set_it() -> None:
            if not future.done():
                if why:
                    future.set_exception(BrokerError(why))
                else:
                    future.set_result(None)

        self._loop.call_soon_threadsafe(set_it)

    def _on_connect(self, client, userdata, flags, code, properties):  # type: ignore[no-untyped-def]
        self._tell(self._connected, f"the broker says: {code}" if code.is_failure else "")

    def _on_subscribe(self, client, userdata, mid, codes, properties):  # type: ignore[no-untyped-def]
        bad = [str(code) for code in codes if code.is_failure]
        self._tell(self._subscribed, f"the broker says: {bad[0]}" if bad else "")

    def _on_disconnect(self, client, userdata, flags, code, properties):  # type: ignore[no-untyped-def]
        with self._room:
            self._ended = f"the connection to the broker ended: {code}"
        for future in (self._connected, self._subscribed):
            self._tell(future, self._ended)
        self._loop.call_soon_threadsafe(self._news.set)

    def _on_message(self, client, userdata, message):  # type: ignore[no-untyped-def]
        arrived = Arrived(message.topic, bytes(message.payload), message.mid if message.qos else 0)
        with self._room:
            while len(self._held) >= _HELD and not self._closing:
                self._room.wait(1.0)
            first = not self._held
            self._held.append(arrived)
        if first:
            self._loop.call_soon_threadsafe(self._news.set)

    # -- ours -------------------------------------------------------------------------------

    async def open(self, subscriptions: Sequence[str]) -> None:
        """Connect and subscribe (QoS 1)."""
        connect = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        connect.SessionExpiryInterval = _SESSION_S
        connect.ReceiveMaximum = _IN_FLIGHT
        try:
            async with asyncio.timeout(_CONNECT_S):
                await asyncio.to_thread(
                    self._mqtt.connect, self._host, self._port, self._keepalive_s,
                    clean_start=False, properties=connect,
                )  # fmt: skip
                self._mqtt.loop_start()
                await self._connected
                self._mqtt.subscribe([(topic, 1) for topic in subscriptions])
                await self._subscribed
        except (OSError, ValueError) as error:
            raise BrokerError(f"{self._host}:{self._port}: {error or 'no answer'}") from None

    async def close(self) -> None:
        """End the connection without a will; the session stays at the broker."""
        with self._room:
            self._closing = True
            self._room.notify_all()
        self._mqtt.disconnect()
        await asyncio.to_thread(self._mqtt.loop_stop)
        for future in (self._connected, self._subscribed):
            future.cancel()
            if not future.cancelled():
                future.exception()

    async def arrived(self, seconds: float) -> list[Arrived]:
        """What has come, waiting for it; empty when the time is over. Raises BrokerError."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return []
        self._news.clear()
        with self._room:
            found, self._held = self._held, []
            self._room.notify_all()
            if not found and self._ended:
                raise BrokerError(self._ended)
            if self._ended:
                self._news.set()
        return found

    def acknowledge(self, arrived: Sequence[Arrived]) -> None:
        """Acknowledge these: they are stored."""
        for each in arrived:
            if each.mid:
                self._mqtt.ack(each.mid, 1)

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """Send; whether it is on its way."""
        return self._mqtt.publish(topic, payload, qos, retain).rc == mqtt.MQTT_ERR_SUCCESS
