"""Rows of the lake, back onto the bus; in the store they are the rows that they were."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable

from pbal_hq.bus import Bus, New
from pbal_hq.ingest.wording import Message
from pbal_hq.lake.columns import KINDS, Kind
from pbal_hq.lake.files import Lake, Part
from pbal_hq.lake.writer import in_thread

_AT_ONCE = 1000


def _record(kind: Kind, part: Part, node: str, message: Message) -> New:
    replayed = dataclasses.replace(message, replayed=True)
    return New(kind.topic, f"{part.region}/{node}", replayed.encode())


async def replay(
    lake: Lake,
    bus: Bus,
    since: datetime.date,
    until: datetime.date,
    told: Callable[[Part, int], None],
) -> int:
    """Append the rows of these days, `until` not included; how many. Raises LakeError, BusError."""
    total = 0
    for kind in KINDS.values():
        for part in await in_thread(lake.parts, kind, since, until):
            rows = lake.rows(kind, part)
            while (table := await in_thread(next, rows, None)) is not None:
                for start in range(0, len(table), _AT_ONCE):
                    said = kind.messages(table.slice(start, _AT_ONCE))
                    await bus.append([_record(kind, part, *each) for each in said])
                total += len(table)
            told(part, total)
    return total
