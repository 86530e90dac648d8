"""Apache Kafka in KRaft mode: one broker or several, each also a controller.

    CLIENTS      SASL_SSL: a client certificate of the authority, and SCRAM-SHA-512
    INTERNAL     SSL: brokers among each other, by their certificate
    CONTROLLER   SSL: the quorum, likewise

TLS 1.3 alone; no port takes who has no certificate. Nobody may do anything without an access rule
but the brokers and the user `admin`.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pbal_engines import java
from pbal_engines.artifacts import classpath
from pbal_engines.engine import Services, kept_ports, run_once
from pbal_engines.service import Service

ADMIN = "admin"
_START_S = 180.0
_LOGGING = """\
<Configuration><Appenders><Console name="c"><PatternLayout pattern="%d %p %c{1} %m%n"/></Console>
</Appenders><Loggers><Logger name="kafka.server.KafkaRaftServer" level="INFO"/>
<Root level="WARN"><AppenderRef ref="c"/></Root></Loggers></Configuration>
"""


@dataclass(frozen=True)
class Tls:
    """Files of a server. `pair`: its key (PKCS#8) and certificate in one PEM file; `name`: the
    certificate's common name. It has to serve both as a server's and as a client's.
    """

    ca: Path
    pair: Path
    name: str


class Kafka(Services):
    """A cluster on this computer.

    Parameters
    ----------
    folder : its own; data in it are kept over restarts.
    tls : of all brokers.
    users : passwords by user name, for SCRAM; read when the cluster is made first. `admin` is the
        one who may do everything.
    brokers : how many.
    heap_mb : of each.
    host : the address of this computer at which they listen, and clients reach them.
    within : what starts a program where that address is, such as a network namespace.
    """

    def __init__(
        self,
        folder: Path,
        tls: Tls,
        users: Mapping[str, str],
        *,
        brokers: int = 1,
        heap_mb: int = 320,
        host: str = "127.0.0.1",
        within: Sequence[str] = (),
        lasting: bool = False,
    ) -> None:
        super().__init__(folder, lasting=lasting)
        self._tls = tls
        self._users = dict(users)
        self._heap_mb = heap_mb
        self._host = host
        self._within = list(within)
        self._count = brokers
        self._ports: list[tuple[int, int, int]] = []

    @property
    def servers(self) -> list[str]:
        """Addresses for clients."""
        return [f"{self._host}:{ports[0]}" for ports in self._ports]

    def told(self) -> dict[str, str]:
        """What a client needs, in words."""
        return {"servers": ",".join(self.servers), "users": ", ".join(self._users)}

    def start(self) -> None:
        """Start all brokers and wait until they take clients. Raises EngineError."""
        drawn = iter(kept_ports(self.folder, 3 * self._count))
        self._ports = list(zip(drawn, drawn, drawn, strict=True))
        jars = classpath("kafka")
        (self.folder / "log4j2.xml").write_text(_LOGGING)
        self.services = [self._prepared(number, jars) for number in range(self._count)]
        self.start_all(self._wait_all)

    def start_one(self, number: int) -> None:
        """Start a broker again that was stopped or killed, and wait for it."""
        self.services[number].start()
        self._wait(number)

    def _wait_all(self) -> None:
        for number in range(self._count):
            self._wait(number)

    def _wait(self, number: int) -> None:
        service = self.services[number]
        service.wait(service.logged("Kafka Server started"), "started broker", _START_S)

    def _prepared(self, number: int, jars: str) -> Service:
        folder = self.folder / f"broker-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "server.properties"
        settings = self._settings(number, folder)
        file.touch(mode=0o600)
        file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        logging = {"log4j2.configurationFile": self.folder / "log4j2.xml"}

        def words(main: str, *arguments: str | Path) -> list[str]:
            return java.command(
                main, arguments, classpath=jars, heap_mb=self._heap_mb, properties=logging
            )

        if not (folder / "data" / "meta.properties").exists():
            scram = [
                word
                for user, password in self._users.items()
                for word in ("--add-scram", f"SCRAM-SHA-512=[name={user},password={password}]")
            ]
            format_ = words(
                "kafka.tools.StorageTool", "format", "-t", self._id(), "-c", file, *scram
            )
            run_once(format_, "Kafka's storage could not be made", _START_S)
        server = [*self._within, *words("kafka.Kafka", file)]
        return Service(f"kafka-{number}", server, folder, lasting=self.lasting)

    def _id(self) -> str:
        """The cluster's id, the same for all of its brokers."""
        kept = self.folder / "cluster.id"
        if not kept.exists():
            kept.write_text(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
        return kept.read_text()

    def _settings(self, number: int, folder: Path) -> dict[str, object]:
        clients, internal, controller = self._ports[number]
        here = self._host
        copies = min(3, self._count)
        in_sync = max(1, copies - 1)
        voters = ",".join(f"{n + 1}@{here}:{ports[2]}" for n, ports in enumerate(self._ports))
        return {
            "process.roles": "broker,controller", "node.id": number + 1,
            "controller.quorum.voters": voters,
            "listeners": f"CLIENTS://{here}:{clients},INTERNAL://{here}:{internal},"
                         f"CONTROLLER://{here}:{controller}",
            "advertised.listeners": f"CLIENTS://{here}:{clients},INTERNAL://{here}:{internal}",
            "controller.listener.names": "CONTROLLER", "inter.broker.listener.name": "INTERNAL",
            "listener.security.protocol.map": "CLIENTS:SASL_SSL,INTERNAL:SSL,CONTROLLER:SSL",
            "ssl.keystore.type": "PEM", "ssl.keystore.location": self._tls.pair,
            "ssl.truststore.type": "PEM", "ssl.truststore.location": self._tls.ca,
            "ssl.enabled.protocols": "TLSv1.3", "ssl.protocol": "TLSv1.3",
            "ssl.client.auth": "required",
            # A listener of kind SASL_SSL ignores ssl.client.auth without its own prefix.
            "listener.name.clients.ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "SCRAM-SHA-512",
            "listener.name.clients.scram-sha-512.sasl.jaas.config":
                "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:CN={self._tls.name};User:{ADMIN}",
            "log.dirs": folder / "data", "auto.create.topics.enable": "false",
            "default.replication.factor": copies, "min.insync.replicas": in_sync,
            "offsets.topic.num.partitions": 4, "offsets.topic.replication.factor": copies,
            "transaction.state.log.num.partitions": 4,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": in_sync,
            "group.initial.rebalance.delay.ms": 0,
            # A broker that is gone is noticed within seconds.
            "broker.session.timeout.ms": 6000, "replica.lag.time.max.ms": 6000,
        }  # fmt: skip
