"""A site's uplink as a process that is killed, for the fault campaigns (faults/uplink_site.py)."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from pbal_controller.journal import Journal
from pbal_controller.uplink import outbox
from rigs.needs import PATIENCE_S
from rigs.waiting import until

FIRST_S = 1_700_000_100  # of uplink_site.py
_PROGRAM = str(Path(__file__).resolve().parents[1] / "faults" / "uplink_site.py")


def waiting(journal: Journal) -> int:
    """How much waits for HQ: messages in the outbox, and facts that no message was made of yet."""
    # Facts first: what becomes a message between the two counts is counted twice, and never missed.
    facts = journal.db.execute("SELECT COUNT(*) FROM facts").fetchone()[0]
    return outbox.backlog(journal) + int(facts)


class Site:
    """The process, and what it said that it had written down.

    `how`: journal, port of the broker, authority, certificate and key.
    """

    def __init__(self, *how: object) -> None:
        self._how = [str(each) for each in how]
        self.summaries: list[int] = []
        self.commands: list[int] = []
        self._next = 0
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, count: int) -> None:
        """Run it; it makes so many summaries."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, _PROGRAM, *self._how, str(count), str(self._next),
            stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert self._process.stdout is not None
        self._reading = asyncio.create_task(self._read(self._process.stdout))

    async def _read(self, out: asyncio.StreamReader) -> None:
        async for line in out:
            words = line.decode().split()
            if len(words) == 2:
                (self.summaries if words[0] == "S" else self.commands).append(int(words[1]))

    async def drained(self, seconds: float = PATIENCE_S) -> None:
        """Nothing new from now on; waits until HQ has all that is written down."""
        await self.kill()
        await self.start(0)
        journal = Journal(Path(self._how[0]))
        try:
            await until(lambda: waiting(journal) == 0, seconds)
        finally:
            journal.close()

    async def kill(self) -> None:
        """SIGKILL, where it runs."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.kill()
        await self._process.wait()
        await self._reading
        if self.summaries:
            self._next = (self.summaries[-1] - FIRST_S) // 300 + 1
