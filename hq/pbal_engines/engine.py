"""What engines have in common: services that start, wait and stop together, and kept ports.

A new engine is a `Services` with `start` and `told`; see the package's own words.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from pbal_engines.errors import NotStarted
from pbal_engines.service import Service, free_port


class Services:
    """An engine of several processes on this computer.

    Parameters
    ----------
    folder : its own; data in it are kept over restarts.
    lasting : whether it goes on when this process ends (`pbal-hq lab up`).
    """

    def __init__(self, folder: Path, *, lasting: bool = False) -> None:
        self.folder = folder
        self.lasting = lasting
        self.services: list[Service] = []

    def start_all(self, wait: Callable[[], object]) -> None:
        """Start every service, then wait; all are stopped where that fails. Raises EngineError."""
        try:
            for service in self.services:
                service.start()
            wait()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop all services, the latest first."""
        for service in reversed(self.services):
            service.stop()


def kept_ports(folder: Path, count: int) -> list[int]:
    """So many ports of this computer: drawn at first, then the same, in ports.json."""
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "ports.json"
    try:
        found = json.loads(kept.read_text())
    except (OSError, ValueError):
        found = []
    ports = [port for port in found if isinstance(port, int)] if isinstance(found, list) else []
    while len(ports) < count:
        port = free_port()
        if port not in ports:
            ports.append(port)
    kept.write_text(json.dumps(ports))
    return ports[:count]


def run_once(
    words: Sequence[str], what: str, seconds: float, env: Mapping[str, str] | None = None
) -> str:
    """Run a program that ends by itself; what it said. Raises NotStarted with its last words.

    `what` it was to do, for the error: "Kafka's storage could not be made". `env`: as of Service.
    """
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=seconds, stdin=subprocess.DEVNULL,
            env={**os.environ, **(env or {})},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NotStarted(f"{what}: it took more than {seconds:.0f} s") from None
    if done.returncode:
        raise NotStarted(f"{what}: {(done.stderr.strip() or done.stdout.strip())[-2000:]}")
    return done.stdout
