"""A street on which things go wrong at random, and the books that must be right all the same.

    chaos = Chaos(street, site, seed, faketime)
    try:
        await chaos.play(300)  # raises ChaosFailed: what went wrong, and all books
    finally:
        await chaos.close()

`play` starts the controller, makes one fault after the other (rigs.chaosfaults), some at the same
time, ends them all, waits until every home is served again, and looks for what nothing explains
(rigs.chaosbooks).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import traceback
from pathlib import Path
from typing import Any

from bench.site import Site
from pbal_sim.street import Street
from rigs.chaosbooks import Books
from rigs.chaosfaults import Faults

BACK_S = 10.0  # after the faults end, every home is closed and read again within so long
_FAULTS_END_S = 120.0  # the last faults, a controller's start on a busy computer among them


class ChaosFailed(AssertionError):
    """A chaos run did not end as it must. Says where, why, and everything the books have."""


class Chaos:
    """`faults` names those to choose from; default: all."""

    def __init__(
        self, street: Street, site: Site, seed: int, faketime: str, faults: list[str] | None = None
    ) -> None:
        self.street = street
        self.site = site
        self._seed = seed
        self.random = random.Random(seed)
        self.faults = Faults(street, site, self.random, faketime)
        self.books = Books(street, site, self.faults)
        self.counts = self.books.counts
        self._wanted = [n for n in self.faults.by_name if faults is None or n in faults]
        self._tasks: set[asyncio.Task[None]] = set()

    async def play(self, seconds: float) -> None:
        """The whole run, with faults for `seconds`. Raises ChaosFailed."""
        stage = "start"
        try:
            await self.start()
            stage = "faults"
            await self.run(seconds)
            stage = "calm"
            await self.calm()
            stage = "check"
            self.books.check()
        except Exception as error:
            why = "".join(traceback.format_exception(error))
            raise ChaosFailed(
                f"seed {self._seed}, at {stage}:\n{why}\n{self.books.account(self._tasks)}"
            ) from None

    async def start(self) -> None:
        """The controller on its port, everything well; returns when every home is read."""
        await self.faults.start()
        homes = len(self.street.homes)
        await self.site.until(lambda s: s["homes_fresh"] == homes, "every home is read", 60)
        self._spawn(self.books.watch_supply(), "supply")

    async def run(self, seconds: float) -> None:
        """Faults at random for `seconds`, and until the last has ended; raises what one raised."""
        end = time.monotonic() + seconds
        under_way: set[asyncio.Task[None]] = set()
        while time.monotonic() < end:
            # Each kind comes early once, then by chance.
            able = [n for n in self._wanted if self.faults.able(n)]
            fresh = [n for n in able if not self.counts[n]]
            name = self.random.choice(fresh or able or self._wanted)
            task = self._spawn(self._one(name), name)
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            await asyncio.sleep(self.random.uniform(0.5, 5.0))
            self._raise_what_failed()
        if under_way:
            await asyncio.wait(under_way, timeout=_FAULTS_END_S)
        self._raise_what_failed()
        left = sorted(task.get_name() for task in under_way)
        assert not left, f"faults that do not end: {left}"

    async def _one(self, name: str) -> None:
        self.counts[name] += 1
        await self.faults.by_name[name]()

    def _spawn(self, work: Any, name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=f"chaos {name}")
        self._tasks.add(task)
        return task

    def _raise_what_failed(self) -> None:
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise AssertionError(f"{task.get_name()} failed: {error!r}") from error

    async def calm(self) -> None:
        """Ends all faults and waits until every home is closed and read again."""
        await self.faults.calm()
        begin = time.monotonic()
        homes = len(self.street.homes)
        await self.site.until(
            lambda s: (
                s["homes_fresh"] == homes and all(h.contacts.closed for h in self.street.homes)
            ),
            "every home is closed and read again",
            BACK_S + 20,
        )
        self.counts["seconds-to-calm"] = round(time.monotonic() - begin)
        await self._settled()

    async def _settled(self) -> None:
        """Until no command is under way."""
        under_way = "('journaled', 'sent', 'accepted', 'done')"
        for _ in range(300):
            if not self.site.query(f"SELECT id FROM commands WHERE state IN {under_way}"):
                return
            await asyncio.sleep(0.1)

    async def close(self) -> None:
        """Ends what the chaos itself started."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.site.stop()
        self.faults.close()


def libfaketime() -> Path | None:
    """The library that steps a program's clock, where it is installed."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
    return found[0] if found else None


def seconds() -> float:
    """How long: PBAL_CHAOS_S, else five minutes in CI and one elsewhere."""
    given = os.environ.get("PBAL_CHAOS_S")
    return float(given) if given else 300.0 if os.environ.get("CI") else 60.0


def seed() -> int:
    """PBAL_CHAOS_SEED, else another one each time."""
    given = os.environ.get("PBAL_CHAOS_SEED")
    return int(given) if given else random.SystemRandom().randrange(1 << 30)
