"""Apache HDFS: a NameNode and a DataNode, with WebHDFS.

Without Kerberos, as Hadoop comes: whoever reaches its ports is who they say they are, so both
listen on this computer alone. Users and their rights are checked all the same.
"""

from __future__ import annotations

import getpass
import json
import urllib.request
from pathlib import Path
from xml.sax.saxutils import escape

from pbal_engines import java
from pbal_engines.artifacts import classpath
from pbal_engines.engine import Services, kept_ports, run_once
from pbal_engines.service import Service

_START_S = 240.0
_HERE = "127.0.0.1"
_PACKAGE = "org.apache.hadoop.hdfs.server"
_OPENS = ("java.lang", "java.util", "java.nio")
_LOGGING = """\
log4j.rootLogger=WARN,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d %p %c{2} %m%n
"""
_PORTS = ("rpc", "http", "data", "data_http", "data_ipc")


class Hdfs(Services):
    """A cluster of one NameNode and one DataNode on this computer.

    Parameters
    ----------
    folder : its own; data in it are kept over restarts.
    heap_mb : of each of the two.
    """

    def __init__(self, folder: Path, *, heap_mb: int = 256, lasting: bool = False) -> None:
        super().__init__(folder, lasting=lasting)
        self._heap_mb = heap_mb
        self._ports: dict[str, int] = {}
        self._jars = ""

    @property
    def user(self) -> str:
        """Who may do everything: the user who started it."""
        return getpass.getuser()

    @property
    def rpc(self) -> str:
        """HOST:PORT of its own protocol: hdfs://HOST:PORT/..."""
        return f"{_HERE}:{self._ports['rpc']}"

    @property
    def http(self) -> str:
        """HOST:PORT of WebHDFS."""
        return f"{_HERE}:{self._ports['http']}"

    def told(self) -> dict[str, str]:
        """What a client needs, in words."""
        return {"hdfs": f"hdfs://{self.rpc}", "webhdfs": f"webhdfs://{self.http}"}

    def start(self) -> None:
        """Start both and wait until files can be written. Raises EngineError."""
        self._configure()
        self._jars = classpath("hdfs")  # once: every jar is hashed
        name, data = self.folder / "namenode", self.folder / "datanode"
        if not (name / "data").exists():
            format_ = self._words("namenode.NameNode", "-format", "-nonInteractive")
            run_once(format_, "HDFS could not be formatted", _START_S)
        self.services = [
            Service("namenode", self._words("namenode.NameNode"), name, lasting=self.lasting),
            Service("datanode", self._words("datanode.DataNode"), data, lasting=self.lasting),
        ]
        self.start_all(lambda: self.services[1].wait(self._takes_files, "live DataNode", _START_S))

    def _takes_files(self) -> bool:
        """Whether the NameNode knows its DataNode, and is out of its safe mode."""
        query = "Hadoop:service=NameNode,name=FSNamesystemState"
        try:
            with urllib.request.urlopen(f"http://{self.http}/jmx?qry={query}", timeout=5) as answer:
                (state,) = json.load(answer)["beans"]
        except (OSError, ValueError):
            return False
        return bool(state["NumLiveDataNodes"] == 1 and state["FSState"] == "Operational")

    def _configure(self) -> None:
        conf = self.folder / "conf"
        # The jars have no web pages; empty folders on the class path do for WebHDFS.
        for page in ("hdfs", "datanode", "secondary", "static"):
            (conf / "webapps" / page).mkdir(parents=True, exist_ok=True)
        drawn = kept_ports(self.folder, len(_PORTS))
        ports = self._ports = dict(zip(_PORTS, drawn, strict=True))
        _write(conf / "core-site.xml", {
            "fs.defaultFS": f"hdfs://{self.rpc}", "hadoop.tmp.dir": self.folder / "tmp",
        })  # fmt: skip
        _write(conf / "hdfs-site.xml", {
            "dfs.replication": 1,
            "dfs.namenode.name.dir": f"file://{self.folder}/namenode/data",
            "dfs.datanode.data.dir": f"file://{self.folder}/datanode/data",
            "dfs.namenode.http-address": self.http,
            "dfs.datanode.address": f"{_HERE}:{ports['data']}",
            "dfs.datanode.http.address": f"{_HERE}:{ports['data_http']}",
            "dfs.datanode.ipc.address": f"{_HERE}:{ports['data_ipc']}",
            "dfs.datanode.hostname": _HERE,
            "dfs.namenode.datanode.registration.ip-hostname-check": "false",
            "dfs.permissions.enabled": "true",
        })  # fmt: skip
        (conf / "log4j.properties").write_text(_LOGGING)

    def _words(self, main: str, *arguments: str) -> list[str]:
        return java.command(
            f"{_PACKAGE}.{main}", arguments, heap_mb=self._heap_mb,
            classpath=f"{self.folder / 'conf'}:{self._jars}",
            flags=[f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in _OPENS],
        )  # fmt: skip


def _write(path: Path, settings: dict[str, object]) -> None:
    told = "".join(
        f"<property><name>{name}</name><value>{escape(str(value))}</value></property>\n"
        for name, value in settings.items()
    )
    path.write_text(f"<configuration>\n{told}</configuration>\n")
