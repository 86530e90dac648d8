"""The contract tests: the same bytes on CPython and on MicroPython."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rigs import needs
from rigs.needs import require_tool

PEER = Path(__file__).with_name("peer.py")


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pbal_protocol compiled as on a node; the directory to import it from."""
    from bench.frame import compile_package

    require_tool("mpy-cross")
    return compile_package(tmp_path_factory.mktemp("node"))


@pytest.fixture(scope="session")
def micropython() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs a script on MicroPython: micropython(script, *arguments, heap=...)."""
    path = require_tool("micropython")

    def run(script: Path, *arguments: object, heap: str = "") -> Any:
        command = [path, *(["-X", f"heapsize={heap}"] if heap else []), str(script)]
        return subprocess.run(
            [*command, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    return run


class Peer:
    """A MicroPython process that does what tests ask of pbal_protocol; see peer.py."""

    def __init__(self, package: Path) -> None:
        self._process = subprocess.Popen(
            [require_tool("micropython"), "-X", "heapsize=192k", str(PEER), str(package)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, task: str, **arguments: object) -> Any:
        """The task's result, or {"error": name of the error it raised}."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"task": task, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the MicroPython peer died"
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.wait(timeout=needs.PATIENCE_S) == 0
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="module")
def peer(package: Path) -> Iterator[Peer]:
    """A MicroPython peer with a node's heap and a node's compiled modules."""
    one = Peer(package)
    yield one
    one.close()
