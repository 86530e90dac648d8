"""A Sparkplug B edge node without clock or port: topics and payloads out, intents in.

Sequence numbers follow Sparkplug 3.0: `seq` is 0 in NBIRTH and one more, modulo 256, in each NDATA;
`bdSeq` is the same in the will (NDEATH) that a connection registers and in its births, and another
in the next connection.

    offline --connecting()--> waiting --birth()--> born --death()--> offline
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, field

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
    trouble: str = ""  # what was wrong with it


class EdgeNode:
    """One site's session with a broker."""

    def __init__(
        self,
        group: str,
        node: str,
        form: str,
        wall: Callable[[], float],
        primary_host: str = "",
    ) -> None:
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

    def _topic(self, kind: str) -> str:
        return sparkplug.topic(self._group, kind, self._node)

    @property
    def subscriptions(self) -> tuple[str, ...]:
        """What to subscribe to, in order, before the birth."""
        own = (self._topic("NCMD"),)
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
        assert self.stage is Stage.BORN, "no data before a birth"
        self._seq = (self._seq + 1) % 256
        form = metrics.plain if self._plain else metrics.packed
        made = tuple(m.under_alias() for m in form(message, int(at_s * 1000), historical))
        payload = Payload(made, timestamp=self._ms(), seq=self._seq)
        return Packet(self._topic("NDATA"), sparkplug.encode(payload, types=False))

    def received(self, topic: str, payload: bytes) -> Intents:
        """What a message on a subscribed topic asks for."""
        try:
            if self._host and topic == sparkplug.state_topic(self._host):
                return self._state(payload)
            if topic == self._topic("NCMD"):
                return self._commands(payload)
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
