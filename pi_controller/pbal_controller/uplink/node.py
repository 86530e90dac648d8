"""A Sparkplug B edge node without clock or port: topics and payloads out, intents in.

Sequence numbers follow Sparkplug 3.0: `seq` is 0 in NBIRTH and one more, modulo 256, in each NDATA;
`bdSeq` is the same in the will (NDEATH) that a connection registers and in its births, and another
in the next connection.

    offline --connecting()--> waiting --birth()--> born --death()--> offline
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from pbal_uplink import BadMessage, Message, State, metrics, sparkplug
from pbal_uplink.sparkplug import Metric, Payload


class Stage(enum.Enum):
    """Where a node is in its session."""

    OFFLINE = 1
    WAITING = 2  # connected, not born: the primary host is not online
    BORN = 3


@dataclass(frozen=True)
class Packet:
    """One MQTT message."""

    topic: str
    payload: bytes


@dataclass
class Intents:
    """What a received message asks for."""

    rebirth: bool = False
    stored: list[int] = field(default_factory=list)
    commands: list[bytes] = field(default_factory=list)
    host: bool | None = None  # the primary host is online, or no longer
    device: str = ""  # of this node, for which it is
    trouble: str = ""  # what was wrong with it


class EdgeNode:
    """One site's session with a broker. `devices`: it speaks for other sites, too."""

    def __init__(
        self,
        group: str,
        node: str,
        form: str,
        wall: Callable[[], float],
        primary_host: str = "",
        *,
        devices: bool = False,
    ) -> None:
        self._devices = devices
        self._group = group
        self._node = node
        self._plain = form == "plain"
        self._wall = wall
        self._host = primary_host
        self._host_ms = -1
        self._seq = 0
        self._bdseq = 0
        self.stage = Stage.OFFLINE

    def _ms(self) -> int:
        return int(self._wall() * 1000)

    def _topic(self, kind: str, device: str = "") -> str:
        return sparkplug.topic(self._group, kind, self._node, device)

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """What to subscribe to, in order, before the birth."""
        own: tuple[str, ...] = (self._topic("NCMD"),)
        if self._devices:
            own = (*own, self._topic("DCMD", "+"))
        return (*own, sparkplug.state_topic(self._host)) if self._host else own

    def connecting(self, bdseq: int) -> Packet:
        """A new connection with this bdSeq: the will that it registers."""
        self._bdseq = bdseq
        self._host_ms = -1
        self.stage = Stage.WAITING
        return self._death()

    def _death(self) -> Packet:
        metric = Metric(sparkplug.BDSEQ, self._bdseq, sparkplug.INT64, timestamp=self._ms())
        return Packet(
            self._topic("NDEATH"), sparkplug.encode(Payload((metric,), timestamp=self._ms()))
        )

    def death(self) -> Packet:
        """The end of the session, sent by the node itself."""
        self.stage = Stage.OFFLINE
        return self._death()

    def birth(self, state: State) -> Packet:
        """The birth, also a repeated one."""
        now = self._ms()
        form = metrics.plain if self._plain else metrics.packed
        made = (
            Metric(sparkplug.BDSEQ, self._bdseq, sparkplug.INT64, timestamp=now),
            Metric(sparkplug.REBIRTH, False, sparkplug.BOOLEAN, timestamp=now),
            *form(state, now),
            *(
                metric
                for cls in metrics.SENT
                if cls is not State
                for metric in metrics.announced(cls, now, in_plain=self._plain)
            ),
        )
        self._seq = 0
        self.stage = Stage.BORN
        return Packet(self._topic("NBIRTH"), sparkplug.encode(Payload(made, timestamp=now, seq=0)))

    def data(self, message: Message, at_s: float, historical: bool) -> Packet:
        """One message as NDATA. `at_s`: the time its content refers to."""
        form = metrics.plain if self._plain else metrics.packed
        made = tuple(m.under_alias() for m in form(message, int(at_s * 1000), historical))
        payload = Payload(made, timestamp=self._ms(), seq=self._next_seq())
        return Packet(self._topic("NDATA"), sparkplug.encode(payload, types=False))

    def _next_seq(self) -> int:
        assert self.stage is Stage.BORN, "no data before a birth"
        self._seq = (self._seq + 1) % 256
        return self._seq

    # -- devices: their messages count in the node's sequence (Sparkplug 3.0, 6.4.20) -------------

    def device_birth(self, device: str, state: State | None) -> Packet:
        """A device is there. Aliases would have to differ from the node's, so it has none."""
        now = self._ms()
        form = metrics.plain if self._plain else metrics.packed
        made = () if state is None else form(state, now)
        for cls in metrics.SENT:
            if cls is not State or state is None:
                made += metrics.announced(cls, now, in_plain=self._plain)
        return self._of_device("DBIRTH", device, made)

    def device_data(
        self, device: str, message: Message, at_s: float, *, historical: bool
    ) -> Packet:
        """One message of a device as DDATA."""
        form = metrics.plain if self._plain else metrics.packed
        return self._of_device("DDATA", device, form(message, int(at_s * 1000), historical))

    def device_death(self, device: str) -> Packet:
        """A device is no longer there."""
        return self._of_device("DDEATH", device, ())

    def _of_device(self, kind: str, device: str, made: tuple[Metric, ...]) -> Packet:
        named = tuple(replace(metric, alias=None) for metric in made)
        payload = Payload(named, timestamp=self._ms(), seq=self._next_seq())
        return Packet(self._topic(kind, device), sparkplug.encode(payload))

    def received(self, topic: str, payload: bytes) -> Intents:
        """What a message on a subscribed topic asks for."""
        try:
            if self._host and topic == sparkplug.state_topic(self._host):
                return self._state(payload)
            if topic == self._topic("NCMD"):
                return self._commands(payload)
            if self._devices and topic.startswith(self._topic("DCMD", "") + "/"):
                intents = self._commands(payload)
                intents.device = topic.rpartition("/")[2]
                return intents
        except BadMessage as error:
            return Intents(trouble=str(error))
        return Intents(trouble=f"nothing was expected on {topic}")

    def _state(self, payload: bytes) -> Intents:
        online, at_ms = sparkplug.read_state(payload)
        # An older message that came late, such as a retained one, brings nothing new.
        if at_ms < self._host_ms:
            return Intents()
        self._host_ms = at_ms
        return Intents(host=online)

    def _commands(self, payload: bytes) -> Intents:
        out = Intents()
        for metric in sparkplug.decode(payload).metrics:
            if metric.name == sparkplug.REBIRTH:
                out.rebirth |= metric.value is True
            elif metric.name == sparkplug.STORED and isinstance(metric.value, tuple):
                out.stored += metric.value
            elif metric.name == sparkplug.COMMAND and isinstance(metric.value, bytes):
                out.commands.append(metric.value)
            else:
                out.trouble = f"{metric.name!r} is no metric that can be written"
        return out
