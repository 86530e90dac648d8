"""Apache ZooKeeper on this computer, for the engines that need one."""

from __future__ import annotations

from pathlib import Path

from pbal_engines import java
from pbal_engines.artifacts import classpath
from pbal_engines.service import Service

_HERE = "127.0.0.1"


def zookeeper(folder: Path, port: int, *, heap_mb: int = 96, lasting: bool = False) -> Service:
    """One server, for this computer alone; data in `folder` are kept. Raises EngineError."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "zoo.cfg"
    file.write_text(
        f"tickTime=2000\ndataDir={folder}/data\nclientPort={port}\nclientPortAddress={_HERE}\n"
        "admin.enableServer=false\nmaxClientCnxns=0\n"
    )
    words = java.command(
        "org.apache.zookeeper.server.quorum.QuorumPeerMain", [file],
        classpath=classpath("zookeeper"), heap_mb=heap_mb,
    )  # fmt: skip
    return Service("zookeeper", words, folder, lasting=lasting)
