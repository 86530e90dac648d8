"""Processes of one role of HQ, for the large profile of `bench.hq`."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from bench import _hq_sites as load
from bench._hq_engines import Place
from bench._processors import tree_cpu_s

WAIT_S = 900.0


class Role:
    """Processes of one role, in one group of the bus."""

    def __init__(self, place: Place, name: str, group: str, words: list[str] | None = None) -> None:
        self._place, self.name, self.group = place, name, group
        code = "from pbal_hq.cli import main; main()"
        self._words = words or ["-c", code, "run", name, "-c", str(place.file)]
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, ready: str = "HQ runs") -> None:
        """One process more; returns when it is in the group."""
        path = self._place.folder / f"{self.name}-{len(self._processes)}.log"
        with path.open("wb") as log:
            process = subprocess.Popen([sys.executable, *self._words], stdout=log, stderr=log)
        self._processes.append(process)
        load.wait_for_words(path, ready, lambda: process.poll() is not None, WAIT_S)
        if self.group:
            until(lambda: self._place.members(self.group) == len(self._processes), self.name)

    def stop(self) -> None:
        """End all of them."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait(60)
        self._processes.clear()

    def cpu_s(self) -> float:
        """Processor time of all of them so far."""
        return sum(self.each_cpu_s())

    def each_cpu_s(self) -> list[float]:
        """Of each of them."""
        return [tree_cpu_s(process.pid) for process in self._processes]


def until(is_so: Callable[[], bool], what: str, every_s: float = 0.5) -> None:
    """Wait for it."""
    end = time.monotonic() + WAIT_S
    while not is_so():
        if time.monotonic() > end:
            raise SystemExit(f"{what}: not done in {WAIT_S:.0f} s")
        time.sleep(every_s)


@contextlib.contextmanager
def roles(*some: Role) -> Iterator[None]:
    """End them at last."""
    try:
        yield
    finally:
        for role in some:
            role.stop()
