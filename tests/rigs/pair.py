"""Two controllers on one pair: a port for each, on which it hears the homes and the other."""

import asyncio
import os
import tty
from pathlib import Path
from typing import Any

from pbal_sim.street import Street


class Pair:
    """Two more ports on a street's segment."""

    def __init__(self, device: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._line = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        tty.setraw(self._line)
        self.ports: list[str] = []
        self._masters: list[int] = []
        self._slaves: list[int] = []
        self.bytes_from = [0, 0]
        for _ in range(2):
            master, slave = os.openpty()
            for end in (master, slave):
                tty.setraw(end)
            os.set_blocking(master, False)
            self._masters.append(master)
            self._slaves.append(slave)
            self.ports.append(os.ttyname(slave))
        self._loop.add_reader(self._line, self._pass, self._line)
        for master in self._masters:
            self._loop.add_reader(master, self._pass, master)

    def _pass(self, source: int) -> None:
        try:
            data = os.read(source, 4096)
        except (BlockingIOError, OSError):
            return
        if source != self._line:
            self.bytes_from[self._masters.index(source)] += len(data)
        for end in (self._line, *self._masters):
            if end != source:
                try:
                    os.write(end, data)
                except BlockingIOError:
                    continue  # nobody reads there: a port that is closed

    def close(self) -> None:
        """The two ports are gone."""
        for end in (self._line, *self._masters):
            self._loop.remove_reader(end)
        for end in (self._line, *self._masters, *self._slaves):
            os.close(end)


class OnPort:
    """A street as `bench.site.Site` wants it, with another port, folder and name."""

    def __init__(self, street: Street, device: str, name: str) -> None:
        self._street = street
        self.device = device
        self.name = name
        self.workdir: Path = street.workdir / name
        self.workdir.mkdir(exist_ok=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._street, name)

    async def run(self, name: str, argv: list[str], env: dict[str, str] | None = None) -> int:
        """Under the keeper; its output goes to the street's folder."""
        return await self._street.run(f"{self.name}-{name}", argv, env)


def moved(street: Street) -> int:
    """Changes of phase of all homes."""
    return sum(street.witness.transfers_of(home.index) for home in street.homes)
