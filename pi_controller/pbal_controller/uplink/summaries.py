"""Summaries for HQ: an outbox in the journal, emptied only by acknowledgement.

The sink that knows HQ comes later; `NullSink` accepts nothing, so the outbox keeps what it
is given, up to its bound.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Protocol

from pbal_controller.config import UplinkConfig
from pbal_controller.journal import AsyncJournal, Journal

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Something that carries summaries away."""

    async def deliver(self, items: list[tuple[int, str, str]]) -> list[int]:
        """Try to deliver (id, kind, JSON body); returns the ids that were acknowledged."""


class NullSink:
    """No HQ: acknowledges nothing."""

    async def deliver(self, items: list[tuple[int, str, str]]) -> list[int]:
        """Nothing is delivered."""
        return []


class Uplink:
    """Queues a summary now and then, and offers the queue to the sink."""

    def __init__(
        self,
        journal: AsyncJournal,
        config: UplinkConfig,
        summary: Callable[[], dict[str, Any]],
        sink: Sink | None = None,
    ) -> None:
        self._journal = journal
        self._config = config
        self._summary = summary
        self._sink = sink or NullSink()
        self.acknowledged_total = 0

    async def run(self, beat: Callable[[], None]) -> None:
        """Queue and offer until cancelled."""
        while True:
            await asyncio.sleep(self._config.every_s)
            await self.round()
            beat()

    async def round(self) -> None:
        """Queue one summary and offer what is queued, oldest first."""
        await self._journal.call(
            Journal.outbox_put, "summary", self._summary(), self._config.max_rows
        )
        while items := await self._journal.call(Journal.outbox_read, 100):
            acknowledged = await self._sink.deliver(items)
            await self._journal.call(Journal.outbox_acknowledged, acknowledged)
            self.acknowledged_total += len(acknowledged)
            if len(acknowledged) < len(items):
                return
