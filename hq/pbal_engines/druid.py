"""Apache Druid: coordinator (also overlord), broker, historical and indexer, with a ZooKeeper.

Metadata are in Derby and segments in a folder, which is for one computer: everything listens on it
alone, and asks nobody who they are.
"""

from __future__ import annotations

import json
from pathlib import Path

from pbal_engines import java
from pbal_engines.artifacts import classpath, fetched
from pbal_engines.engine import Services, kept_ports
from pbal_engines.service import Service, http_answers, port_open
from pbal_engines.zookeeper import zookeeper

_HERE = "127.0.0.1"
_START_S = 240.0
EXTENSIONS = ("druid-kafka-indexing-service", "druid-datasketches")
LISTS = ("druid", *EXTENSIONS)
_OPENED = (
    "--add-exports=java.base/jdk.internal.misc", "--add-exports=java.base/jdk.internal.ref",
    "--add-opens=java.base/java.nio", "--add-opens=java.base/sun.nio.ch",
    "--add-opens=java.base/jdk.internal.ref", "--add-opens=java.base/java.io",
    "--add-opens=java.base/java.lang", "--add-opens=jdk.management/com.sun.management.internal",
)  # fmt: skip
_LOGGING = """\
<Configuration><Appenders><Console name="c"><PatternLayout pattern="%d %p %c{1.} %m%n"/></Console>
</Appenders><Loggers><Root level="WARN"><AppenderRef ref="c"/></Root></Loggers></Configuration>
"""
# MB of heap and of memory beside it.
_MEMORY = {"coordinator": (288, 128), "broker": (256, 300), "historical": (192, 300),
           "indexer": (640, 400)}  # fmt: skip
_PORTS = ("zookeeper", "metadata", *_MEMORY)


class Druid(Services):
    """A cluster on this computer. `folder` is its own; data in it are kept over restarts."""

    def __init__(self, folder: Path, *, lasting: bool = False) -> None:
        super().__init__(folder, lasting=lasting)
        self._ports: dict[str, int] = {}

    @property
    def broker(self) -> str:
        """The URL that answers SQL."""
        return f"http://{_HERE}:{self._ports['broker']}"

    @property
    def coordinator(self) -> str:
        """The URL that takes supervisors, tasks and rules."""
        return f"http://{_HERE}:{self._ports['coordinator']}"

    def told(self) -> dict[str, str]:
        """What a client needs, in words."""
        return {"broker": self.broker, "coordinator": self.coordinator}

    def start(self) -> None:
        """Start all and wait until each says that it is healthy. Raises EngineError."""
        drawn = kept_ports(self.folder, len(_PORTS))
        self._ports = dict(zip(_PORTS, drawn, strict=True))
        self._configure()
        jars = classpath("druid")
        keeper = zookeeper(
            self.folder / "zookeeper", self._ports["zookeeper"], lasting=self.lasting
        )
        self.services = [keeper, *(self._prepared(name, jars) for name in _MEMORY)]
        self.start_all(self._wait)

    def _wait(self) -> None:
        self.services[0].wait(port_open(self._ports["zookeeper"]), "open port", _START_S)
        for service in self.services[1:]:
            url = f"http://{_HERE}:{self._ports[service.name]}/status/health"
            service.wait(http_answers(url), "health", _START_S)

    def _prepared(self, name: str, jars: str) -> Service:
        conf = self.folder / "conf"
        heap_mb, beside_mb = _MEMORY[name]
        words = java.command(
            "org.apache.druid.cli.Main", ["server", name], heap_mb=heap_mb,
            classpath=f"{conf / name}:{conf}:{jars}",
            properties={
                "user.timezone": "UTC", "file.encoding": "UTF-8",
                "java.io.tmpdir": self.folder / "tmp",
                "java.util.logging.manager": "org.apache.logging.log4j.jul.LogManager",
                "log4j.configurationFile": conf / "log4j2.xml",
            },
            flags=[f"-XX:MaxDirectMemorySize={beside_mb}m",
                   *(f"{each}=ALL-UNNAMED" for each in _OPENED)],
        )  # fmt: skip
        return Service(name, words, self.folder / name, lasting=self.lasting)

    def _configure(self) -> None:
        folder, conf = self.folder, self.folder / "conf"
        extensions = folder / "extensions"
        for each in (conf, folder / "tmp", extensions):
            each.mkdir(parents=True, exist_ok=True)
        for name in EXTENSIONS:
            link = extensions / name
            link.unlink(missing_ok=True)
            link.symlink_to(fetched(name))
        (conf / "log4j2.xml").write_text(_LOGGING)
        metadata = self._ports["metadata"]
        _write(conf / "common.runtime.properties", {
            "druid.extensions.directory": extensions,
            "druid.extensions.loadList": json.dumps(EXTENSIONS), "druid.host": _HERE,
            "druid.zk.service.host": f"{_HERE}:{self._ports['zookeeper']}",
            "druid.metadata.storage.type": "derby",
            "druid.metadata.storage.connector.connectURI":
                f"jdbc:derby://{_HERE}:{metadata}/{folder}/metadata.db;create=true",
            "druid.metadata.storage.connector.host": _HERE,
            "druid.metadata.storage.connector.port": metadata,
            "druid.storage.type": "local", "druid.storage.storageDirectory": folder / "segments",
            "druid.indexer.logs.type": "file", "druid.indexer.logs.directory": folder / "tasks",
            "druid.selectors.indexing.serviceName": "druid/overlord",
            "druid.selectors.coordinator.serviceName": "druid/coordinator",
            "druid.emitter": "noop", "druid.startup.logging.logProperties": "false",
            # Otherwise the historical waits for lookups that nobody has.
            "druid.lookup.enableLookupSyncOnStartup": "false", "druid.sql.enable": "true",
            "druid.processing.numThreads": 1, "druid.processing.numMergeBuffers": 2,
            "druid.processing.buffer.sizeBytes": "20MiB", "druid.server.http.numThreads": 12,
            "druid.coordinator.startDelay": "PT2S", "druid.coordinator.period": "PT2S",
            "druid.manager.segments.pollDuration": "PT2S",
            "druid.manager.rules.pollDuration": "PT2S",
            "druid.indexer.queue.startDelay": "PT1S",
        })  # fmt: skip
        own: dict[str, dict[str, object]] = {
            "coordinator": {
                "druid.coordinator.asOverlord.enabled": "true",
                "druid.coordinator.asOverlord.overlordService": "druid/overlord",
                "druid.indexer.runner.type": "httpRemote", "druid.indexer.storage.type": "metadata",
            },
            "broker": {
                "druid.broker.http.numConnections": 5,
                "druid.sql.planner.metadataRefreshPeriod": "PT2S",
            },
            "historical": {
                "druid.segmentCache.locations":
                    json.dumps([{"path": str(folder / "cache"), "maxSize": "5g"}]),
            },
            "indexer": {
                "druid.worker.capacity": 3, "druid.indexer.task.baseTaskDir": folder / "work",
                "druid.worker.globalIngestionHeapLimitBytes": 200_000_000,
                "druid.worker.numConcurrentMerges": 1,
            },
        }  # fmt: skip
        for name, settings in own.items():
            (conf / name).mkdir(exist_ok=True)
            common = {"druid.service": f"druid/{name}", "druid.plaintextPort": self._ports[name]}
            _write(conf / name / "runtime.properties", {**common, **settings})


def _write(path: Path, settings: dict[str, object]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
