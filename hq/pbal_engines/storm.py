"""Apache Storm: ZooKeeper, Nimbus and a Supervisor that starts workers; or all in one Java.

Everything listens on this computer alone: Storm as it comes asks nobody who they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import zipfile
from pathlib import Path

from pbal_engines import java
from pbal_engines.artifacts import cache, classpath, fetched
from pbal_engines.engine import Services, kept_ports, run_once
from pbal_engines.errors import Missing
from pbal_engines.service import Service, port_open
from pbal_engines.zookeeper import zookeeper

_HERE = "127.0.0.1"
_START_S = 180.0
_FLUX = "org.apache.storm.flux.Flux"
_DAEMON = "org.apache.storm.daemon"
_LOGGING = """\
<Configuration><Appenders>APPENDER<PatternLayout pattern="%d %p %c{1.} %m%n"/>END</Appenders>
<Loggers><Root level="INFO"><AppenderRef ref="log"/></Root></Loggers></Configuration>
"""
_APPENDERS = {
    "cluster": ('<Console name="log">', "</Console>"),
    # Beside the worker's own id, where the Supervisor looks for it.
    "worker": (
        '<File name="log" fileName="${sys:workers.artifacts}/${sys:storm.id}/${sys:worker.port}'
        '/worker.log">',
        "</File>",
    ),
}


class Storm(Services):
    """A cluster on this computer.

    Parameters
    ----------
    folder : its own; data in it are kept over restarts.
    heap_mb : of Nimbus, and of the Supervisor.
    slots : how many workers at most.
    """

    def __init__(
        self, folder: Path, *, heap_mb: int = 192, slots: int = 2, lasting: bool = False
    ) -> None:
        super().__init__(folder, lasting=lasting)
        self._heap_mb = heap_mb
        self._slots = slots
        self._ports: list[int] = []
        self._jars = ""

    @property
    def nimbus(self) -> str:
        """HOST:PORT of Nimbus."""
        return f"{_HERE}:{self._ports[1]}"

    def told(self) -> dict[str, str]:
        """What a client needs, in words."""
        return {"nimbus": self.nimbus, "settings": str(self._home / "conf" / "storm.yaml"),
                "topologies": str(topology_jar())}  # fmt: skip

    def start(self) -> None:
        """Start all and wait until topologies can be submitted. Raises EngineError."""
        self._ports = kept_ports(self.folder, 2 + self._slots)
        self._configure()
        self._jars = f"{self._home}/conf:{classpath('storm-server')}"
        keeper = zookeeper(self.folder / "zookeeper", self._ports[0], lasting=self.lasting)
        nimbus = self._words(f"{_DAEMON}.nimbus.Nimbus", {"daemon.name": "nimbus"})
        supervisor = self._words(f"{_DAEMON}.supervisor.Supervisor", {"daemon.name": "supervisor"})
        reaper = [sys.executable, "-m", "pbal_engines.reaper"]
        daemons = [
            Service("nimbus", nimbus, self.folder / "nimbus", lasting=self.lasting),
            Service("supervisor", [*reaper, *supervisor], self.folder / "supervisor",
                    lasting=self.lasting),
        ]  # fmt: skip
        self.services = [keeper, *daemons]
        self.start_all(self._wait)

    def submit(self, topology: Path) -> None:
        """Start a topology that Flux reads. Raises NotStarted."""
        jar = topology_jar()
        words = java.command(
            _FLUX, ["--remote", topology], classpath=f"{self._jars}:{jar}", heap_mb=256,
            properties={**self._properties(), "storm.jar": jar},
        )  # fmt: skip
        run_once(words, f"Storm did not take {topology}", _START_S)

    def workers(self) -> list[int]:
        """The process ids of the workers that run."""
        files = (self._home / "local" / "workers").glob("*/pids/*")
        return [int(file.name) for file in files if Path("/proc", file.name).exists()]

    def kill_workers(self) -> int:
        """End all workers at once, as crashes would; the Supervisor starts others. How many."""
        found = self.workers()
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(found)

    def _wait(self) -> None:
        self.services[0].wait(port_open(self._ports[0]), "open port", _START_S)
        self.services[1].wait(port_open(self._ports[1]), "open port", _START_S)

    @property
    def _home(self) -> Path:
        return self.folder / "home"

    def _properties(self) -> dict[str, str | Path]:
        home = self._home
        return {
            "storm.home": home, "storm.log.dir": home / "logs", "storm.options": "",
            "storm.conf.file": "", "log4j2.configurationFile": home / "log4j2" / "cluster.xml",
        }  # fmt: skip

    def _words(self, main: str, more: dict[str, str]) -> list[str]:
        return java.command(
            main, classpath=self._jars, heap_mb=self._heap_mb,
            properties={**self._properties(), **more},
        )  # fmt: skip

    def _configure(self) -> None:
        home = make_home(self._home)
        settings = {
            "storm.zookeeper.servers": [_HERE], "storm.zookeeper.port": self._ports[0],
            "nimbus.seeds": [_HERE], "nimbus.thrift.port": self._ports[1],
            "storm.local.hostname": _HERE, "storm.local.dir": str(home / "local"),
            "supervisor.slots.ports": self._ports[2:],
            "supervisor.memory.capacity.mb": 3072.0, "supervisor.cpu.capacity": 400.0,
            "topology.worker.logwriter.childopts": "-Xmx32m", "worker.heap.memory.mb": 256,
            "storm.metrics.reporters": [], "nimbus.childopts": "", "supervisor.childopts": "",
            # A worker that is gone is noticed within seconds.
            "supervisor.monitor.frequency.secs": 1, "nimbus.monitor.freq.secs": 2,
        }  # fmt: skip
        # JSON is YAML.
        (home / "conf" / "storm.yaml").write_text(json.dumps(settings, indent=1))


def make_home(home: Path) -> Path:
    """A STORM_HOME: logging, and the jars that workers get."""
    for name in ("conf", "log4j2", "logs", "extlib", "bin"):
        (home / name).mkdir(parents=True, exist_ok=True)
    link = home / "lib-worker"
    link.unlink(missing_ok=True)
    link.symlink_to(fetched("storm-client"))
    for name, (appender, end) in _APPENDERS.items():
        text = _LOGGING.replace("APPENDER", appender).replace("END", end)
        (home / "log4j2" / f"{name}.xml").write_text(text)
    return home


def local(folder: Path, topology: Path, *, heap_mb: int = 384) -> Service:
    """A topology in one Java, with a ZooKeeper and a Nimbus of its own. Raises EngineError."""
    home, jar = make_home(folder / "home"), topology_jar()
    words = java.command(
        "org.apache.storm.LocalCluster", [_FLUX, "--remote", topology],
        classpath=f"{jar}:{classpath('storm-server')}", heap_mb=heap_mb,
        properties={
            "storm.home": home, "storm.jar": jar, "storm.local.sleeptime": "100000",
            "log4j2.configurationFile": home / "log4j2" / "cluster.xml",
        },
    )  # fmt: skip
    return Service("storm-local", words, folder / "local")


def topology_jar() -> Path:
    """What topologies of ours are made of, as the one jar that Storm ships to workers.

    Raises EngineError.
    """
    jars = fetched("storm-topology")
    made = cache() / f"{jars.name}.jar"
    if made.exists():
        return made
    try:
        with (
            tempfile.NamedTemporaryFile(dir=cache(), prefix=".making-", delete=False) as file,
            zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out,
        ):
            _merge(sorted(jars.glob("*.jar")), out)
        Path(file.name).rename(made)
    except OSError as error:
        raise Missing(f"{made}: {error.strerror or error}") from None
    return made


def _merge(jars: list[Path], out: zipfile.ZipFile) -> None:
    # Storm wants the folder, and unpacks it for programs that are not Java.
    out.writestr("resources/README", "Bolts in Python are installed on the workers.\n")
    seen = set()
    for path in jars:
        with zipfile.ZipFile(path) as jar:
            for each in jar.infolist():
                name = each.filename
                signed = name.startswith("META-INF/") and name.endswith((".SF", ".RSA", ".DSA"))
                other = name.startswith(("META-INF/MANIFEST", "META-INF/INDEX", "module-info"))
                if not (name in seen or each.is_dir() or signed or other):
                    seen.add(name)
                    out.writestr(each, jar.read(name))
