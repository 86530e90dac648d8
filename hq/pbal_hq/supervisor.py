"""The one place that creates HQ's tasks: each loop is restarted when it fails, with a capped
back-off; its failure and its recovery are logged once each. A loop that needs what may not be there
yet waits for it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import psycopg

from pbal_host import check_cancelled
from pbal_hq import logs
from pbal_hq.awaited import Awaited
from pbal_hq.database import explain
from pbal_hq.errors import HqError

log = logging.getLogger(__name__)

_FIRST_S, _LAST_S = 0.5, 30.0
# A loop that has failed counts as working when it has run so long.
_PROBATION_S = 10.0

Beat = Callable[[], None]
Body = Callable[[Beat], Awaitable[None]]


@dataclass
class Loop:
    """One loop, and its state."""

    name: str
    body: Body
    needs: tuple[Awaited, ...] = ()
    failing: str = ""
    failures: int = 0
    restarts: int = 0
    started: float = 0.0
    success: float | None = None

    @property
    def why(self) -> str:
        """Why it does not work now; "": it does."""
        for need in self.needs:
            if not need.is_there:
                return f"it waits for {need.name}: {need.why or 'not asked yet'}"
        return self.failing


@dataclass(frozen=True)
class RoleState:
    """A loop as it is now.

    success_age_s : since its last success, else since it started.
    why : why it does not work; "": it does.
    """

    name: str
    success_age_s: float
    why: str
    restarts: int

    @property
    def failing(self) -> bool:
        """Whether it does not work, or waits for what it needs."""
        return bool(self.why)


class Supervisor:
    """Holds the loops and runs them."""

    def __init__(self) -> None:
        self.loops: dict[str, Loop] = {}

    def add(self, name: str, body: Body, *needs: Awaited) -> None:
        """Declare a loop: `body(beat)` runs for ever, and calls `beat` after each success; it
        begins when all that it needs is there.
        """
        self.loops[name] = Loop(name, body, needs)

    def states(self) -> list[RoleState]:
        """How each of them is now."""
        now = asyncio.get_running_loop().time()
        return [
            RoleState(
                loop.name,
                now - (loop.started if loop.success is None else loop.success),
                loop.why,
                loop.restarts,
            )
            for loop in self.loops.values()
        ]

    async def run(self, *awaited: Awaited) -> None:
        """Ask for what is awaited, and run all loops, until cancelled.

        Raises what an Awaited says when waiting for it does not help.
        """
        try:
            async with asyncio.TaskGroup() as group:
                for need in awaited:
                    group.create_task(need.run(), name=f"pbal-hq waits for {need.name}")
                for loop in self.loops.values():
                    group.create_task(self._supervise(loop), name=f"pbal-hq {loop.name}")
        except ExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _supervise(self, loop: Loop) -> None:
        logs.role.set(loop.name)  # of this task alone
        clock = asyncio.get_running_loop().time
        loop.started = clock()
        for need in loop.needs:
            await need.wait()

        def beat() -> None:
            check_cancelled()  # one that a foreign wait has swallowed
            loop.success = now = clock()
            if loop.failing and now - loop.started >= _PROBATION_S:
                log.info("role works again", extra={"role": loop.name})
                loop.failing, loop.failures = "", 0

        while True:
            loop.started = clock()
            try:
                await loop.body(beat)
                why = "it returned"
            except asyncio.CancelledError:
                raise
            except (HqError, psycopg.Error) as error:
                # Its text says what to do; no traceback helps.
                why = explain(error) if isinstance(error, psycopg.Error) else str(error)
            except Exception as error:
                why = f"{type(error).__name__}: {error}"
                log.exception("role failed", extra={"role": loop.name})
            if clock() - loop.started >= _PROBATION_S:
                loop.failures = 0
            if why != loop.failing:
                log.error("role does not work", extra={"role": loop.name, "why": why})
            loop.failing = why
            loop.restarts += 1
            pause = min(_LAST_S, _FIRST_S * 2.0 ** min(20, loop.failures))
            loop.failures += 1
            # Shortened at random, so that many do not return at the same time.
            await asyncio.sleep(pause * (1 - 0.5 * random.random()))
