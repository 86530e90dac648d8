"""The nodes' events: into the journal first, then acknowledged, then published."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from pbal_controller.homes import Fact, Fleet, Home, Received
from pbal_controller.journal import AsyncJournal, Journal
from pbal_controller.moves.rations import Rations
from pbal_protocol import records as r


class NodeEvents:
    """Takes events out of what was received. `rations`: each home's share of the journal.
    `expedite`: a home waits for its acknowledgement, and says the event again until it comes.
    """

    def __init__(
        self,
        fleet: Fleet,
        journal: AsyncJournal,
        rations: Rations,
        publish: Callable[[str, dict[str, Any]], None],
        expedite: Callable[[Home], None],
    ) -> None:
        self.total = 0
        self._fleet = fleet
        self._journal = journal
        self._rations = rations
        self._publish = publish
        self._expedite = expedite

    async def take(self, items: Iterable[Fact]) -> None:
        """Store the events among these facts; only then acknowledge them. Raises JournalError."""
        rows = []
        last: dict[int, int] = {}
        for item in items:
            if isinstance(item, Received) and isinstance(item.record, r.Event):
                home = self._fleet.get(item.address)
                assert home is not None
                if home.hello is None:
                    continue  # the node's boot count is not known; it sends both again
                event = item.record
                key = (event.code, event.time_s)
                if not self._rations.event(item.address, home.boots, event.seq, key, item.at):
                    continue
                rows.append(
                    (item.address, home.boots, event.seq, event.code, event.severity,
                     event.time_s, event.arg0, event.arg1)
                )  # fmt: skip
                last[item.address] = max(event.seq, last.get(item.address, 0))
        if not rows:
            return
        new = await self._journal.call(Journal.add_events, rows)
        self.total += new
        for address, seq in last.items():
            home = self._fleet.get(address)
            if home is not None:
                home.event_ack = max(seq, home.event_ack or 0)
                if home.alive:
                    self._expedite(home)
        if new:
            for row in rows:
                self._publish(
                    "node_event",
                    {"home": row[0], "seq": row[2], "code": row[3], "severity": row[4],
                     "time_s": row[5], "arg0": row[6], "arg1": row[7]},
                )  # fmt: skip
