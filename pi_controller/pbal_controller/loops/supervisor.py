"""The one place that creates tasks.

Every loop of the controller runs here: restarted with a capped back-off when it fails,
logged once when it fails and once when it works again, and asked for the age of its last
success. Cancelling `run` cancels every loop and waits for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from pbal_controller.errors import JournalError
from pbal_controller.loops import sdnotify
from pbal_controller.loops.backoff import Backoff
from pbal_host import check_cancelled

log = logging.getLogger(__name__)

# A loop that failed counts as working again after it has run this long without failing.
PROBATION_S = 30.0
# The longest pause before a failed loop is tried again.
RETRY_S = 30.0


class Ended(Exception):
    """A loop ends all of them: `Supervisor.run` raises what it raised."""


Beat = Callable[[], None]
LoopBody = Callable[[Beat], Awaitable[None]]


@dataclass
class Loop:
    """One supervised loop. `limit_s`: older than this, its last success is too old."""

    name: str
    body: LoopBody
    limit_s: float
    essential: bool = True
    last_success: float | None = None
    started: float = 0.0
    restarted: float = 0.0
    restarts: int = 0
    failing: str = ""
    outside: bool = False  # the cause of its failures is outside this process
    backoff: Backoff = field(default_factory=lambda: Backoff(0.2, RETRY_S))

    def age_s(self, now: float) -> float:
        """Seconds since the last success, or since the start when there was none."""
        return now - (self.last_success if self.last_success is not None else self.started)


class Supervisor:
    """Holds the loops and runs them."""

    def __init__(self) -> None:
        self.loops: dict[str, Loop] = {}

    def add(
        self, name: str, body: LoopBody, limit_s: float = 60.0, *, essential: bool = True
    ) -> None:
        """Declare a loop; `body(beat)` runs for ever and calls `beat` after each success."""
        self.loops[name] = Loop(name, body, limit_s, essential)

    async def run(self) -> None:
        """Run all loops until cancelled. Raises Ended as a loop raised it."""
        try:
            async with asyncio.TaskGroup() as group:
                for loop in self.loops.values():
                    loop.started = asyncio.get_running_loop().time()
                    group.create_task(self._supervise(loop), name=f"pbal {loop.name}")
        except* Ended as ended:
            why = ended.exceptions[0]
        else:
            return
        raise why

    def late(self, now: float) -> list[str]:
        """Essential loops whose last success is too old."""
        return [
            loop.name
            for loop in self.loops.values()
            if loop.essential and loop.age_s(now) > loop.limit_s
        ]

    def stuck(self, now: float) -> list[str]:
        """Late loops that a restart of the process may help.

        A loop that is retried and fails because the disk is full is not one: a restart
        would only take the status page and the readings away as well.
        """
        return [
            name
            for name in self.late(now)
            if not (loop := self.loops[name]).outside
            or now - loop.restarted > loop.limit_s + RETRY_S
        ]

    async def feed_watchdog(self, beat: Beat) -> None:
        """A loop's body: feeds systemd's watchdog while no essential loop is stuck."""
        pause_s = min(sdnotify.watchdog_interval_s() or 10.0, 10.0)
        while True:
            if not self.stuck(asyncio.get_running_loop().time()):
                sdnotify.notify("WATCHDOG=1")
            beat()
            await asyncio.sleep(pause_s)

    async def _supervise(self, loop: Loop) -> None:
        clock = asyncio.get_running_loop().time

        def beat() -> None:
            check_cancelled()
            loop.last_success = now = clock()
            if loop.failing and now - loop.restarted >= min(PROBATION_S, loop.limit_s):
                log.info("loop works again", extra={"loop": loop.name})
                loop.failing = ""
                loop.outside = False
                loop.backoff.reset()

        while True:
            loop.restarted = clock()
            try:
                await loop.body(beat)
                why, loop.outside = "it returned", False
            except (asyncio.CancelledError, Ended):
                raise
            except Exception as error:
                check_cancelled()
                # Any error: the other loops must go on, and this one be tried again.
                loop.outside = isinstance(error, (JournalError, OSError))
                why = str(error) if loop.outside else f"{type(error).__name__}: {error}"
                if not loop.failing:
                    # An outside cause needs no traceback: its text says what to do.
                    log.error("loop failed", extra={"loop": loop.name, "why": why},
                              exc_info=not loop.outside)  # fmt: skip
            else:
                if not loop.failing:
                    log.error("loop ended", extra={"loop": loop.name})
            loop.failing = why
            loop.restarts += 1
            await asyncio.sleep(loop.backoff.next())
