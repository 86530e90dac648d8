"""What roles need before they begin, and may have to wait for: the database, the bus.

A computer that starts has no order of its own: HQ may be there before PostgreSQL or Kafka. Then
the roles that need it wait, and say so; what will not pass by itself ends the process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from pbal_hq.errors import BusAway, DatabaseAway

log = logging.getLogger(__name__)

_FIRST_S, _LAST_S = 0.5, 5.0


class Awaited:
    """One of them.

    Parameters
    ----------
    name : what it is, for people.
    ask : returns when it is there; raises DatabaseAway or BusAway while it is not yet, any other
        error when waiting does not help.
    """

    def __init__(self, name: str, ask: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self._ask = ask
        self._there = asyncio.Event()
        #: Why it is not there yet, as the last answer was; "" before the first.
        self.why = ""

    @property
    def is_there(self) -> bool:
        """Whether it was there once: who has begun finds out by itself what goes away."""
        return self._there.is_set()

    async def wait(self) -> None:
        """Until it is there."""
        await self._there.wait()

    async def run(self) -> None:
        """Ask until it is there. Raises what `ask` does when waiting does not help."""
        pause_s = _FIRST_S
        while True:
            try:
                await self._ask()
                break
            except (DatabaseAway, BusAway) as error:
                if not self.why:
                    log.warning("not there yet, what needs it waits",
                                extra={"what": self.name, "why": str(error)})  # fmt: skip
                self.why = str(error)
            await asyncio.sleep(pause_s)
            pause_s = min(_LAST_S, 2 * pause_s)
        if self.why:
            log.info("is there now", extra={"what": self.name})
        self.why = ""
        self._there.set()
