"""All the sites of a load: enrolled one after the other, each connected as soon as it may."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from .site import FleetSite
from .tokens import enrol_all

_SHORTEST_S, _LONGEST_S = 1, 3600
_SAY_EVERY_S = 5.0


@dataclass(frozen=True)
class Plan:
    """What to run. `rate`: summaries a second of all sites together; `past`: windows before now."""

    tokens: dict[int, str]
    url: str
    folder: Path
    rate: float
    past: int = 0
    seconds: float | None = None

    @property
    def window_s(self) -> int:
        """How long a window is, so that all sites together make `rate`. Raises InputError."""
        window = round(len(self.tokens) / self.rate)
        if not _SHORTEST_S <= window <= _LONGEST_S:
            most, least = len(self.tokens) / _SHORTEST_S, len(self.tokens) / _LONGEST_S
            raise InputError(
                f"{self.rate:g} summaries a second of {len(self.tokens)} sites are windows of "
                f"{len(self.tokens) / self.rate:.3g} s.",
                f"A window is 1 to 3600 s long: --rate {least:.3g} to {most:.3g}.",
            )
        return window


class Fleet:
    """The load while it runs; `counts`: enrolled, online, births, sent, stored, trouble."""

    def __init__(self, plan: Plan, say: Callable[[str], None]) -> None:
        self._plan = plan
        self._say = say
        self.window_s = plan.window_s
        self.counts: Counter[str] = Counter()

    def result(self) -> dict[str, Any]:
        """For --json."""
        names = ("enrolled", "online", "births", "sent", "stored", "trouble")
        return {"window_s": self.window_s, **{name: self.counts[name] for name in names}}

    async def run(self) -> None:
        """Until the time is over or it is cancelled. Raises InputError, UnreachableError."""
        sites: list[asyncio.Task[None]] = []
        telling = asyncio.create_task(self._tell())
        began = time.monotonic()
        plan = self._plan
        try:
            async for given in enrol_all(plan.tokens, plan.url, plan.folder):
                self.counts["enrolled"] += 1
                site = FleetSite(given, plan.folder, self.window_s, plan.past, self.counts)
                sites.append(asyncio.create_task(site.run()))
            if plan.seconds is None:
                await asyncio.gather(*sites)
            else:
                left = began + plan.seconds - time.monotonic()
                await asyncio.wait(sites, timeout=max(0.0, left))
        finally:
            for task in (telling, *sites):
                task.cancel()
            await asyncio.wait([telling, *sites])

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(_SAY_EVERY_S)
            c = self.counts
            self._say(
                f"{c['enrolled']} of {len(self._plan.tokens)} sites enrolled, {c['online']} "
                f"online; {c['sent']} summaries sent, {c['stored']} of them stored by HQ"
            )
